"""Raw Ali-CCP for tests: lines, the four files, what the source reads of them, and the grammar in plain Python."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from entirespace.logs.aliccp.source import COMMON_FIELDS, SKELETON_FIELDS, AliCCPSource
from entirespace.logs.audit import Audit, Quarantine
from entirespace.logs.source import Block

Bag = list[tuple[int, float]]


# The slow twin: the grammar of `parse`, in Python


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


def pairs(bags, ids) -> list[Bag]:
    """Each row as [(id, weight)]."""
    weights = np.ones(len(bags.values), np.float32) if bags.weights is None else bags.weights
    flat = list(zip(ids[bags.values].tolist(), weights.tolist(), strict=True))
    return [flat[a:b] for a, b in zip(bags.offsets, bags.offsets[1:], strict=False)]


# Weights


def feature(name: str, raw_id: object, weight: object = "1.0") -> bytes:
    return f"{name}\x02{raw_id}\x03{weight}".encode()


def common_line(key: str, *features: bytes, said: int | None = None) -> bytes:
    n = len(features) if said is None else said
    return f"{key},{n},".encode() + b"\x01".join(features) + b"\n"


def skeleton_line(key: str, *features: bytes, click="0", conversion="0", said: int | None = None) -> bytes:
    return f"1,{click},{conversion},".encode() + common_line(key, *features, said=said)


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
