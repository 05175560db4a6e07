"""Raw Ali-CCP: the fast reader against a slow, obvious twin; the genuine lines; every kind of bad line."""

from __future__ import annotations

import csv
import math
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entirespace.errors import DataError
from entirespace.kernels.threads import ahead
from entirespace.logs.aliccp.chunks import Chunks, texts
from entirespace.logs.aliccp.source import COMMON_FIELDS, SKELETON_FIELDS, WEIGHTED, AliCCPSource
from entirespace.logs.audit import Audit, Quarantine
from entirespace.logs.source import Block

Bag = list[tuple[int, float]]


# The slow twin: the grammar of aliccp_parse, in Python


@dataclass
class Row:
    line: int
    key: bytes
    click: bool
    conversion: bool
    bags: dict[str, Bag]


@dataclass
class Parsed:
    rows: list[Row] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)  # line from 1, reason
    orphans: list[int] = field(default_factory=list)


class Bad(Exception):
    pass


ID = re.compile(rb"0|-?[1-9][0-9]*")
WEIGHT = re.compile(rb"([+-]?)([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
NOT_FINITE = re.compile(rb"[+-]?(nan|inf(inity)?)", re.IGNORECASE)


def slow_weight(text: bytes) -> float:
    if NOT_FINITE.fullmatch(text):
        raise Bad("bad_weight")
    if not WEIGHT.fullmatch(text):
        raise Bad("unparsable_line")
    with np.errstate(over="ignore"):
        value = float(np.float32(float(text)))
    if math.isinf(value) or value < 0:
        raise Bad("bad_weight")
    return value


def slow_features(text: bytes, names: tuple[str, ...]) -> tuple[int, dict[str, Bag]]:
    bags: dict[str, Bag] = {name: [] for name in names}
    if not text:
        return 0, bags
    features = text.split(b"\x01")
    for feature in features:
        name, separator, rest = feature.partition(b"\x02")
        if not separator or any(c <= 3 for c in name):
            raise Bad("unparsable_line")
        if name not in [n.encode() for n in names]:
            raise Bad("unknown_field")
        raw_id, separator, weight = rest.partition(b"\x03")
        if not separator or not ID.fullmatch(raw_id) or not -(2**63) < int(raw_id) < 2**63:
            raise Bad("unparsable_line")
        bags[name.decode()].append((int(raw_id), slow_weight(weight)))
    return len(features), bags


def slow_line(line: bytes, skeleton: bool) -> tuple[bytes, bool, bool, dict[str, Bag]]:
    columns = line.split(b",", 5 if skeleton else 2)
    if len(columns) != (6 if skeleton else 3):
        raise Bad("unparsable_line")
    labels = columns[1:3] if skeleton else [b"0", b"0"]
    if any(label not in (b"0", b"1") for label in labels):
        raise Bad("bad_label")
    key, said, features = columns[-3:]
    if not key or not re.fullmatch(rb"[0-9]{1,9}", said):
        raise Bad("unparsable_line")
    held, bags = slow_features(features, SKELETON_FIELDS if skeleton else COMMON_FIELDS)
    if held != int(said):
        raise Bad("wrong_feature_count")
    return key, labels[0] == b"1", labels[1] == b"1", bags


def slow_parse(text: bytes, skeleton: bool, drop_orphans: bool = False) -> Parsed:
    parsed = Parsed()
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    keys = set()
    for number, line in enumerate(lines, start=1):
        try:
            key, click, conversion, bags = slow_line(line.removesuffix(b"\r"), skeleton)
        except Bad as bad:
            parsed.faults.append((number, str(bad)))
            continue
        if drop_orphans and conversion and not click:
            parsed.orphans.append(number)
        elif not skeleton and key in keys:
            parsed.faults.append((number, "duplicate_key"))
        else:
            keys.add(key)
            parsed.rows.append(Row(number, key, click, conversion, bags))
    return parsed


# The fast reader, in the twin's words


def fast_parse(
    file: Path, skeleton: bool, drop_orphans: bool = False, chunk: int = 1 << 20, threads: int = 2
) -> Parsed:
    names = SKELETON_FIELDS if skeleton else COMMON_FIELDS
    chunks = Chunks(names, WEIGHTED, skeleton=skeleton, drop_orphans=drop_orphans, chunk=chunk, threads=threads)
    parsed = Parsed()
    lines = 0
    for _, c in chunks.read([file]):
        assert c.lines_before == lines
        lines += c.lines_read
        assert c.rows + len(c.faults) + len(c.orphans) == c.lines_read
        parsed.faults += [(f.line, f.reason) for f in c.faults]
        parsed.orphans += c.orphans.tolist()
        bags = {name: pairs(c.fields[name], chunks.codes[name].keys) for name in names}
        for i in range(c.rows):
            click, conversion = c.labels[i] & 1 > 0, c.labels[i] & 2 > 0
            row = Row(int(c.lines[i]) + 1, c.keys[i], click, conversion, {name: bags[name][i] for name in names})
            parsed.rows.append(row)
    return parsed


def pairs(bags, ids) -> list[Bag]:
    """Each row as [(id, weight)]."""
    weights = np.ones(len(bags.values), np.float32) if bags.weights is None else bags.weights
    flat = list(zip(ids[bags.values].tolist(), weights.tolist(), strict=True))
    return [flat[a:b] for a, b in zip(bags.offsets, bags.offsets[1:], strict=False)]


def assert_same(fast: Parsed, slow: Parsed):
    assert fast.faults == slow.faults
    assert fast.orphans == slow.orphans
    assert [(r.line, r.click, r.conversion) for r in fast.rows] == [(r.line, r.click, r.conversion) for r in slow.rows]
    codes: dict[bytes, int] = {}
    for f, s in zip(fast.rows, slow.rows, strict=True):
        assert codes.setdefault(s.key, f.key) == f.key
        for name, bag in s.bags.items():
            assert [i for i, _ in f.bags[name]] == [i for i, _ in bag]
            for (_, a), (_, b) in zip(f.bags[name], bag, strict=True):
                assert a == b or abs(a - b) <= np.spacing(np.float32(b)), f"{a!r} is not {b!r}"
    assert len(set(codes.values())) == len(codes)


# Generated lines, good and broken

# fmt: off
BAD_IDS = ["", "-", "007", "-0", "+1", "1.0", "x", "1 ", " 1", "0x1", "1e3", "1_0", "1" * 25]
BAD_IDS += [str(n) for n in (2**63, -(2**63), 10**19, 2**64 + 1)]
WEIGHTS = [
    "1.0", "1", "0", "0.0", "-0.0", "0.69315", "1.09861", "10.5", "1.", ".5", "+2", "1.00",
    "0.1234567", "1e0",
    "1E+2", "25e-1", "1e-50", "0e99999999999", "3.4028235e38", "1e-45", "9" * 30, "0." + "0" * 30 + "7",
]
BAD_WEIGHTS = [
    "", "nan", "NaN", "-nan", "inf", "-Infinity", "+INF", "-1.0", "-1e-3", "1e39", "1e400",
    "9" * 60, "x", "1.0x",
    ".nan", "1..0", ".", "-", "e5", "1e", "1e+", " 1.0", "1.0 ", "1,0", "1_0", "nana", "infi",
    "infinit", "1.0\x02",
]
BAD_NAMES = [
    "", "999", "1010", "10", "150_1", "150_144", "a long name of a field", "20\x005", "126\x00",
    "216\x00", "\x03",
    "\x01", "205 ",
]
KEYS = [
    "84dceed2e3a667f8", "f" * 16, "F" * 16, "0" * 15 + "1", "0" * 16, "k\xe9", "1", "\x80",
    "84dceed2e3a667f", "00",
]
# fmt: on


class Lines:
    """Generated lines; about half of them have something wrong."""

    def __init__(self, seed: int, skeleton: bool) -> None:
        self.rng, self.skeleton = random.Random(seed), skeleton
        self.broken = False

    def maybe(self, good: str, bad: list[str], one_in: int = 10) -> str:
        return self.rng.choice(bad) if self.broken and self.rng.randrange(one_in) == 0 else good

    def id(self) -> str:
        limits = [
            (0, 99),
            (3_000_000, 9_999_999),
            (10**7, 10**9),
            (10**14, 10**17),
            (-(2**63) + 1, 2**63 - 1),
        ]
        low, high = self.rng.choice(limits)
        return str(self.rng.randint(low, high))

    def weight(self) -> str:
        rng = self.rng
        kind = rng.randrange(4)
        if kind == 0:
            return rng.choice(WEIGHTS)
        if kind == 1:
            return f"{rng.random() * 10 ** rng.randrange(3):.{rng.randrange(9)}f}"
        if kind == 2:
            return repr(float(np.float32(rng.random() * 10.0 ** rng.randint(-46, 38))))
        return str(rng.randrange(10 ** rng.randint(1, 30))) + "." + str(rng.randrange(10 ** rng.randint(1, 30)))

    def feature(self) -> str:
        name = self.rng.choice(SKELETON_FIELDS if self.skeleton else COMMON_FIELDS)
        return (
            self.maybe(name, BAD_NAMES, 40)
            + self.maybe("\x02", ["", "\x03", ":"], 40)
            + self.maybe(self.id(), BAD_IDS, 40)
            + self.maybe("\x03", ["", "\x02", ":"], 40)
            + self.maybe(self.weight(), BAD_WEIGHTS, 20)
        )

    def line(self) -> bytes:
        rng = self.rng
        self.broken = rng.random() < 0.5
        features = [self.feature() for _ in range(rng.randrange(9))]
        joined = "\x01".join(features) + self.maybe("", ["\x01", ",", " "], 20)
        said = self.maybe(str(len(features)), ["", "-1", "x", "1234567890", "03", "99", "0"])
        key = self.maybe(rng.choice(KEYS) if self.skeleton else f"{rng.randrange(1 << 12):016x}", ["", *KEYS])
        columns = [key, said, joined]
        if self.skeleton:
            labels = [self.maybe(rng.choice("01"), ["", "2", "01", "x", "1.0", "-"]) for _ in "yz"]
            columns = [rng.choice(["1", "", "s1", "\xff"]), *labels, *columns]
        line = ",".join(columns)
        if self.broken and rng.randrange(8) == 0:
            line = rng.choice(["", ",", ",,,,,", "a;b;c", line[: rng.randrange(len(line))], line + ",1", "\x00" + line])
        if line and self.broken and rng.randrange(4) == 0:
            at = rng.randrange(len(line))
            line = line[:at] + rng.choice("\x00\x01\x02\x03,\r.0157afg-+e \xb1") + line[at + rng.randrange(2) :]
        return line.encode("latin-1")

    def file(self, lines: int) -> bytes:
        text = b"".join(self.line() + self.rng.choice([b"\n", b"\n", b"\r\n"]) for _ in range(lines))
        return text[: -self.rng.randrange(2)] or text


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("skeleton", [True, False], ids=["skeleton", "common"])
def test_the_fast_reader_reads_what_the_slow_one_reads(seed, skeleton, tmp_path):
    text = Lines(seed, skeleton).file(500)
    (tmp_path / "raw.csv").write_bytes(text)
    drop = skeleton and seed % 2 == 0
    fast = fast_parse(
        tmp_path / "raw.csv", skeleton, drop, chunk=[2048, 10_000, 1 << 20][seed % 3], threads=1 + seed % 4
    )
    slow = slow_parse(text, skeleton, drop)
    assert_same(fast, slow)
    assert len(slow.rows) > 150
    assert len(slow.faults) > 100


# Weights


def feature(name: str, raw_id: object, weight: object = "1.0") -> bytes:
    return f"{name}\x02{raw_id}\x03{weight}".encode()


def common_line(key: str, *features: bytes, said: int | None = None) -> bytes:
    n = len(features) if said is None else said
    return f"{key},{n},".encode() + b"\x01".join(features) + b"\n"


def skeleton_line(key: str, *features: bytes, click="0", conversion="0", said: int | None = None) -> bytes:
    return f"1,{click},{conversion},".encode() + common_line(key, *features, said=said)


def test_weights_as_the_files_hold_them_are_pythons_to_the_last_bit(tmp_path):
    rng = random.Random(0)
    texts_of_weights = [f"{rng.uniform(0, 20):.{rng.randint(1, 7)}f}" for _ in range(2000)]
    texts_of_weights += [f"{rng.randrange(10**15)}e{rng.randint(-22, 22)}" for _ in range(2000)]
    (tmp_path / "raw.csv").write_bytes(common_line("k", *(feature("109_14", 1, w) for w in texts_of_weights)))
    (row,) = fast_parse(tmp_path / "raw.csv", skeleton=False).rows
    assert [w for _, w in row.bags["109_14"]] == [float(np.float32(float(w))) for w in texts_of_weights]


# The genuine lines


def genuine(folder: Path, name: str) -> bytes:
    return (folder / "aliccp_raw_fragments" / name).read_bytes()


@dataclass
class Read:
    source: AliCCPSource
    audit: Audit
    common: list[Block]
    impressions: list[Block]

    def bags(self, name: str) -> list[Bag]:
        ids = np.array([int(i) for i in self.source.ids(name).to_pylist()], np.int64)
        blocks = self.common if name in COMMON_FIELDS else self.impressions
        return [bag for block in blocks for bag in pairs(block.fields[name], ids)]

    def column(self, of) -> list:
        return [x for block in self.impressions for x in of(block).tolist()]


def read(raw: Path, max_bad: float = 1.0, **options) -> Read:
    audit = Audit(max_bad)
    with Quarantine(raw, audit) as quarantine:
        source = AliCCPSource(raw, audit, quarantine, **options)
        common = [block for name, block in source.side_tables() if name == "common"]
        return Read(source, audit, common, list(source.impressions()))


def put(raw: Path, train: tuple[bytes, bytes], test: tuple[bytes, bytes] | None = None) -> Path:
    """Write (skeleton, common features) of the pairs."""
    for part, pair in (("train", train), ("test", test)):
        if pair is not None:
            (raw / f"sample_skeleton_{part}.csv").write_bytes(pair[0])
            (raw / f"common_features_{part}.csv").write_bytes(pair[1])
    return raw


def quarantined(raw: Path) -> list[dict[str, str]]:
    with (raw / Quarantine.NAME).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_id_and_weight_of_the_genuine_common_lines_is_kept(shared_data, tmp_path):
    text = genuine(shared_data, "common_features_train.2rows.csv")
    skeleton = skeleton_line("0000350f0c2121e7", feature("205", 5662732), click=1)
    log = read(put(tmp_path, (skeleton, text)))
    assert log.audit.kept("common") == 2
    slow = slow_parse(text, skeleton=False)
    assert [sum(map(len, row.bags.values())) for row in slow.rows] == [343, 811]
    for name in COMMON_FIELDS:
        assert log.bags(name) == [row.bags[name] for row in slow.rows]
    assert log.bags("101")[0] == [(31319, 1.0)]
    assert log.bags("150_14")[0][0] == (3878882, float(np.float32(3.28343)))
    assert log.column(lambda b: b.links["common"]) == [1]
    assert text.endswith(b"\n")


def test_the_truncated_genuine_lines_are_put_aside_and_completed_ones_are_read(shared_data, tmp_path):
    truncated = genuine(shared_data, "sample_skeleton_train.5rows.TRUNCATED.csv")
    completed = []
    for line in truncated.splitlines():
        said, held = int(line.split(b",")[4]), line.count(b"\x01") + 1
        more = b"".join(b"\x01" + feature("210", 9_000_000 + i) for i in range(said - held))
        completed.append(line + more + b"\n")
    common = genuine(shared_data, "common_features.heads.TRUNCATED.csv")
    log = read(put(tmp_path, (truncated + b"".join(completed), common)))
    assert log.audit.met("impressions", "wrong_feature_count") == len(completed)
    assert log.audit.kept("impressions") == len(completed)
    slow = slow_parse(b"".join(completed), skeleton=True)
    for name in SKELETON_FIELDS:
        assert log.bags(name) == [row.bags[name] for row in slow.rows]
    assert log.audit.met("common", "wrong_feature_count") == 10
    aside = [row for row in quarantined(tmp_path) if row["table"] == "impressions"]
    assert [(row["file"], row["line"]) for row in aside] == [("sample_skeleton_train.csv", str(i)) for i in range(1, 6)]
    assert aside[0]["text"].startswith("states 9 features, has 2: 1,0,0,bacff91692951881,9,210\\x029052218")
    assert log.audit.met("impressions", "missing_side_row") == len(completed)


# The source


A, B = "84dceed2e3a667f8", "0000350f0c2121e7"


def small() -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    train_common = common_line(A, feature("101", 1), feature("109_14", 7, "0.5")) + common_line(B, feature("101", 2))
    test_common = common_line(B, feature("101", 3)) + common_line("other", feature("101", 2))
    train = b"".join(
        [
            skeleton_line(B, feature("205", 50), feature("210", 9), feature("205", 51), click=1, conversion=1),
            skeleton_line(A, click=0),
            skeleton_line("ffff", feature("205", 50), click=1),
        ]
    )
    test = skeleton_line(B, feature("301", 4, "2")) + skeleton_line(A) + skeleton_line("other", click=1)
    return (train, train_common), (test, test_common)


def test_the_pairs_become_one_side_table_and_the_impressions_of_both_parts(tmp_path):
    log = read(put(tmp_path, *small()))
    assert log.bags("101") == [[(1, 1.0)], [(2, 1.0)], [(3, 1.0)], [(2, 1.0)]]
    assert log.column(lambda b: b.part) == [0, 0, 0, 1, 1, 1]
    # B is another row in each part, and A is in the training pair only
    assert log.column(lambda b: b.links["common"]) == [1, 0, -1, 2, -1, 3]
    assert log.column(lambda b: b.labels.click) == [True, False, True, False, False, True]
    assert log.column(lambda b: b.labels.conversion) == [True, False, False, False, False, False]
    assert log.bags("205") == [[(50, 1.0), (51, 1.0)], [], [(50, 1.0)], [], [], []]
    assert log.audit.met("impressions", "missing_side_row") == 2
    example = log.audit.as_dict()["tables"]["impressions"]["reasons"]["missing_side_row"]["examples"]
    assert example == ["sample_skeleton_train.csv, line 3", "sample_skeleton_test.csv, line 2"]
    assert log.audit.rows_read("impressions") == log.audit.kept("impressions") == 6
    assert not (tmp_path / Quarantine.NAME).exists()
    assert log.source.ids("205").to_pylist() == [50, 51]


def test_the_fields_and_their_roles(tmp_path):
    log = read(put(tmp_path, *small()), min_count=3)
    assert [f.name for f in log.source.fields if f.table == "common"] == list(COMMON_FIELDS)
    assert [f.name for f in log.source.fields if f.table == "impressions"] == list(SKELETON_FIELDS)
    assert {(f.kind, f.min_count) for f in log.source.fields} == {("ids", 3)}
    assert (log.source.user, log.source.item) == ("101", "205")
    assert log.source.has_test


def test_weights_are_given_for_the_weighted_fields_and_where_one_is_not_1(tmp_path):
    log = read(put(tmp_path, *small()))
    train, test = log.impressions
    assert {name for name, bags in train.fields.items() if bags.weights is not None} == {
        "508",
        "509",
        "702",
        "853",
    }
    assert {name for name, bags in test.fields.items() if bags.weights is not None} == {
        "508",
        "509",
        "702",
        "853",
        "301",
    }
    assert log.common[0].fields["109_14"].weights.dtype == np.float32
    assert log.common[1].fields["109_14"].weights is not None


@pytest.mark.parametrize(("on_orphan", "kept"), [("keep", 3), ("drop", 2)])
def test_a_conversion_without_a_click(tmp_path, on_orphan, kept):
    lines = [skeleton_line(A, feature("205", i), click=y, conversion=z) for i, (y, z) in enumerate(["11", "01", "00"])]
    log = read(put(tmp_path, (b"".join(lines), common_line(A))), max_bad=0, on_orphan=on_orphan)
    assert log.audit.met("impressions", "conversion_without_click") == 1
    assert log.audit.kept("impressions") == kept
    assert log.column(lambda b: b.labels.conversion) == [True, False, False][:kept]
    assert [bag[0][0] for bag in log.bags("205")] == ([0, 1, 2] if on_orphan == "keep" else [0, 2])
    reason = log.audit.as_dict()["tables"]["impressions"]["reasons"]["conversion_without_click"]
    assert reason["outcome"] == ("changed" if on_orphan == "keep" else "left out")
    assert reason["examples"] == ["sample_skeleton_train.csv, line 2"]


def test_a_conversion_without_a_click_can_end_the_reading(tmp_path):
    put(tmp_path, (skeleton_line(A) + skeleton_line(A, conversion=1), common_line(A)))
    with pytest.raises(DataError, match=r"sample_skeleton_train.csv, line 2: .*--on-orphan keep"):
        read(tmp_path, on_orphan="error")


BROKEN = {
    "unknown_field": (
        skeleton_line(A, feature("301", 1), feature("999", 5)),
        "'999\\\\x025\\\\x031.0' in: 1,0,0,",
    ),
    "bad_weight": (skeleton_line(A, feature("508", 5, "NaN")), "'508\\\\x025\\\\x03NaN' in: 1,0,0,"),
    "bad_label": (skeleton_line(A, click=2), "'2' in: 1,2,0,"),
    "wrong_feature_count": (skeleton_line(A, feature("301", 1), said=7), "states 7 features, has 1: 1,0,0,"),
    "unparsable_line": (b"1;0;0;k;0;\n", "1;0;0;k;0;"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_bad_line_is_put_aside_with_its_place_and_what_is_wrong(tmp_path, reason):
    line, shown = BROKEN[reason]
    log = read(put(tmp_path, (skeleton_line(A) + line + skeleton_line(A), common_line(A))))
    (row,) = quarantined(tmp_path)
    assert (row["file"], row["line"], row["table"], row["reason"]) == (
        "sample_skeleton_train.csv",
        "2",
        "impressions",
        reason,
    )
    assert row["text"].startswith(shown)
    assert log.audit.kept("impressions") == 2


@pytest.mark.parametrize("reason", BROKEN)
def test_too_many_bad_lines_end_the_reading_and_say_why(tmp_path, reason):
    line, shown = BROKEN[reason]
    put(tmp_path, (skeleton_line(A) * 10 + line, common_line(A)))
    with pytest.raises(DataError) as error:
        read(tmp_path, max_bad=0.05)
    assert f"1 of 11 (9.09 %) are: 1 {reason}" in str(error.value)
    assert f"sample_skeleton_train.csv, line 11: {shown}" in str(error.value)
    assert "--max-bad 0.1" in str(error.value)


def test_the_second_line_of_a_key_is_put_aside(tmp_path):
    common = common_line(A, feature("101", 1)) + common_line(B) + common_line(A, feature("101", 2))
    log = read(put(tmp_path, (skeleton_line(A), common), (skeleton_line(A), common_line(A, feature("101", 3)))))
    assert log.bags("101") == [[(1, 1.0)], [], [(3, 1.0)]]
    assert [(r["line"], r["reason"]) for r in quarantined(tmp_path)] == [("3", "duplicate_key")]
    assert log.column(lambda b: b.links["common"]) == [0, 2]


def test_line_ends_of_every_kind(tmp_path):
    line = skeleton_line(A, feature("205", 5, "1.0"))
    text = line.replace(b"\n", b"\r\n") + b"\n" + b"\r\n" + skeleton_line(A).replace(b"\n", b"\r\n") + line[:-1]
    log = read(put(tmp_path, (text, common_line(A)[:-1])))
    assert log.bags("205") == [[(5, 1.0)], [], [(5, 1.0)]]
    assert log.audit.met("impressions", "unparsable_line") == 2  # the empty lines
    assert log.column(lambda b: b.links["common"]) == [0, 0, 0]


def test_an_empty_file_has_no_rows(tmp_path):
    log = read(put(tmp_path, (b"", b"")))
    assert log.audit.rows_read("impressions") == 0
    assert log.impressions == []


def test_codes_do_not_hang_on_chunks_and_threads(tmp_path):
    (tmp_path / "raw.csv").write_bytes(b"".join(skeleton_line(A, feature("205", i * 7919 % 997)) for i in range(3000)))
    codes = []
    for chunk, threads in ((1000, 1), (5000, 2), (1 << 20, 3)):
        chunks = Chunks(SKELETON_FIELDS, WEIGHTED, skeleton=True, chunk=chunk, threads=threads)
        values = [c.fields["205"].values for _, c in chunks.read([tmp_path / "raw.csv"])]
        codes.append((np.concatenate(values).tolist(), chunks.codes["205"].keys.tolist()))
    assert codes[0] == codes[1] == codes[2]
    assert codes[0][1][:3] == [0, 7919 % 997, 2 * 7919 % 997]


def test_a_line_longer_than_a_chunk_is_refused_with_its_number(tmp_path):
    (tmp_path / "raw.csv").write_bytes(b"short\n" * 50 + b"x" * 500)
    with pytest.raises(DataError, match=r"raw.csv, line 51: a line must be shorter than 200 bytes"):
        list(texts(tmp_path / "raw.csv", 200))


def test_an_error_in_the_block_ahead_comes_in_its_turn():
    def blocks():
        yield 1
        raise DataError("must", "came")

    coming = ahead(blocks())
    assert next(coming) == 1
    with pytest.raises(DataError):
        next(coming)


# Files


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["sample_skeleton_train.csv"], "no sample_skeleton_train.csv"),
        (["common_features_train.csv"], "no common_features_train.csv"),
        (["common_features_test.csv"], "no common_features_test.csv"),
        (
            ["sample_skeleton_train.csv", "common_features_train.csv"],
            "no sample_skeleton_train.csv and no common",
        ),
    ],
)
def test_a_missing_file_is_named(tmp_path, gone, said):
    put(tmp_path, *small())
    for name in gone:
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=said):
        read(tmp_path)


def test_the_training_pair_alone_will_do(tmp_path):
    log = read(put(tmp_path, small()[0]))
    assert not log.source.has_test
    assert log.column(lambda b: b.part) == [0, 0, 0]
    assert any("no test pair" in note for note in log.audit.notes)


def test_no_folder_and_a_packed_one(tmp_path):
    with pytest.raises(DataError, match="must be a folder"):
        read_nothing(tmp_path / "absent")
    (tmp_path / "sample_train.tar.gz").touch()
    with pytest.raises(DataError, match=r"Unpack sample_train\.tar\.gz"):
        read_nothing(tmp_path)


def read_nothing(raw: Path) -> None:
    audit = Audit()
    AliCCPSource(raw, audit, Quarantine(raw, audit))


# Truth


def write_truth(file: Path, rows: int, **columns) -> np.ndarray:
    pctr = np.arange(rows) / 1000
    pq.write_table(pa.table({"pctr": pctr, "pcvr": pctr / 2, **columns}), file, row_group_size=7)
    return pctr.astype(np.float32)


def test_the_truth_stays_beside_its_line_when_others_are_put_aside(tmp_path):
    rng = random.Random(1)
    wrong = [rng.random() < 0.3 for _ in range(40)]
    lines = [b"broken\n" if w else skeleton_line(A, feature("205", i)) for i, w in enumerate(wrong)]
    put(tmp_path, (b"".join(lines[:25]), common_line(A)), (b"".join(lines[25:]), common_line(A)))
    pctr = write_truth(tmp_path / "truth.parquet", 40)
    log = read(tmp_path)
    ids = [bag[0][0] for bag in log.bags("205")]
    assert ids == [i for i, w in enumerate(wrong) if not w]
    assert log.column(lambda b: b.truth[0]) == pctr[ids].tolist()
    assert log.column(lambda b: b.truth[1]) == (pctr[ids] / 2).tolist()


def test_the_truth_of_another_place(tmp_path):
    put(tmp_path, small()[0])
    pctr = write_truth(tmp_path / "elsewhere.parquet", 3)
    assert read(tmp_path).impressions[0].truth is None
    log = read(tmp_path, truth=tmp_path / "elsewhere.parquet")
    assert log.column(lambda b: b.truth[0]) == pctr.tolist()


@pytest.mark.parametrize("rows", [2, 4])
def test_a_truth_of_another_length_is_refused(tmp_path, rows):
    put(tmp_path, small()[0])
    write_truth(tmp_path / "truth.parquet", rows)
    with pytest.raises(DataError, match=f"it has {rows} rows, and there are"):
        read(tmp_path)


def test_a_truth_without_its_columns_is_refused(tmp_path):
    put(tmp_path, small()[0])
    pq.write_table(pa.table({"pctr": [0.1] * 3}), tmp_path / "truth.parquet")
    with pytest.raises(DataError, match=r"truth\.parquet: the truth must have a column 'pcvr', however: it has pctr"):
        read(tmp_path)


class Steps:
    def __init__(self) -> None:
        self.said: list = []

    def start(self, what, total, unit):
        self.said.append((what, total, unit))

    def advance(self, amount, note=""):
        self.said.append(amount)

    def done(self, note=""):
        self.said.append(note)

    def say(self, line): ...


def test_progress_is_told_in_bytes(tmp_path):
    put(tmp_path, *small())
    steps = Steps()
    read(tmp_path, progress=steps)
    start, *bytes_read, done = steps.said[len(steps.said) // 2 :]
    assert start == ("reading impressions", sum(f.stat().st_size for f in tmp_path.glob("sample_*")), "B")
    assert sum(bytes_read) == start[1]
    assert done == "6 rows"
