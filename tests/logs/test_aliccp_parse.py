"""Lines of raw Ali-CCP, good and broken: the kernel gives the same result as plain Python."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from aliccp_lines import (
    Parsed,
    Row,
    common_line,
    feature,
    pairs,
    slow_parse,
)

from entirespace.logs.aliccp.chunks import Chunks
from entirespace.logs.aliccp.source import COMMON_FIELDS, SKELETON_FIELDS, WEIGHTED

# The kernel, with its results in the form of the plain Python parser


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
def test_the_kernel_equals_plain_python(seed, skeleton, tmp_path):
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


def test_weights_of_the_real_files_equal_python_float_to_the_last_bit(tmp_path):
    rng = random.Random(0)
    texts_of_weights = [f"{rng.uniform(0, 20):.{rng.randint(1, 7)}f}" for _ in range(2000)]
    texts_of_weights += [f"{rng.randrange(10**15)}e{rng.randint(-22, 22)}" for _ in range(2000)]
    (tmp_path / "raw.csv").write_bytes(common_line("k", *(feature("109_14", 1, w) for w in texts_of_weights)))
    (row,) = fast_parse(tmp_path / "raw.csv", skeleton=False).rows
    assert [w for _, w in row.bags["109_14"]] == [float(np.float32(float(w))) for w in texts_of_weights]
