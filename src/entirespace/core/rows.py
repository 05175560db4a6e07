"""Rows of a table as arrays, and the fields of x: plain values that readers, datasets and batches exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .labels import Labels

IMPRESSIONS = "impressions"
"""The table name of fields that are columns of the impressions themselves."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)


@dataclass(frozen=True)
class Ragged:
    """One field of consecutive rows: one bag of ids per row, with or without weights.

    Row i holds `values[offsets[i]:offsets[i + 1]]`; without offsets every row holds exactly one value.
    """

    values: np.ndarray  # int32 (L,): codes or rows of the embedding; a number: float64 raw, float32 its position
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
        # position of each id in `values`: its position in the new bag plus the start of the old bag
        where = np.arange(int(offsets[-1])) + np.repeat(start - offsets[:-1], length)
        return Ragged(self.values[where], offsets, None if self.weights is None else self.weights[where])

    @staticmethod
    def concatenate(pieces: Sequence[Ragged]) -> Ragged:
        """The rows of several pieces of one field, one after the other."""
        values = np.concatenate([p.values for p in pieces])
        weights = [p.weights for p in pieces if p.weights is not None]
        joined = np.concatenate(weights) if weights else None
        if pieces[0].offsets is None:
            return Ragged(values, None, joined)
        starts = np.cumsum([0, *(len(p.values) for p in pieces)])
        offsets = [p.offsets[:-1] + s for p, s in zip(pieces, starts, strict=False) if p.offsets is not None]
        return Ragged(values, np.concatenate([*offsets, starts[-1:]]), joined)


@dataclass(frozen=True)
class Field:
    """A column of x: which table holds it, and how its raw values become rows of the embedding."""

    name: str
    table: str = IMPRESSIONS
    kind: Literal["id", "ids", "number"] = "id"
    min_count: int = 1  # a raw id needs this many training impressions to get its own row
    hash: int | None = None  # number of buckets; None: a vocabulary
    buckets: int | None = None  # kind "number": quantile buckets
    column: str | None = None  # of the raw table; None: the field's own name
    separator: str | None = None  # kind "ids" as text: what stands between two ids
    weights: str | None = None  # kind "ids": the raw column with a weight for each id

    @property
    def source(self) -> str:
        """The raw column that holds its values."""
        return self.column or self.name


@dataclass(frozen=True)
class PlacedField:
    """A field as a network reads it: its place in the one embedding table that all fields share."""

    name: str
    table: str
    kind: str
    size: int  # rows of the embedding, row 0 ("unseen") included
    offset: int  # its first row in the table of all fields
    single: bool  # exactly one id in every row
    weighted: bool


@dataclass(frozen=True)
class Rows:
    """Some impressions as rows of the embedding: their own fields, and the row of each side table they refer to."""

    count: int  # n
    fields: dict[str, Ragged] = field(default_factory=dict[str, Ragged])
    """The fields of the impressions themselves. Shape: n rows each."""
    links: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """Side table -> the row of it that each impression refers to; 0: no such row. Shape: int32 (n,)."""
    labels: Labels | None = None  # None: outcomes are not known

    def __len__(self) -> int:
        return self.count

    def take(self, rows: np.ndarray) -> Rows:
        """The given impressions, in the given order. Shape: rows int (n,)."""
        return Rows(
            len(rows),
            {name: f.take(rows) for name, f in self.fields.items()},
            {name: link[rows] for name, link in self.links.items()},
            None if self.labels is None else self.labels.take(rows),
        )

    @staticmethod
    def concatenate(pieces: Sequence[Rows]) -> Rows:
        """The impressions of several pieces, one after the other."""
        if len(pieces) == 1:
            return pieces[0]
        first = pieces[0]
        labels = [piece.labels for piece in pieces if piece.labels is not None]
        return Rows(
            sum(map(len, pieces)),
            {name: Ragged.concatenate([p.fields[name] for p in pieces]) for name in first.fields},
            {name: np.concatenate([p.links[name] for p in pieces]) for name in first.links},
            Labels.concatenate(labels) if labels else None,
        )
