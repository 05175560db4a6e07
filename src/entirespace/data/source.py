"""What a reader of raw logs hands to `prepare`: blocks of rows whose ids are already provisional codes.

A reader (`logs` for star schemas, `aliccp` for the raw Ali-CCP pair) numbers the raw ids of each field as they
appear: 0, 1, 2, ... These *codes* are provisional: which ids get a row of the embedding is known only when the
training part is. `prepare` turns codes into vocabulary rows, and asks the reader for the raw ids by code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa

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


@dataclass(frozen=True)
class Block:
    """A run of rows of one table. All members have one entry a row, in the order of the raw log."""

    fields: dict[str, Ragged]
    rows: int
    # side tables: nothing more. Impressions:
    click: np.ndarray | None = None  # bool
    conversion: np.ndarray | None = None  # bool; already y & z
    order: np.ndarray | None = None  # int64; None: the order of the rows
    part: np.ndarray | None = None  # int8, 0 train / 1 test, where a column or the file says it
    links: dict[str, np.ndarray] = field(default_factory=dict)  # side table -> int32 row in it; -1: no such row
    truth: tuple[np.ndarray, np.ndarray] | None = None  # float32 true pCTR, true pCVR (simulated logs)
    fingerprint: np.ndarray | None = None  # uint64 (rows, 2): equal for exact repeats, where repeats are dropped


class Source(Protocol):
    """A reader: side tables first (each row numbered as it comes), then the impressions."""

    @property
    def fields(self) -> tuple[Field, ...]: ...
    @property
    def user(self) -> str | None:
        """The field that names a user (grouped AUC, Table 1), or None."""
        ...

    @property
    def item(self) -> str | None: ...
    def side_tables(self) -> Iterator[tuple[str, Block]]: ...
    def impressions(self) -> Iterator[Block]: ...
    def ids(self, field: str) -> pa.Array:
        """The raw ids of a field by code, as text or int64: entry c is the raw id of code c."""
        ...
