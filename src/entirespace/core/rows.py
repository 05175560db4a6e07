"""Rows of a table as arrays, and the fields of x: plain values that readers, datasets and batches hand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

IMPRESSIONS = "impressions"
"""The table name of fields that stand in the impressions themselves."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)


@dataclass(frozen=True)
class Ragged:
    """One field of a run of rows: a bag of ids a row, with or without weights.

    Row i holds `values[offsets[i]:offsets[i + 1]]`; without offsets every row holds exactly one value.
    """

    values: np.ndarray  # int32 (L,), or float64 (L,) where a number waits for its buckets
    offsets: np.ndarray | None = None  # int64 (rows + 1,), offsets[0] == 0
    weights: np.ndarray | None = None  # float32 (L,); None: every weight is 1

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def take(self, rows: np.ndarray) -> Ragged:
        """The given rows, in the given order. Shape: rows int (n,) -> n rows."""
        if self.offsets is None:
            return Ragged(self.values[rows], None, None if self.weights is None else self.weights[rows])
        start, stop = self.offsets[rows], self.offsets[np.asarray(rows) + 1]
        length = stop - start
        offsets = np.zeros(len(length) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        # position of each id in `values`: its place in the new bag, moved to where the old bag starts
        where = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], length)
        return Ragged(self.values[where], offsets, None if self.weights is None else self.weights[where])


@dataclass(frozen=True)
class Field:
    """A column of x: where it stands, and how its raw ids become rows of the embedding."""

    name: str
    table: str = IMPRESSIONS
    kind: Literal["id", "ids", "number"] = "id"
    min_count: int = 1  # a raw id needs this many training impressions to get its own row
    hash: int | None = None  # number of buckets; None: a vocabulary
    buckets: int | None = None  # kind "number": quantile buckets
