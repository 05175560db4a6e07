"""Files -> tables: files with the same columns are one. And which of the tables is which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

import polars as pl

from ..files import File
from ..find import matches, natural
from . import words as known
from .column import Column, joined, look, plain
from .labels import Labels, find
from .sample import Head, Sample, head, sample

NO_DATA = (".md", ".pdf", ".zip", ".xlsx", ".xls", ".toml", ".py", ".ipynb", ".html", ".png", ".jpg", ".tar", ".rst")
PROSE = frozenset(["readme", "license", "licence", "notice", "changelog", "copying", "description"])
FEW_REPEATS = 0.001  # of the keys of a side table


@dataclass(frozen=True)
class Table:
    """Files with the same columns, and some of their rows."""

    heads: tuple[Head, ...]  # in natural order
    samples: tuple[Sample, ...]  # of the first, the middle and the last file
    files: tuple[str, ...] = field(default=())  # names or patterns

    @property
    def first(self) -> Head:
        return self.heads[0]

    @property
    def names(self) -> list[str]:
        """The names of its files."""
        return [head.file.name for head in self.heads]

    @property
    def whole(self) -> bool:
        """Whether the sample has all rows."""
        return len(self.samples) == len(self.heads) and all(s.whole for s in self.samples)

    @cached_property
    def rows(self) -> int:
        """How many rows there are: an estimate unless `whole`."""
        bytes_read = sum(h.file.size for h in self._sampled)
        rows = sum(s.rows for s in self.samples)
        return int(rows * sum(h.file.size for h in self.heads) / max(1, bytes_read))

    @property
    def _sampled(self) -> list[Head]:
        return [self.heads[i] for i in _some(len(self.heads))]

    @cached_property
    def unreadable(self) -> dict[str, str]:
        """Column -> why it cannot be read."""
        return {name: why for s in self.samples for name, why in s.unreadable.items()}

    @property
    def encoding(self) -> str:
        """How the text of its files is encoded."""
        return next((s.encoding for s in self.samples if s.encoding != "utf-8"), "utf-8")

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The columns that can be read."""
        frames = [frame.rows for s in self.samples for frame in s.frames]
        names = [name for name in dict.fromkeys(self.first.columns) if name not in self.unreadable]
        return {name: look(name, joined(frames, name), self.first.headed) for name in names}

    @cached_property
    def labels(self) -> Labels:
        return find(list(self.columns.values()), self.first.headed)

    @property
    def title(self) -> str:
        """Its files, for comments."""
        return ", ".join(self.files)


def _some(n: int) -> list[int]:
    return sorted({0, n // 2, n - 1})


def tables(files: Sequence[File]) -> tuple[list[Table], dict[str, str]]:
    """(the tables, names of files that are none -> why)."""
    groups: dict[object, list[Head]] = {}
    others: dict[str, str] = {}
    for file in sorted(files, key=lambda file: natural(file.name)):
        stem = PurePosixPath(file.name.lower())
        if stem.suffix in NO_DATA or PROSE & set(known.words(stem.stem)):
            continue
        found = head(file) if file.size else "it is empty"
        if isinstance(found, str):
            others[file.name] = found
            continue
        columns = frozenset(found.columns) if found.headed else len(found.columns)
        groups.setdefault((found.headed, found.delimiter, columns), []).append(found)
    every = [file.name for file in files]
    made = []
    for heads in groups.values():
        samples = tuple(sample(heads[i]) for i in _some(len(heads)))
        made.append(Table(tuple(heads), samples, patterns([h.file.name for h in heads], every)))
    return made, others


def patterns(names: Sequence[str], every: Sequence[str]) -> tuple[str, ...]:
    """Patterns that match these names and no other: the names themselves if they are few.

    >>> patterns([f"log_{i}.csv" for i in range(10)], [*(f"log_{i}.csv" for i in range(10)), "users.csv"])
    ('log_*.csv',)
    """
    if len(names) <= 2:
        return tuple(names)
    folders = {name.rpartition("/")[0] for name in names}
    ends = [name.rpartition("/")[2] for name in names]
    begin, end = _common(ends), _common([e[::-1] for e in ends])[::-1]
    begin = begin.rstrip("0123456789")
    end = end[end.find(".") :] if "." in end else end.lstrip("0123456789")
    if len(folders) == 1:
        folder = next(iter(folders))
        tried = f"{folder}/{begin}*{end}" if folder else f"{begin}*{end}"
    else:
        shared = _common_folders(folders)
        tried = "/".join(filter(None, [shared, "**", f"{begin}*{end}"]))
    same = {name for name in every if _matches(tried, name)}
    if same == set(names) and not any(c in "[]?" for c in begin + end):
        return (tried,)
    return tuple(names)


def _matches(pattern: str, name: str) -> bool:
    if "/" not in pattern and "/" in name:
        return False
    return matches(pattern, name)


def _common(names: Sequence[str]) -> str:
    low, high = min(names), max(names)
    return low[: next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))]


def _common_folders(folders: set[str]) -> str:
    split = [folder.split("/") if folder else [] for folder in folders]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared)


def impressions_of(found: Sequence[Table]) -> Table:
    """The table of impressions: the largest one with labels, or the largest one."""
    return max(found, key=lambda t: (bool(t.labels.click or t.labels.conversion), t.rows, -found.index(t)))


@dataclass(frozen=True)
class Join:
    """A side table: its key, and the column of the impressions that holds the same ids."""

    table: Table
    key: str
    on: str
    share: float | None  # of the different ids of the impressions that it has; None: not known
    doubts: tuple[str, ...] = ()


def join_of(table: Table, impressions: Table) -> Join | str:
    """How a table is joined to the impressions; or why it cannot be."""
    why = "no column of it has the name of a column of the impressions"
    best: Join | None = None
    for key in table.columns.values():
        ons = [on for on in impressions.columns.values() if _same(key, on, table)]
        if not ons or key.lists or key.time is not None or not len(key.values):
            continue
        repeats = len(key.values) - len(key.distinct) - key.missing
        if key.missing or repeats > FEW_REPEATS * len(key.values):
            why = f"'{key.name}' is not different in each of its rows" if best is None else why
            continue
        share = _held(ons[0], key) if table.whole else None
        if share is not None and share < 0.5:
            why = f"'{key.name}' has only {100 * share:.0f} % of the ids in '{ons[0].name}' of the impressions"
            continue
        if best is None or (share or 1.0) > (best.share or 1.0):
            best = Join(table, key.name, ons[0].name, share, _join_doubts(table, key, ons[0], share))
    return why if best is None else best


def _same(key: Column, on: Column, table: Table) -> bool:
    if on.lists or on.time is not None:
        return False
    if plain(key.name) == plain(on.name):
        return (
            bool(set(known.words(key.name)) & known.ID)
            or known.role(key.name, (*known.USER, *known.ITEM)) is not None
            or key.different
        )
    entity = {w.removesuffix("s") for w in known.words(PurePosixPath(table.names[0]).name.split(".")[0])}
    return plain(key.name) in ("id", "key") and plain(on.name).removesuffix("id") in entity


def _held(on: Column, key: Column) -> float:
    """The share of the different ids of `on` that `key` has."""
    return float(on.distinct.is_in(key.distinct.implode()).to_numpy().mean()) if len(on.distinct) else 0.0


def _join_doubts(table: Table, key: Column, on: Column, share: float | None) -> tuple[str, ...]:
    doubts = []
    if share is None:
        doubts.append(f"only some rows of {table.title} were read: is '{key.name}' different in each row?")
    elif share < 0.9:
        doubts.append(f"{100 * (1 - share):.0f} % of the ids in '{on.name}' have no row here")
    if plain(key.name) != plain(on.name):
        doubts.append(f"'{key.name}' here is taken for '{on.name}' of the impressions")
    return tuple(doubts)


@dataclass(frozen=True)
class ConversionTable:
    """A table of conversions of its own."""

    table: Table
    keys: tuple[str, ...]
    ons: tuple[str, ...]
    time: str | None
    share: float  # of its keys that an impression of the sample has


def conversions_of(table: Table, impressions: Table) -> ConversionTable | None:
    """A table of conversions, or None if it is none: by its name, and by keys that impressions have."""
    named = {w for name in (table.names[0], *table.columns) for w in known.words(name)}
    if not named & known.CONVERSION_TABLE:
        return None
    pairs = [
        (key, on)
        for key in table.columns.values()
        for on in impressions.columns.values()
        if plain(key.name) == plain(on.name) and key.time is None and on.time is None and not (key.lists or on.lists)
    ]
    ids = [
        p
        for p in pairs
        if set(known.words(p[0].name)) & known.ID or known.role(p[0].name, (*known.USER, *known.ITEM)) is not None
    ]
    one = [p for p in ids if p[1].different]
    chosen = one[:1] or ids
    if not chosen:
        return None
    keys = pl.DataFrame([pl.Series(str(i), k.raw) for i, (k, _) in enumerate(chosen)]).unique()
    ons = pl.DataFrame([pl.Series(str(i), o.raw) for i, (_, o) in enumerate(chosen)]).unique()
    share = len(keys.join(ons, on=keys.columns, how="semi", nulls_equal=True)) / max(1, len(keys))
    times = [c for c in table.columns.values() if c.time is not None and not c.missing]
    time = max(times, key=time_rank, default=None)
    if share < 0.5 and impressions.whole:
        return None
    return ConversionTable(
        table, tuple(k.name for k, _ in chosen), tuple(o.name for _, o in chosen), time.name if time else None, share
    )


def time_rank(column: Column) -> tuple[float, int]:
    """How good a column is as the time of its row."""
    assert column.time is not None
    mine = set(known.words(column.name))
    rank = 2.0 * bool(mine & {"time", "timestamp", "ts", "datetime"}) + bool(mine & {"date", "day", "dt"})
    rank -= 4.0 * bool(mine & known.NOT_THE_TIME) + 0.5 * (not column.time.dates)
    return rank, len(column.distinct)


def overlap(column: Column, order: Column | None) -> float | None:
    """The share of rows of the later half whose id an earlier row has; None: too few rows, or it is no session."""
    n = len(column.values)
    if n < 40 or not set(known.words(column.name)) & known.SESSION:
        return None
    codes = column.codes
    if order is not None and order.time is not None:
        codes = codes[order.time.stamps.argsort(kind="stable")]
    early = set(codes[: math.ceil(n / 2)].tolist())
    return sum(code in early for code in codes[math.ceil(n / 2) :].tolist()) / (n - math.ceil(n / 2))
