"""Rows of a table as arrays, and the description of a field: plain values for readers, datasets and batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .labels import Labels

IMPRESSIONS = "impressions"
"""The name of the impressions table, for fields that are columns of the impressions themselves."""

RATE = "rate"
"""The kind of a field that the history makes: a click or conversion rate of an id."""
POSITIONS = ("number", RATE)
"""The kinds of fields whose values are positions among knots."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)


ONE_EACH = np.zeros(0, np.int64)
"""Stands for absent offsets in compiled loops."""


@dataclass(frozen=True)
class Ragged:
    """One field of consecutive rows: one bag of ids per row, with or without weights.

    Row i holds `values[offsets[i]:offsets[i + 1]]`; without offsets every row holds exactly one value.
    """

    values: np.ndarray  # (L,): int32 codes or embedding rows; of a number field float64 raw or float32 positions
    offsets: np.ndarray | None = None  # int64 (rows + 1,), offsets[0] == 0
    weights: np.ndarray | None = None  # float32 (L,); None: every weight is 1

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def starts(self) -> np.ndarray:
        """The offsets for compiled loops, which have no None: `ONE_EACH` where every row holds one value."""
        return ONE_EACH if self.offsets is None else self.offsets

    def take(self, rows: np.ndarray) -> Ragged:
        """The given rows, in the given order. Shape: rows int (n,) -> Ragged of n rows."""
        if self.offsets is None:
            return Ragged(self.values[rows], None, None if self.weights is None else self.weights[rows])
        start, stop = self.offsets[rows], self.offsets[np.asarray(rows) + 1]
        length = stop - start
        offsets = np.zeros(len(length) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        # position of each id in `values`: its position in the new bag plus the start of the old bag
        where = np.arange(int(offsets[-1])) + np.repeat(start - offsets[:-1], length)
        return Ragged(self.values[where], offsets, None if self.weights is None else self.weights[where])

    @staticmethod
    def concatenate(pieces: Sequence[Ragged]) -> Ragged:
        """The rows of several pieces of one field, one piece after the other."""
        values = np.concatenate([p.values for p in pieces])
        weights = [p.weights for p in pieces if p.weights is not None]
        joined = np.concatenate(weights) if weights else None
        if pieces[0].offsets is None:
            return Ragged(values, None, joined)
        starts = np.cumsum([0, *(len(p.values) for p in pieces)])
        offsets = [p.offsets[:-1] + s for p, s in zip(pieces, starts, strict=False) if p.offsets is not None]
        return Ragged(values, np.concatenate([*offsets, starts[-1:]]), joined)


TimePart = Literal["hour", "weekday", "day", "month"]
"""A part of a time that a field can be: hour (0-23), weekday (1 = Monday), day of the month, month."""


Quantity = Literal["number", "time", "local time", "duration"]
"""What a number field is made of: numbers; times with a known zone, or without one; durations or times of the day."""


@dataclass(frozen=True)
class ValueFormat:
    """How the values of a column are written."""

    missing: tuple[str, ...] = ()  # raw ids that stand for a missing value, such as "NULL" or "-1"
    decimal: str = "."  # of a number as text: the decimal point
    thousands: str | None = None  # of a number as text: a separator that is left out
    symbols: tuple[str, ...] = ()  # of a number as text: what may stand before or after it and is left out
    time_format: str | None = None  # of a time as text, such as "%d.%m.%Y"; None: ISO 8601
    time_zone: str | None = None  # of a time that does not state one; None: UTC
    time_unit: Literal["s", "ms", "us", "ns"] | None = None  # of a time as a number since 1970; None: unknown


@dataclass(frozen=True)
class Field:
    """One field of x: the table and column that hold it, and how its raw values become embedding rows."""

    name: str
    table: str = IMPRESSIONS
    kind: Literal["id", "ids", "number", "rate"] = "id"  # "rate": made of the history of an id, not read from a column
    min_count: int = 1  # a raw id in fewer training impressions shares row 0
    hash: int | None = None  # hash raw ids into this many rows; None: a vocabulary
    buckets: int | None = None  # kinds "number" and "rate": the number of quantile buckets
    column: str | None = None  # the raw column; None: the column with the field's name
    separator: str | None = None  # kind "ids" as text: the separator between two ids
    weights: str | None = None  # kind "ids": the raw column with a weight for each id
    part: TimePart | None = None  # the column holds times, and the field is this part of them
    format: ValueFormat = ValueFormat()  # how the column's values are written
    quantity: Quantity | None = None  # kind "number": what its column holds; None: it is not known, as in a schema

    @property
    def source(self) -> str:
        """The raw column that holds the field's values."""
        return self.column or self.name


@dataclass(frozen=True)
class PlacedField:
    """A field in an embedding table, which all fields of a network share. Each field has its own range of rows."""

    name: str
    table: str
    kind: str
    size: int  # its embedding rows, row 0 ("unseen") included
    offset: int  # its first row in the embedding table
    single: bool  # every row of the table has exactly one id
    weighted: bool  # its ids have weights

    @property
    def is_position(self) -> bool:
        """Whether its values are positions among knots, float32, instead of embedding rows."""
        return self.kind in POSITIONS


@dataclass(frozen=True)
class Rows:
    """n encoded impressions: the embedding rows of their own fields, and their row in each side table."""

    count: int  # n
    fields: dict[str, Ragged] = field(default_factory=dict[str, Ragged])
    """The fields of the impressions table. Shape: n rows each."""
    links: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """Side table -> the row in it of each impression; 0: its empty row. Shape: int32 (n,)."""
    labels: Labels | None = None  # None: outcomes are not known yet
    numbers: np.ndarray | None = None
    """The log odds of the rates of a history, in the layout's order; None: there is none. Shape: float32 (n, R)."""

    def __len__(self) -> int:
        return self.count

    def take(self, rows: np.ndarray) -> Rows:
        """The given impressions, in the given order. Shape: rows int (m,) -> Rows of m."""
        return Rows(
            len(rows),
            {name: f.take(rows) for name, f in self.fields.items()},
            {name: link[rows] for name, link in self.links.items()},
            None if self.labels is None else self.labels.take(rows),
            None if self.numbers is None else self.numbers[rows],
        )

    @staticmethod
    def concatenate(pieces: Sequence[Rows]) -> Rows:
        """The impressions of several pieces, one piece after the other."""
        if len(pieces) == 1:
            return pieces[0]
        first = pieces[0]
        labels = [piece.labels for piece in pieces if piece.labels is not None]
        return Rows(
            sum(map(len, pieces)),
            {name: Ragged.concatenate([p.fields[name] for p in pieces]) for name in first.fields},
            {name: np.concatenate([p.links[name] for p in pieces]) for name in first.links},
            Labels.concatenate(labels) if labels else None,
            None if first.numbers is None else np.concatenate([p.numbers for p in pieces if p.numbers is not None]),
        )
