"""`prepare` compared with a plain re-implementation."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest

from entirespace.features.codes import hash_buckets

PARTS = ("train", "validation", "test")

# A random star log, and a slow, simple way to prepare it


@dataclass
class Case:
    """One random log with its schema."""

    seed: int
    order: bool
    unique: bool
    on_orphan: str
    train: float
    validation: float
    impressions: list[dict[str, str]] = field(default_factory=list)
    users: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        r = random.Random(self.seed)

        def bag(ids: str) -> tuple[str, str]:
            chosen = [r.choice(ids) for _ in range(r.choice([0, 0, 1, 2, 5]))]
            return "|".join(chosen), "|".join(r.choice(["1", "0.5", "2.25", "0"]) for _ in chosen)

        for i in range(9):
            likes, how = bag("efgh")
            row = {"uid": f"u{i}", "age": r.choice(["", "7", "7", "31.5", "-2"]), "likes": likes, "how": how}
            self.users.append({**row, "city": r.choice(["", "x", "y"])})
        for i in range(r.choice([40, 90])):
            tags, w = bag("abcdef")
            row = {
                "uid": r.choice(["", "nobody", *[f"u{k}" for k in range(7)]]),  # u7 and u8 are never seen
                "item": r.choice("pqrstuvw") if i > 60 else r.choice("pqr"),  # some ids occur only later
                "t": str(r.choice([i, i, r.randrange(40)])),
                "y": r.choice("011"),
                "z": r.choice("001"),
                "price": r.choice(["", "1", "1", "2.5", "9", str(i)]),
                "session": r.choice("klmnop"),
                "tags": tags,
                "w": w,
            }
            self.impressions += [row] * r.choice([1, 1, 1, 2])

    def schema(self, separator: str) -> str:
        return f"""
[impressions]
files = ["log_*"]
{"order = 't'" if self.order else ""}
labels = {{ click = "y", conversion = "z" }}
unique = {'["uid", "item", "t"]' if self.unique else "[]"}
[impressions.fields]
item = {{ kind = "id", min_count = 3 }}
cost = {{ kind = "number", from = "price", buckets = 4 }}
session = {{ kind = "id", hash = 3 }}
tags = {{ kind = "ids", weights = "w", min_count = 2{separator} }}
tags_alone = {{ kind = "ids", from = "tags"{separator} }}
[split]
train = {self.train}
validation = {self.validation}
[roles]
user = "uid"
item = "item"
[tables.user]
files = ["user*"]
key = "uid"
[tables.user.fields]
uid = {{ kind = "id" }}
age = {{ kind = "number", buckets = 3 }}
city = {{ kind = "id", min_count = 2 }}
likes = {{ kind = "ids", weights = "how"{separator} }}
"""


def slow_prepare(case: Case) -> dict[str, Any]:
    """Parts, vocabularies and counts as plain values; bags are lists of (row, weight)."""
    rows, seen, orphans, copies = [], set(), 0, 0
    for raw in case.impressions:
        y, z = raw["y"] == "1", raw["z"] == "1"
        orphans += z and not y
        if z and not y and case.on_orphan == "drop":
            continue
        key = (raw["uid"], raw["item"], raw["t"])
        if case.unique and key in seen:
            copies += 1
            continue
        seen.add(key)
        rows.append({"raw": raw, "click": y, "conversion": y and z, "t": int(raw["t"])})
    if not case.order:
        for i, row in enumerate(rows):
            row["t"] = i

    def split(those: list, share: float) -> tuple[list, list]:
        times = sorted(row["t"] for row in those)
        end = times[min(len(those) - 1, round(share * len(those)))]
        return [r for r in those if r["t"] < end], [r for r in those if r["t"] >= end]

    train, test = split(rows, case.train)
    train, validation = split(train, 1 - case.validation) if case.validation else (train, [])

    users = {u["uid"]: u for u in case.users}

    def ids(raw: dict[str, str], name: str) -> list[tuple[str, float]]:
        """The raw values of the field, before a vocabulary."""
        user = users.get(raw["uid"])
        if name in ("item", "session"):
            return [(raw[name], 1.0)]
        if name in ("uid", "city"):
            return [(user[name], 1.0)] if user else []
        of, column, weights = {
            "tags": (raw, "tags", "w"),
            "tags_alone": (raw, "tags", None),
            "likes": (user, "likes", "how"),
        }[name]
        if of is None or not of[column]:
            return []
        names = of[column].split("|")
        return list(zip(names, map(float, of[weights].split("|")) if weights else [1.0] * len(names), strict=True))

    def number(raw: dict[str, str], name: str) -> float | None:
        user = users.get(raw["uid"])
        text = raw["price"] if name == "cost" else (user["age"] if user else "")
        return float(text) if text else None

    min_count = {"item": 3, "tags": 2, "tags_alone": 1, "uid": 1, "city": 2, "likes": 1}
    vocabulary: dict[str, list[tuple[str, int]]] = {}
    for name, least in min_count.items():
        counts: dict[str, int] = {}
        for row in train:
            for i, _ in ids(row["raw"], name):
                counts[i] = counts.get(i, 0) + 1
        vocabulary[name] = sorted(((i, n) for i, n in counts.items() if n >= least), key=lambda p: (-p[1], p[0]))
    edges: dict[str, list[float]] = {}
    for name, buckets in (("cost", 4), ("age", 3)):
        numbers = sorted(x for x in (number(row["raw"], name) for row in train) if x is not None)
        edges[name] = sorted(
            {
                next(x for k, x in enumerate(numbers, 1) if k >= len(numbers) * i / buckets)
                for i in range(1, buckets)
                if numbers
            }
        )

    def rows_of(raw: dict[str, str], name: str) -> list[tuple[int, float]]:
        if name in edges:
            x = number(raw, name)
            return [(0 if x is None else 1 + sum(e < x for e in edges[name]), 1.0)]
        if name == "session":
            return [(1 + int(hash_buckets(pl.Series([raw[name]]), 3)[0]), 1.0)]
        known = {i: row for row, (i, _) in enumerate(vocabulary[name], start=1)}
        bag = [(known.get(i, 0), w) for i, w in ids(raw, name)]
        return bag or ([(0, 1.0)] if name in ("uid", "city") else [])  # a missing side row is "unseen"

    parts = {}
    for part, those in zip(PARTS, (train, validation, test), strict=True):
        parts[part] = [
            {
                "click": row["click"],
                "conversion": row["conversion"],
                **({"order": row["t"]} if case.order else {}),
                **{name: rows_of(row["raw"], name) for name in (*min_count, *edges, "session")},
            }
            for row in those
        ]
    everyone = [*train, *validation, *test]
    return {
        "parts": parts,
        "vocabulary": {
            **{n: {"id": [i for i, _ in v], "count": [c for _, c in v]} for n, v in vocabulary.items()},
            **{n: {"edge": e} for n, e in edges.items()},
            "session": {"id": [], "count": []},
        },
        "orphans": orphans,
        "copies": copies,
        "users": len({r["raw"]["uid"] for r in everyone} & set(users)),
        "items": len({r["raw"]["item"] for r in everyone}),
    }


def write(log: Any, case: Case, kind: str) -> str:
    """The case as files of that kind, two of impressions. Gives the schema's text."""
    half = len(case.impressions) // 3
    halves = (case.impressions[:half], case.impressions[half:])
    if kind == "csv":
        for i, rows in enumerate(halves):
            names = sorted(rows[0]) if i else list(rows[0])  # columns may be in any order
            text = [",".join(names), *(",".join(row[n] for n in names) for row in rows)]
            log.write(f"log_{i}.csv" + (".zst" if i else ""), "\n".join(text))
        log.write(
            "users.csv.gz",
            "\r\n".join([",".join(case.users[0]), *(",".join(u.values()) for u in case.users)]),
        )
        return case.schema(', separator = "|"')

    def typed(row: dict[str, str]) -> dict[str, Any]:
        out: dict[str, Any] = dict(row)
        for name in {"t", "y", "z"} & row.keys():
            out[name] = int(row[name])
        for name in {"price", "age"} & row.keys():
            out[name] = float(row[name]) if row[name] else None
        for name in {"tags", "likes"} & row.keys():
            out[name] = row[name].split("|") if row[name] else []
        for name in {"w", "how"} & row.keys():
            out[name] = [float(x) for x in row[name].split("|") if x]
        return out

    for name, rows in (
        ("log_0.parquet", halves[0]),
        ("log_1.parquet", halves[1]),
        ("user.parquet", case.users),
    ):
        columns = [typed(row) for row in rows]
        log.write(name, {k: [row[k] for row in columns] for k in columns[0]})
    return case.schema("")


CASES = [
    pytest.param(Case(seed, *options), id="-".join(map(str, (seed, *options))))
    for seed, options in enumerate(
        [
            (True, False, "keep", 0.5, 0.1),
            (True, True, "keep", 0.5, 0.25),
            (True, True, "drop", 0.7, 0.1),
            (False, False, "drop", 0.5, 0.0),
            (False, True, "keep", 0.3, 0.3),
            (True, True, "drop", 0.5, 0.1),
        ]
    )
]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("pieces", ["small", "large"])
@pytest.mark.parametrize("case", CASES)
def test_a_dataset_equals_the_slow_re_implementation(log, plain, request, case, pieces, kind):
    if pieces == "small":
        request.getfixturevalue("small_pieces")
    schema = write(log, case, kind)
    dataset = log.prepare(schema, on_orphan=case.on_orphan)
    expected, got = slow_prepare(case), plain(dataset.path)
    assert got.vocabulary == expected["vocabulary"]
    for part in PARTS:
        assert got.part(part) == expected["parts"][part]
    manifest = got.manifest
    assert (manifest["users"], manifest["items"]) == (expected["users"], expected["items"])
    reasons = got.reasons["impressions"]
    assert reasons.get("conversion_without_click", 0) == expected["orphans"]
    assert reasons.get("duplicate_impression", 0) == expected["copies"]
    for part, rows in expected["parts"].items():
        about = manifest["parts"][part]
        assert about["impressions"] == len(rows)
        assert about["reached"]["click"] == sum(r["click"] for r in rows)
        assert about["reached"]["conversion"] == sum(r["conversion"] for r in rows)
    for f in manifest["fields"]:
        name = f["name"]
        vocabulary = expected["vocabulary"][name]
        assert (
            f["size"] == 4
            if name == "session"
            else f["size"] - 1 == len(vocabulary.get("id", [*vocabulary.get("edge", []), 0]))
        )
        assert (
            f["weighted"] == any(w != 1 for rows in (got.part(p) for p in PARTS) for r in rows for _, w in r[name])
            or name == "likes"
        )
        for part, rows in expected["parts"].items():
            assert f["ids"][part] == sum(len(r[name]) for r in rows)
            assert f["unseen"][part] == sum(row == 0 for r in rows for row, _ in r[name])


def test_the_cases_are_not_trivial():
    """The random logs contain every case that they should test."""
    made = [slow_prepare(case.values[0]) for case in CASES]
    assert all(m["orphans"] for m in made)
    assert sum(m["copies"] > 0 for m in made) >= 3
    assert sum(any(r["item"][0][0] == 0 for r in m["parts"]["test"]) for m in made) >= 3  # unseen in training
    for m in made:
        test = m["parts"]["test"]
        assert any(not r["tags"] for r in test)
        assert any(r["uid"] == [(0, 1.0)] for r in test)  # no side-table row


def test_preparing_twice_gives_the_same_bytes(log, tmp_path):
    write(log, CASES[1].values[0], "csv")
    schema = CASES[1].values[0].schema(', separator = "|"')
    one, two = log.prepare(schema), log.prepare(schema, out=tmp_path / "again")
    assert one.manifest == two.manifest
    assert one.digest == two.digest
    other = log.prepare(schema.replace("min_count = 3", "min_count = 2"), out=tmp_path / "other")
    assert other.digest != one.digest
