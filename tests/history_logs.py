"""Random logs with a history, and the rates of their impressions by plain Python, slow and obvious."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from read_back import Table, prepare_files

from entirespace.core.rows import PARTS
from entirespace.dataset.dataset import Dataset
from entirespace.dataset.manifest import FOLD
from entirespace.features.codes import hash_buckets

Row = dict[str, Any]
BUCKETS = 7
KEYS: dict[str, tuple[str, ...]] = {
    "user": ("user",), "item": ("item",), "page": ("page",), "slot": ("slot",), "words": ("words",), "q": ("q",),
    "group": ("group",), "tags": ("tags",), "user x slot": ("user", "slot"), "shop x page": ("shop", "page"),
    "q x group": ("q", "group"), "shop": ("shop",),
}  # fmt: skip
PARENTS: dict[str, tuple[str, ...]] = {
    "item": ("shop", "tags"), "user": ("group",), "user x slot": ("user", "group"), "shop x page": ("shop",),
    "q x group": ("q",),
}  # fmt: skip
UNRATED = ("shop",)
"""A key that is only a parent."""
HASHED = ("q", "group")
SCHEMA = """
[impressions]
files = ["log*"]
order = "t"
labels = { click = "y", conversion = "z" }
[impressions.fields]
page = {}
words = { kind = "ids", separator = " " }
q = { hash = 7 }
[tables.users]
files = ["users*"]
key = "user"
[tables.users.fields]
user = { min_count = 2 }
group = { hash = 7 }
[tables.items]
files = ["items*"]
key = "item"
[tables.items.fields]
item = {}
shop = {}
tags = { kind = "ids", separator = " " }
[split]
train = 0.6
validation = 0.25
"""
HISTORY = """
[history]
keys = ["user", "item", "page", "slot", "words", "q", "group", "tags",
        ["user", "slot"], ["shop", "page"], ["q", "group"]]
parents = { item = ["shop", "tags"], user = ["group"] }
"""
NAMES = {"click": (1, 0), "conversion": (2, 1), "ctcvr": (2, 0)}
"""Rate -> the columns of its hits and its trials among (impressions, clicks, conversions)."""


def random_log(n: int, seed: int = 0, click: float = 0.5, conversion: float = 0.5, ties: bool = False) -> list[Row]:
    """Impressions in order of time, with missing ids and ids that no side table has."""
    r = random.Random(seed)
    rows = []
    for i in range(n):
        user, item = r.choice(["", *(f"u{k}" for k in range(8))]), r.choice([*range(1, 12), 99])
        page = r.choice(["", "home", "search"])
        tilt = 0.4 * ((hash_of(user) + hash_of(page)) % 1 - 0.5) if 0 < click < 1 else 0  # ids differ in their rates
        clicked = r.random() < click + 2 * tilt
        rows.append(
            {
                "t": i // 3 if ties else 2 * i,
                "y": int(clicked),
                "z": int(clicked and r.random() < conversion + (tilt if 0 < conversion < 1 else 0)),
                "user": user,
                "item": item,
                "page": page,
                "slot": r.choice(["", "1", "2"]),
                "words": " ".join(r.choice("abcd") for _ in range(r.randrange(4))),
                "q": r.choice(["", *"ijklmnop"]),
            }
        )
    return rows


def hash_of(name: str) -> float:
    """A number from 0 to 1 that depends on a name."""
    return sum(map(ord, name)) * 0.381966 % 1


def side_tables() -> dict[str, list[Row]]:
    """Users u0 to u6 (not u7) and items 1 to 11 (not 99)."""
    r = random.Random(1)
    return {
        "users.csv": [{"user": f"u{k}", "group": r.choice(["", "x", "y", "z"])} for k in range(7)],
        "items.csv": [
            {"item": k, "shop": r.choice(["", "s1", "s2"]), "tags": " ".join(r.sample("mnop", r.randrange(3)))}
            for k in range(1, 12)
        ],
    }


def prepared(
    folder: Path, rows: Sequence[Row], history: str = HISTORY, files: dict[str, Table] | None = None, **options: Any
) -> Dataset:
    """The log, prepared; `files`: in place of one file log.csv."""
    folder.mkdir(exist_ok=True, parents=True)
    content: dict[str, Table] = {**side_tables(), **({"log.csv": list(rows)} if files is None else files)}
    return prepare_files(folder, SCHEMA + history, content, **options)


def ids_of(row: Row) -> dict[str, list[str]]:
    """Key -> the ids of an impression, as they are stored."""
    users = {u["user"]: u for u in side_tables()["users.csv"]}
    items = {i["item"]: i for i in side_tables()["items.csv"]}
    user, item = users.get(row["user"]), items.get(row["item"])
    values = {
        "user": row["user"] if user else "",
        "group": user["group"] if user else "",
        "item": str(row["item"]) if item else "",
        "shop": item["shop"] if item else "",
        **{name: row[name] for name in ("page", "slot", "q")},
    }
    values |= {name: str(hash_buckets(pl.Series([values[name]]), BUCKETS)[0]) for name in HASHED}
    found = {name: [values[part] for part in parts] for name, parts in KEYS.items() if name not in ("words", "tags")}
    joined = {name: ["\x1f".join(parts)] for name, parts in found.items()}
    return joined | {"words": row["words"].split(), "tags": item["tags"].split() if item else []}


@dataclass
class Slow:
    """The rates of a log's impressions, one impression at a time.

    Args:
        rows: in order of time.
        parts, folds: of each row.
        strengths: chain -> (variants, rates).
    """

    rows: Sequence[Row]
    parts: Sequence[str]
    folds: Sequence[int]
    strengths: dict[tuple[str, ...], np.ndarray]
    cross_fit: str = "folds"
    count: int = 5  # folds
    delay: int = 0
    half_life: float | None = None
    rates: tuple[str, ...] = ("click", "conversion", "ctcvr")
    keys: tuple[str, ...] = tuple(name for name in KEYS if name not in UNRATED)
    parents: dict[str, tuple[str, ...]] = field(default_factory=lambda: PARENTS)
    with_counts: bool = False
    labelled: bool = True  # False: only rows of part "before" are, an earlier log

    def __post_init__(self) -> None:
        self.ids = [ids_of(row) for row in self.rows]
        self.ends = {
            p: max((r["t"] for r, q in zip(self.rows, self.parts, strict=True) if q == p), default=0) for p in PARTS
        }
        self._tables: dict[int, dict[str, dict[str, np.ndarray]]] = {}

    def variant(self, i: int) -> int:
        return self.folds[i] if self.parts[i] == "train" else self.count + PARTS.index(self.parts[i]) - 1

    def knows(self, variant: int, j: int) -> bool:
        """Whether impressions of a variant know row j."""
        part, t = self.parts[j], self.rows[j]["t"]
        if part == "before":
            return True
        if not self.labelled:
            return False
        if self.cross_fit == "time" and part == "train" and variant < self.count:
            return self.known_in(j) < variant
        if t > self.ends[part] - self.delay:
            return False
        if variant < self.count:
            return part == "train" and self.folds[j] != variant
        return PARTS.index(part) <= variant - self.count

    def known_in(self, j: int) -> int:
        """With cross_fit = "time": the fold during which the outcome of training row j becomes known."""
        later = [f for r, f, p in zip(self.rows, self.folds, self.parts, strict=True)
                 if p == "train" and r["t"] <= self.rows[j]["t"] + self.delay]  # fmt: skip
        return max(later)

    def weight(self, j: int, now: int | None = None) -> float:
        now = self.ends["train"] if now is None else now
        return 1.0 if self.half_life is None else 2.0 ** ((self.rows[j]["t"] - now) / self.half_life)

    def _sum(self, rows: Iterator[tuple[int, float]]) -> dict[str, dict[str, np.ndarray]]:
        """Key -> id -> (impressions, clicks, conversions) of some rows with weights; id "all": of all rows."""
        found: dict[str, dict[str, np.ndarray]] = {name: defaultdict(lambda: np.zeros(3)) for name in (*KEYS, "")}
        for j, weight in rows:
            row = self.rows[j]
            counted = weight * np.array([1, row["y"], row["y"] and row["z"]])
            found[""]["all"] += counted
            for name, ids in self.ids[j].items():
                for one in ids:
                    found[name][one] += counted
        return found

    def of_variant(self, variant: int) -> dict[str, dict[str, np.ndarray]]:
        if variant not in self._tables:
            known = ((j, self.weight(j)) for j in range(len(self.rows)) if self.knows(variant, j))
            self._tables[variant] = self._sum(known)
        return self._tables[variant]

    def counted(self, i: int) -> dict[str, np.ndarray]:
        """Key -> what impression i knows of its ids."""
        table, now = self.of_variant(self.variant(i)), self.rows[i]["t"]
        if self.cross_fit == "time" and self.parts[i] == "train":
            before = [
                j
                for j, r in enumerate(self.rows)
                if self.parts[j] == "before"
                or (self.labelled and self.parts[j] == "train" and r["t"] + self.delay < now)
            ]
            table = self._sum((j, self.weight(j, now)) for j in before)
        return {name: sum((table[name][one] for one in ids), np.zeros(3)) for name, ids in self.ids[i].items()}

    def mean(self, variant: int, rate: str) -> float:
        hits, trials = NAMES[rate]
        counted = self.of_variant(variant)[""]["all"]
        return float((counted[hits] + 0.5) / (counted[trials] + 1))

    def numbers(self, i: int) -> list[float]:
        variant, counted, found = self.variant(i), self.counted(i), []
        for name in self.keys:
            chain = (name, *self.parents.get(name, ()))
            for r, rate in enumerate(self.rates):
                hits, trials = NAMES[rate]
                p = mean = self.mean(variant, rate)
                for level in range(len(chain) - 1, -1, -1):
                    s, (k, n) = self.strengths[chain[level:]][variant, r], counted[chain[level]][[hits, trials]]
                    p = (k + s * p) / (n + s)
                found.append(math.log(p / (1 - p)) - math.log(mean / (1 - mean)))
            if self.with_counts:
                found.append(math.log1p(counted[name][0]))
        return found


def read(data: Dataset) -> dict[int, tuple[str, int, np.ndarray]]:
    """Time of an impression -> its part, its fold and its numbers, as the dataset gives them."""
    found: dict[int, tuple[str, int, np.ndarray]] = {}
    for part in data.parts:
        numbers = [rows.numbers for rows in part.chunks() if rows.numbers is not None]
        folds, times = part.column(FOLD).tolist(), part.column("order").tolist()
        for i, (t, fold) in enumerate(zip(times, folds, strict=True)):
            found[t] = (part.name, fold, np.concatenate(numbers)[i])
    return found


def check(data: Dataset, rows: Sequence[Row], before: Sequence[Row] = (), **settings: Any) -> None:
    """The rates of a dataset are those of plain Python with the same parts, folds and strengths.

    Args:
        rows: of the dataset.
        before: of the earlier log on whose counts it builds.
    """
    got, history = read(data), data.encoders.history
    assert history is not None
    parts, folds = [got[row["t"]][0] for row in rows], [got[row["t"]][1] for row in rows]
    strengths, n = dict(history.strengths), len(before)
    slow = Slow(
        [*before, *rows], ["before"] * n + parts, [0] * n + folds, strengths, count=history.spec.folds, **settings
    )
    expected = np.array([slow.numbers(i) for i in range(n, n + len(rows))])
    np.testing.assert_allclose(np.array([got[row["t"]][2] for row in rows]), expected, rtol=1e-5, atol=2e-6)
