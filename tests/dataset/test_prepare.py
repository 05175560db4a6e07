"""Raw logs to a dataset: against a plain re-implementation, by hand, and when something goes wrong."""
# ruff: noqa: E501 (a case a line)

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from entirespace.dataset.aside import folder_beside
from entirespace.dataset.dataset import Dataset
from entirespace.errors import DataError
from entirespace.features.codes import hash_buckets
from entirespace.logs.schema import read_schema

ROOT = Path(__file__).parents[2]
PARTS = ("train", "validation", "test")

# --- a random star log, and the slow, obvious way to prepare it -----------------------------------------


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
                "item": r.choice("pqrstuvw") if i > 60 else r.choice("pqr"),  # some ids come late
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
        """What stands in the field, before a vocabulary."""
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
            names = sorted(rows[0]) if i else list(rows[0])  # columns may stand in any order
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
def test_a_dataset_is_what_the_slow_way_makes_of_the_log(log, plain, request, case, pieces, kind):
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
    """Each thing that the random logs are to try is there."""
    made = [slow_prepare(case.values[0]) for case in CASES]
    assert all(m["orphans"] for m in made)
    assert sum(m["copies"] > 0 for m in made) >= 3
    assert sum(any(r["item"][0][0] == 0 for r in m["parts"]["test"]) for m in made) >= 3  # unseen in training
    for m in made:
        test = m["parts"]["test"]
        assert any(not r["tags"] for r in test)
        assert any(r["uid"] == [(0, 1.0)] for r in test)  # no side row


# --- by hand ------------------------------------------------------------------------------------------

HEAD = '[impressions]\nfiles = ["log*"]\norder = "t"\nlabels = { click = "y", conversion = "z" }\n'
PLAIN = HEAD + "[impressions.fields]\na = {}\n"


def rows(*impressions: str) -> str:
    return "a,t,y,z\n" + "".join(f"{i}\n" for i in impressions)


def test_fractions_of_a_second_decide_who_trains(log, plain):
    late, early = [f"l,1650900000.{i},0,0" for i in (75, 8, 9)], [f"e,1650900000.{i},0,0" for i in (25, 3, 5)]
    log.write("log.csv", rows(*late, *early, "e,1650900000,0,0", "l,1650900001,0,0"))
    got = plain(log.prepare(PLAIN + "[split]\nvalidation = 0.0\n").path)
    assert sorted(r["order"] % 10**9 for r in got.part("train")) == [0, 250_000, 300_000, 500_000]
    assert [r["order"] for r in got.part("test")][-1] == 1650900001_000000


def test_only_the_training_part_teaches_a_vocabulary(log, plain):
    # a b b | v | c c c, b: the validation and test parts know more, and teach nothing
    log.write(
        "log.csv",
        rows("b,1,0,0", "a,2,0,0", "b,3,1,1", "v,4,0,0", "c,5,0,0", "c,6,0,0", "b,7,0,0", "c,8,1,0"),
    )
    got = plain(log.prepare(PLAIN + "[split]\nvalidation = 0.25").path)
    assert got.vocabulary["a"] == {"id": ["b", "a"], "count": [2, 1]}
    assert got.raw_ids("train", "a") == [["b"], ["a"], ["b"]]
    assert got.raw_ids("validation", "a") == [[None]]
    assert got.raw_ids("test", "a") == [[None], [None], ["b"], [None]]


def test_one_row_a_part(log, plain):
    log.write("log.csv", rows("a,3,1,0", "b,1,0,0", "c,2,1,1"))
    got = plain(log.prepare(PLAIN).path)
    assert [r["order"] for part in PARTS for r in got.part(part)] == [1, 2, 3]
    assert [r["a"] for part in PARTS for r in got.part(part)] == [[(1, 1.0)], [(0, 1.0)], [(0, 1.0)]]
    assert got.reasons["impressions"] == {"out_of_time_order": 2}


def test_rows_of_one_time_are_not_torn_apart_and_keep_the_order_of_the_log(log, plain):
    times = [5, 1, 5, 1, 5, 2, 9, 5]
    log.write("log.csv", rows(*(f"r{i},{t},0,0" for i, t in enumerate(times))))
    got = plain(log.prepare(PLAIN).path)
    assert [[r["order"] for r in got.part(part)] for part in PARTS] == [[1, 1], [2], [5, 5, 5, 9, 5]]


@pytest.mark.parametrize(
    ("schema", "log_rows", "said"),
    [
        (PLAIN, ["a,1,0,0"] * 9, r"the train part is empty \(train 0, validation 0, test 9\)\. Is the column of time constant"),
        (PLAIN, ["a,1,0,0", "a,2,0,0"], r"the train part is empty \(train 0, validation 1, test 1\)"),
        (PLAIN + "[split]\nby = 'file'\ntrain = ['log*']\ntest = ['test*']", ["a,1,0,0", "a,2,0,0"], r"the test part is empty .*patterns of the files"),
        (PLAIN + "[split]\nby = 'column'\ncolumn = 'a'\ntrain = ['x']\ntest = ['a']", ["a,1,0,0"], r"the train part is empty .*values of the column"),
        (PLAIN + "[split]\nby = 'column'\ncolumn = 'a'\ntrain = ['x']\ntest = ['y']", ["a,1,0,0"] * 2, r"of 2 rows not one can be used: 2 are other_part"),
        (PLAIN, ["a,1,0,7", "a,,0,0"], r"of 2 rows not one can be used: 1 are bad_label .*; 1 are bad_key"),
        (PLAIN, [], "of 0 rows not one can be used"),
    ],
)  # fmt: skip
def test_a_part_without_a_row_and_a_log_without_one(log, schema, log_rows, said):
    log.write("log.csv", rows(*log_rows))
    with pytest.raises(DataError, match=said):
        log.prepare(schema)
    assert not log.out.exists()


def test_without_a_validation_part(log, plain):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0"))
    dataset = log.prepare(PLAIN + "[split]\nvalidation = 0")
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [1, 0, 1]
    assert plain(dataset.path).manifest["parts"]["validation"]["files"] == []
    assert dataset.validation.column("click").tolist() == []
    assert list(dataset.validation.chunks()) == []


def test_parts_by_column_validate_on_the_last_of_the_training_part(log, plain):
    log.write("log.csv", rows(*(f"{'xy'[i % 2]},{10 - i},0,0" for i in range(8)), "q,1,0,0"))
    split = "[split]\nby = 'column'\ncolumn = 'a'\ntrain = ['x']\ntest = ['y']\nvalidation = 0.5"
    got = plain(log.prepare(PLAIN + split).path)
    assert [[r["order"] for r in got.part(part)] for part in PARTS] == [[6, 4], [10, 8], [9, 7, 5, 3]]
    assert got.reasons["impressions"]["other_part"] == 1
    assert got.manifest["audit"]["tables"]["impressions"]["kept"] == 8


def test_copies_are_left_out_and_what_was_before_is_noted(log, plain):
    log.write(
        "log.csv",
        rows("a,1,1,1", "b,2,0,1", "a,1,1,1", "a,1,1,0", "c,3,1,0", "d,4,0,0", "b,2,0,0", "e,5,0,0"),
    )
    got = plain(log.prepare(PLAIN.replace('"t"\n', '"t"\nunique = ["a", "t"]\n')).path)
    assert [r["order"] for part in PARTS for r in got.part(part)] == [1, 2, 3, 4, 5]
    assert sum(got.manifest["parts"][p]["reached"]["conversion"] for p in PARTS) == 1
    assert got.reasons["impressions"]["duplicate_impression"] == 3
    (note,) = (n for n in got.manifest["audit"]["notes"] if n.startswith("before"))
    assert note == (
        "before copies were left out: 8 impressions, 4 clicks, 2 conversions; "
        "copies with other labels than the one they repeat: 1"
    )


def test_many_copies_are_found_in_pieces(log, plain, monkeypatch, rng):
    """Fingerprints are sorted piece by piece: 500,000 rows each, here of 40."""
    monkeypatch.setattr("entirespace.dataset.assign.FINGERPRINTS", 40)
    ids = rng.integers(0, 150, 1000)
    log.write("log.parquet", {"a": ids, "t": np.arange(1000), "y": [0] * 1000, "z": [0] * 1000})
    dataset = log.prepare(PLAIN.replace('"t"\n', '"t"\nunique = ["a"]\n'))
    _, first = np.unique(ids, return_index=True)
    got = [r["order"] for part in PARTS for r in plain(dataset.path).part(part)]
    assert got == sorted(first.tolist())


def test_bags_keep_every_id_its_weight_and_its_place(log, plain):
    schema = (
        HEAD
        + '[impressions.fields]\nb = { kind = "ids", separator = "|", weights = "w" }\nc = { kind = "ids", from = "b" }\n'
    )
    bags = [("7|7|8", "0.1|0.2|1"), ("", ""), ("8|7|8", "1|1|1"), ("7", "0"), ("9|7", "3|4")]
    log.write("log.csv", "b,w,t,y,z\n" + "".join(f"{b},{w},{t},0,0\n" for t, (b, w) in enumerate(bags)))
    got = plain(log.prepare(schema + "[split]\ntrain = 0.8\nvalidation = 0.25").path)
    assert got.vocabulary["b"] == {"id": ["7", "8"], "count": [3, 3]}  # an id counts as often as it stands
    one = [r["b"] for part in PARTS for r in got.part(part)]
    f = np.float32
    assert one == [
        [(1, f(0.1)), (1, f(0.2)), (2, 1)],
        [],
        [(2, 1), (1, 1), (2, 1)],
        [(1, 0)],
        [(0, 3), (1, 4)],
    ]
    # without a separator the text is one id
    assert [r["c"] for r in got.part("train")] == [[(1, 1.0)], [], [(2, 1.0)]]


def test_a_bag_that_always_holds_one_id_without_a_weight_takes_no_more_room(log, plain):
    fields = '[impressions.fields]\nb = { kind = "ids", weights = "w" }\n'
    log.write("log.csv", "b,w,t,y,z\n" + "".join(f"x,1,{t},0,0\n" for t in range(4)))
    got = plain(log.prepare(HEAD + fields).path)
    (about,) = got.manifest["fields"]
    assert about["weighted"] is False
    columns = pq.read_schema(got.folder / got.manifest["parts"]["train"]["files"][0]).names
    assert sorted(columns) == ["b", "click", "conversion", "order", "user"]


SIDE = """
[tables.user]
files = ["user*"]
key = "uid"
[tables.user.fields]
uid = { min_count = 2 }
tags = { kind = "ids", separator = "|" }
age = { kind = "number", buckets = 2 }
"""


def test_a_side_row_counts_as_often_as_training_points_to_it(log, plain):
    log.write("user.csv", "uid,tags,age\nu1,a|b,10\nu2,a,20\nu3,c,30\nu4,d,40\n")
    of = ["u1", "u1", "u2", "u9", "u1", "u3", "u3", "u9"]  # u3 is pointed to by the test part only
    log.write("log.csv", "uid,t,y,z\n" + "".join(f"{u},{t},0,0\n" for t, u in enumerate(of)))
    dataset = log.prepare(HEAD + SIDE + '[split]\nvalidation = 0.0\n[roles]\nuser = "uid"')
    got = plain(dataset.path)
    assert got.vocabulary == {
        "uid": {"id": ["u1"], "count": [2]},
        "tags": {"id": ["a", "b"], "count": [3, 2]},
        "age": {"edge": [10.0]},
    }
    # stored once, in the order of the log, with an empty row 0
    just_below_2 = float(np.nextafter(np.float32(2), np.float32(0)))  # bucket 1, at its upper end
    assert got.tables["user"] == [
        {"uid": 0, "tags": [], "age": 0},
        {"uid": 1, "tags": [1, 2], "age": just_below_2},
        {"uid": 0, "tags": [1], "age": 2},
        {"uid": 0, "tags": [0], "age": 2},
        {"uid": 0, "tags": [0], "age": 2},
    ]
    assert got.manifest["tables"]["user"]["rows"] == 5
    # u2 and u3 share row 0 of the embedding, but are two users; u9 has no side row and is none
    assert dataset.train.column("user").tolist() == [1, 1, 2, -1]
    assert (got.manifest["users"], got.manifest["parts"]["test"]["users"]) == (3, 2)
    fields = {f["name"]: f for f in got.manifest["fields"]}
    assert fields["tags"]["ids"] == {"train": 5, "validation": 0, "test": 4}
    assert fields["tags"]["unseen"] == {"train": 0, "validation": 0, "test": 2}


def test_a_log_whose_fields_are_all_in_side_tables_and_a_side_table_without_rows(log, plain):
    log.write("user.csv", "uid,tags,age\n")
    log.write("log.csv", "uid,t,y,z\n" + "".join(f"u,{t},0,0\n" for t in range(4)))
    got = plain(log.prepare(HEAD + SIDE).path)
    assert got.tables["user"] == [{"uid": 0, "tags": 0, "age": 0}]
    assert got.part("test") == [
        {"click": False, "conversion": False, "order": t, "uid": [(0, 1)], "tags": [(0, 1)], "age": [(0, 1)]}
        for t in (2, 3)
    ]


def test_row_groups_and_files_have_a_fixed_size(log, plain, small_pieces):
    log.write("log.csv", rows(*(f"{i},{i},0,0" for i in range(200))))
    dataset = log.prepare(PLAIN)
    got = plain(dataset.path)
    names = got.manifest["parts"]["test"]["files"]
    assert names == [f"impressions/test-0000{i}.parquet" for i in range(len(names))]
    assert len(names) >= 3
    for name in names:
        about = pq.ParquetFile(dataset.path / name).metadata
        sizes = [about.row_group(g).num_rows for g in range(about.num_row_groups)]
        assert sizes[:-1] == [8] * (len(sizes) - 1)
        assert about.row_group(0).column(0).compression == "ZSTD"
    assert [r["order"] for r in got.part("test")] == list(range(100, 200))


def test_a_dataset_is_the_same_bytes_each_time(log, tmp_path):
    write(log, CASES[1].values[0], "csv")
    schema = CASES[1].values[0].schema(', separator = "|"')
    one, two = log.prepare(schema), log.prepare(schema, out=tmp_path / "again")
    assert one.manifest == two.manifest
    assert one.digest == two.digest
    other = log.prepare(schema.replace("min_count = 3", "min_count = 2"), out=tmp_path / "other")
    assert other.digest != one.digest


# --- whole, or not at all -----------------------------------------------------------------------------


def left_behind(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_what_fails_leaves_nothing_behind(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0", "d,4,9,0"))
    with pytest.raises(DataError, match="--max-bad"):
        log.prepare(PLAIN, max_bad=0.1)
    assert left_behind(log.out.parent) == ["raw"]
    dataset = log.prepare(PLAIN, max_bad=0.5)
    assert (dataset.path / "quarantine.csv").read_text().splitlines()[1] == (
        "log.csv,5,impressions,bad_label,y=9 z=0 t=4 a=d"
    )
    dataset.verify()


def test_a_new_dataset_replaces_the_old_one_only_when_it_is_whole(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    old = log.prepare(PLAIN)
    with pytest.raises(DataError, match=r"must be new or empty, however: it holds a dataset\. --force replaces it"):
        log.prepare(PLAIN)
    log.write("log.csv", rows("a,1,9,0"))
    with pytest.raises(DataError, match="not one can be used"):
        log.prepare(PLAIN, force=True)
    assert Dataset(log.out).digest == old.digest
    log.write("log.csv", rows("x,1,0,0", "x,2,0,0", "x,3,0,0", "x,4,0,0"))
    assert len(log.prepare(PLAIN, force=True).test) == 2
    assert left_behind(log.out.parent) == ["dataset", "raw"]


def test_an_old_dataset_is_whole_until_the_new_one_stands_there(log, monkeypatch):
    """Killed while the old one is put away: then there is the old, the new or none, never a half."""
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    log.prepare(PLAIN)
    moves = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        moves.append(log.out.exists() and Dataset(log.out).verify())
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: path == log.out and pytest.fail("removed in place"))
    log.prepare(PLAIN, force=True)
    assert moves


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_dataset_is_never_replaced(log, force):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    log.out.mkdir()
    (log.out / "thesis.tex").write_text("precious")
    with pytest.raises(DataError, match=r"it is no dataset, and holds thesis\.tex"):
        log.prepare(PLAIN, force=force)
    assert left_behind(log.out) == ["thesis.tex"]
    (log.out / "thesis.tex").unlink()
    log.out.rmdir()
    log.out.write_text("a file")
    with pytest.raises(DataError, match="must be new or empty, however: it is a file"):
        log.prepare(PLAIN, force=force)
    assert log.out.read_text() == "a file"


def test_an_empty_folder_will_do(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    log.out.mkdir()
    assert len(log.prepare(PLAIN).train) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from entirespace.dataset import prepare, writer as module
from entirespace.logs.star import LogSource
from entirespace.logs.schema import read_schema
where, raw, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
def die(*_, **__):
    print("there", flush=True)
    signal.pause()
if where == "reading":
    LogSource.impressions = die
elif where == "manifest":
    module.Manifest.write = die
else:
    rename = Path.rename
    Path.rename = lambda self, target: die() if target == out else rename(self, target)
schema = read_schema(raw / "schema.toml")
prepare.prepare_source(lambda a, q: LogSource(schema, raw, a, q), out, split=schema.split, schema={}, force=True)
"""


@pytest.mark.parametrize(("where", "there_before"), [("reading", False), ("manifest", True), ("rename", False)])
def test_a_killed_preparation_leaves_no_dataset_under_its_name(log, where, there_before):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    (log.raw / "schema.toml").write_text(PLAIN)
    before = log.prepare(PLAIN).digest if there_before else None
    command = [sys.executable, "-c", KILLED, where, str(log.raw), str(log.out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        (work,) = log.out.parent.glob(".dataset.*.partial")
        with folder_beside(log.out):
            there = work.is_dir()  # of a process that lives
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert there
    if before:
        assert Dataset(log.out).digest == before
    else:
        assert not log.out.exists()
    assert work.exists()
    assert log.prepare(PLAIN, force=there_before).digest == (before or log.prepare(PLAIN, force=True).digest)
    assert left_behind(log.out.parent) == ["dataset", "raw"]


def test_what_belongs_to_another_dataset_is_left_alone(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    others = [".dataset.abc", ".dataset.b.xyz.partial", "dataset.xyz.partial", ".datasets.xyz.partial"]
    for name in others:
        (log.out.parent / name).mkdir()
    (log.out.parent / ".dataset.xyz.partial").mkdir()
    log.prepare(PLAIN)
    assert left_behind(log.out.parent) == sorted([*others, "dataset", "raw"])


def test_an_error_in_one_of_the_jobs_ends_the_others(log, monkeypatch):
    """The disk is full while one part is written: the others are not written to their end first."""
    log.write("log.csv", rows(*(f"a,{i},0,0" for i in range(1000))))
    told = []
    from entirespace.dataset import writer as module

    def slow(self, part):
        for _ in range(500):
            time.sleep(0.01)
            told.append(part)
            self._jobs.advance(1)

    def write_part(self, part, *_):
        if part == 2:
            raise OSError(28, "No space left on device")
        slow(self, part)

    monkeypatch.setattr(module.Writer, "_write_part", write_part)
    monkeypatch.setattr("entirespace.dataset.jobs.THREADS", 3)
    with pytest.raises(OSError, match="No space"):
        log.prepare(PLAIN)
    assert len(told) < 400
    assert left_behind(log.out.parent) == ["raw"]


def test_interrupted_by_the_user_it_tidies_up(log, monkeypatch):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("entirespace.dataset.manifest.Manifest.write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        log.prepare(PLAIN)
    assert left_behind(log.out.parent) == ["raw"]


# --- real logs ----------------------------------------------------------------------------------------


def test_kuairand_agrees_with_its_readme(shared_data, log, plain):
    """README.txt of the folder: 228,329 rows, 5,885 of them exact copies; 25,156 users, 6,361 videos."""
    folder = shared_data / "kuairand_pure"
    log.raw = folder
    recipe = (ROOT / "src" / "entirespace" / "recipes" / "kuairand.toml").read_text()
    began = time.perf_counter()
    dataset = log.prepare(recipe, max_bad=0.0)
    assert time.perf_counter() - began < 60
    got = plain(dataset.path)
    audit = got.manifest["audit"]
    table = audit["tables"]["impressions"]
    assert (table["read"], table["kept"], table["quarantined"]) == (228_329, 222_444, 0)
    reasons = got.reasons["impressions"]
    assert (reasons.pop("duplicate_impression"), reasons.pop("conversion_without_click")) == (5_885, 703)
    assert reasons == {"out_of_time_order": 62}  # counted apart, by numpy
    (note,) = (n for n in audit["notes"] if n.startswith("before"))
    assert note == (
        "before copies were left out: 228,329 impressions, 100,900 clicks, 3,212 conversions; "
        "copies with other labels than the one they repeat: 1"
    )
    assert (got.manifest["users"], got.manifest["items"]) == (25_156, 6_361)
    assert sum(len(part) for part in (dataset.train, dataset.validation, dataset.test)) == 222_444
    assert len(dataset.test) in range(111_222 - 50, 111_222 + 50)  # half, but for rows of one millisecond
    orders = [dataset.train.column("order"), dataset.validation.column("order"), dataset.test.column("order")]
    assert orders[0].max() < orders[1].min() <= orders[1].max() < orders[2].min()
    sizes = {f["name"]: f["size"] for f in got.manifest["fields"]}
    assert sizes["tab"] == 16  # README.txt: 15 tabs
    dataset.verify()
    assert read_schema(ROOT / "src" / "entirespace" / "recipes" / "kuairand.toml").roles.item == "video_id"


def test_the_manifest_is_json_that_any_tool_can_read(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    dataset = log.prepare(PLAIN)
    manifest = json.loads((dataset.path / "manifest.json").read_text())
    assert manifest["format"] == "entirespace-dataset/2"
    on_disk = {str(p.relative_to(dataset.path)) for p in dataset.path.rglob("*") if p.is_file()}
    assert on_disk == {"manifest.json", *manifest["files"]}
    assert manifest["schema"]["impressions"]["order"] == "t"
    assert os.stat(dataset.path).st_mode & 0o777 == 0o755
    assert list(itertools.chain(*(manifest["parts"][p]["files"] for p in PARTS)))


def test_the_recipe_for_kuairand_reads_the_official_names(log, plain):
    """Several files of the standard log; the random log and the statistics of the whole period are not touched."""
    head = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,long_view,tab\n"
    for k, name in enumerate(("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv")):
        lines = [f"u{t % 3},v{t % 2},20220408,1400,{100 * k + t},{t % 2},{t % 2},1,1" for t in range(20)]
        log.write(name, head + "\n".join(lines))
    for name in ("log_random_4_22_to_5_08_pure.csv", "video_features_statistic_pure.csv"):
        log.write(name, "not,to,be,read\n")
    recipe = (ROOT / "src" / "entirespace" / "recipes" / "kuairand.toml").read_text()
    tables = read_schema(ROOT / "src" / "entirespace" / "recipes" / "kuairand.toml").tables
    for table, name, key in (("user", "user_features_pure.csv", "u"), ("video", "video_features_basic_pure.csv", "v")):
        columns = sorted({f.source or n for n, f in tables[table].fields.items()})
        values = [",".join(f"{key}{i}" if c == f"{table}_id" else str(i) for c in columns) for i in range(3)]
        log.write(name, "\n".join([",".join(columns), *values]))
    dataset = log.prepare(recipe, max_bad=0.0)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [18, 2, 20]
    got = plain(dataset.path)
    assert (got.manifest["users"], got.manifest["items"]) == (3, 2)
    assert got.raw_ids("test", "video_id")[:2] == [["v0"], ["v1"]]
    assert sum(row["conversion"] for row in got.part("test")) == 10


def test_the_recipe_for_aliexpress_reads_its_four_files(log, plain):
    """A label of levels, no header, a split by file, and pages that an item's column 1 names."""
    for part, pages in (("train", range(6)), ("test", range(6, 9))):
        users = [",".join([str(page), *(str((page * c) % 5) for c in range(2, 34))]) for page in pages]
        log.write(f"NL_user_{part}.csv", "\n".join(users))
        items = [
            ",".join([str(page), *(str((page + c + k) % 4) for c in range(2, 49)), str(k % 3)])
            for page in pages
            for k in range(5)
        ]
        log.write(f"NL_item_{part}.csv.gz", "\n".join(items))
    dataset = log.prepare((ROOT / "src" / "entirespace" / "recipes" / "aliexpress.toml").read_text(), max_bad=0.0)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [27, 3, 15]
    got = plain(dataset.path)
    # of five items a page the labels are 0 1 2 0 1: three clicks, one purchase
    assert [(row["click"], row["conversion"]) for row in got.part("test")[:5]] == [
        (False, False),
        (True, False),
        (True, True),
        (False, False),
        (True, False),
    ]
    assert "missing_side_row" not in got.reasons["impressions"]
    assert len(got.manifest["fields"]) == 47 + 32
    assert got.raw_ids("train", "user_2")[5 * 3] == [str(3 * 2 % 5)]
