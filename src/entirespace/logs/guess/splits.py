"""The split of the first schema: in time, by files or a column that say so, or by chance.

A column that divides the log into parts is no field, also if the split does not use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import PurePosixPath

import numpy as np
import polars as pl

from . import words as known
from .column import Column
from .tables import Table

GROUPS = range(2, 61)  # different values of a column such as `wave`
FOLDS = 20  # different values of a column such as `fold`, at most
LEAST = 30  # different numbers and times that tell whether a number only grows
LEAST_TIMES = 5  # different times for each value, and outside the longest stretch, that tell whether it has a stretch
MISSING = 0.1  # share of the rows without a value, at most, if the values are stretches of time
YES = ("1", "true", "t", "yes", "y")


@dataclass(frozen=True)
class SplitGuess:
    """[split], as options in order, with a comment, doubts, and the column that it uses."""

    options: Mapping[str, object]
    why: str
    column: str | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """Why a column divides the log into parts, and [split] by it, as options in order; none if it has many values."""

    why: str
    split: Mapping[str, object] = field(default_factory=dict[str, object])
    doubts: tuple[str, ...] = ()


def split_of(table: Table, order: Column | None, user: str | None, labels: set[str]) -> SplitGuess:
    """How the impressions are split."""
    files = _files(table)
    if order is not None:
        also = '; the names of the files say train and test, too: by = "file"' if files else ""
        return SplitGuess(
            {"by": "order", "train": 0.5, "validation": 0.1},
            f"the first half in time trains, as in the paper; the last tenth of it is for validation{also}",
        )
    if files is not None:
        return SplitGuess(files, "the names of the files say so")
    for column in table.columns.values():
        if column.name not in labels and (options := _named(column)):
            return SplitGuess(options, f"'{column.name}' names the parts", column.name)
    if table.whole:
        for column in table.columns.values():
            if column.name not in labels and (found := _groups(column)):
                return found
    also = ', or by = "user": all impressions of a user in one part' if user else ""
    return SplitGuess(
        {"by": "random", "seed": 0, "train": 0.5, "validation": 0.1},
        f"no time was found, so by chance, half for training{also}",
    )


def _parts_of(names: list[str]) -> dict[str, list[str]] | None:
    """Part -> names that say it; None if some say none, or there is no training or no test part."""
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for name in names:
        mine = set(known.words(name))
        part = next(
            (
                p
                for p, w in (("validation", known.VALIDATION), ("test", known.TEST), ("train", known.TRAIN))
                if mine & w
            ),
            None,
        )
        if part is None:
            return None
        parts[part].append(name)
    if parts["train"] and not parts["test"] and parts["validation"]:
        parts["test"], parts["validation"] = parts["validation"], []
    return parts if parts["train"] and parts["test"] else None


def _files(table: Table) -> dict[str, object] | None:
    parts = _parts_of(table.names)
    if parts is None:
        return None
    options: dict[str, object] = {"by": "file"}
    for part in ("train", "test", "validation"):
        if parts[part]:
            options[part] = [escape(name) if "/" in name else escape(PurePosixPath(name).name) for name in parts[part]]
    return options if "validation" in options else {**options, "validation": 0.1}


def parts_of(column: Column, order: Column | None) -> Parts | None:
    """Whether a column of the impressions divides the log into parts: by what it says, in time, or by its name.

    Args:
        order: the column of the time, if there is one.
    """
    if column.lists or len(column.distinct) < 2:
        return None
    if named := _named(column):
        return Parts("it names the parts of the log", named)
    if order is not None and order.time is not None:
        stamps, why = order.time.stamps, "it follows the time: its values in the test part are not in the training part"
        levels = _stretches(column, stamps)
        if levels is not None:
            return Parts(why, _halves(column, levels) if len(levels) in GROUPS else {})
        if _grows(column, stamps):
            return Parts(why)
    if called_part(column.name) and len(column.distinct) <= FOLDS:
        doubt = f"by its name '{column.name}' divides the log into parts; if it describes impressions, make it a field"
        return Parts("it seems to divide the log into parts", _halves(column, _sorted(column)), (doubt,))
    return None


def called_part(name: str) -> bool:
    """Whether a column is called a part, a split or a fold.

    >>> called_part("fold_id"), called_part("dataSplit"), called_part("part_number")
    (True, True, False)
    """
    mine = set(known.words(name)) - known.FILLER - known.ID - known.PART_FILLER
    return bool(mine) and mine <= known.PART


def _named(column: Column) -> dict[str, object] | None:
    """[split] by a column whose values are names of parts, or that is yes or no, as `is_train`."""
    if column.lists or column.missing or len(column.distinct) > 6:
        return None
    values = column.distinct.to_list()
    mine = set(known.words(column.name)) - known.FILLER
    yes = [v for v in values if v.lower() in YES]
    if len(values) == 2 and len(yes) == 1 and mine and (mine <= known.TRAIN or mine <= known.TEST):
        no = [v for v in values if v not in yes]
        train, test = (yes, no) if mine <= known.TRAIN else (no, yes)
        return _by(column, train, test)
    parts = None if column.numbers is not None else _parts_of(values)
    return _by(column, parts["train"], parts["test"], parts["validation"]) if parts else None


def _by(column: Column, train: Sequence[str], test: Sequence[str], validation: Sequence[str] = ()) -> dict[str, object]:
    """[split] by a column, as options in order. Whole numbers are written as numbers."""

    def levels(values: Sequence[str]) -> list[object]:
        return [int(v) for v in values] if column.whole else list(values)

    options: dict[str, object] = {"by": "column", "column": column.name, "train": levels(train), "test": levels(test)}
    return {**options, "validation": levels(validation) or 0.1}


def _halves(column: Column, levels: Sequence[str]) -> dict[str, object]:
    """[split] by a column: the first of its values, with half of the rows, train."""
    rows = [int((column.raw == level).sum()) for level in levels]
    train = max(1, min(len(levels) - 1, int((np.cumsum(rows) <= sum(rows) / 2).sum())))
    return _by(column, levels[:train], levels[train:])


def _sorted(column: Column) -> list[str]:
    return sorted(column.distinct.to_list(), key=(lambda v: (float(v), v)) if column.numbers is not None else None)


def _stretches(column: Column, stamps: np.ndarray) -> list[str] | None:
    """The values of a column in the order of time, if each of them is one stretch of time apart from the others.

    Times are counted, and not rows: all rows of one search have its time and its values.
    """
    if column.missing > MISSING * len(column.values):
        return None
    seen = pl.DataFrame({"value": column.raw, "at": stamps}).filter(pl.Series(column.there)).group_by("value")
    spans = seen.agg(first=pl.min("at"), last=pl.max("at"), times=pl.n_unique("at")).sort("first")
    times = spans["times"].to_numpy()
    if times.sum() < LEAST_TIMES * len(times) or times.sum() - times.max() < LEAST_TIMES:
        return None
    return spans["value"].to_list() if (spans["first"][1:] > spans["last"][:-1]).all() else None


def _grows(column: Column, stamps: np.ndarray) -> bool:
    """Whether the numbers of a column only grow in time, or only fall."""
    if column.numbers is None:
        return False
    numbers, stamps = column.numbers[column.there], stamps[column.there]
    if min(len(np.unique(numbers)), len(np.unique(stamps))) < LEAST:
        return False
    return any((np.diff(way[np.lexsort((way, stamps))]) >= 0).all() for way in (numbers, -numbers))


def _groups(column: Column) -> SplitGuess | None:
    """A column such as `wave`, whose whole numbers are in the order of time."""
    if not column.whole or column.missing or len(column.distinct) not in GROUPS:
        return None
    if set(known.words(column.name)) - {"id", "no", "num"} - known.GROUP:
        return None
    if not set(known.words(column.name)) & known.GROUP:
        return None
    doubt = (
        f"the first values of '{column.name}' are taken as the earlier ones; else write by = \"random\" and seed = 0"
    )
    options = _halves(column, _sorted(column))
    return SplitGuess(options, f"the first half in '{column.name}' trains", column.name, (doubt,))
