"""The split of the first schema: in time, by files or a column that say so, or by chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import PurePosixPath

import numpy as np

from . import words as known
from .column import Column
from .tables import Table

GROUPS = range(2, 61)  # different values of a column such as `wave`


@dataclass(frozen=True)
class SplitGuess:
    """[split], as options in order, with a comment, doubts, and the column that it uses."""

    options: Mapping[str, object]
    why: str
    column: str | None = None
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
        if column.name not in labels and (found := _column(column)):
            return found
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


def _column(column: Column) -> SplitGuess | None:
    """A column whose values are names of parts."""
    if column.numbers is not None or column.lists or column.missing or len(column.distinct) > 6:
        return None
    parts = _parts_of(column.distinct.to_list())
    if parts is None:
        return None
    options: dict[str, object] = {"by": "column", "column": column.name, "train": parts["train"], "test": parts["test"]}
    options["validation"] = parts["validation"] or 0.1
    return SplitGuess(options, f"'{column.name}' names the parts", column.name)


def _groups(column: Column) -> SplitGuess | None:
    """A column such as `wave`, whose whole numbers are in the order of time."""
    if not column.whole or column.missing or len(column.distinct) not in GROUPS:
        return None
    if set(known.words(column.name)) - {"id", "no", "num"} - known.GROUP:
        return None
    if not set(known.words(column.name)) & known.GROUP:
        return None
    assert column.numbers is not None
    levels, rows = np.unique(column.numbers.astype(np.int64), return_counts=True)
    train = max(1, min(len(levels) - 1, int((np.cumsum(rows) <= rows.sum() / 2).sum())))
    options = {
        "by": "column",
        "column": column.name,
        "train": [int(v) for v in levels[:train]],
        "test": [int(v) for v in levels[train:]],
        "validation": 0.1,
    }
    doubt = (
        f"the first values of '{column.name}' are taken as the earlier ones; else write by = \"random\" and seed = 0"
    )
    return SplitGuess(options, f"the first half in '{column.name}' trains", column.name, (doubt,))
