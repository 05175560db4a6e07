"""Encoders: raw values of a field -> rows of the field's own range of the embedding table. Row 0 is "unseen".

    Vocabulary   one row per raw id in at least `min_count` training impressions, the most frequent id first
    Hashed       row 1 + (hash of the raw id mod buckets); see kernels/hashing.py
    Knots        a number's position k + t among quantile knots: in bucket k, a share t of the way to the next knot

Vocabulary and Knots are fitted on the training part only; Hashed needs no fitting. To add a kind of encoder, write a
class with the members of `Encoder`, add it to `layout.KINDS`, and fit it in `dataset/fit.py`.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# (pyarrow has no types)
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.rows import Field
from ..kernels.knots import positions
from .codes import hash_buckets
from .idtable import IdTable
from .values import text

ONE_KNOT = 3
"""The rows of a number with one knot: a missing number, below the knot, and above it."""


class Encoder(Protocol):
    """Turns the raw values of one field into rows of the field's range of the embedding table."""

    @property
    def size(self) -> int:
        """The number of embedding rows of the field, row 0 ("unseen") included."""
        ...

    def encode(self, values: pl.Series | np.ndarray) -> np.ndarray:
        """Raw ids (n,) -> rows int32 (n,), or numbers (n,) -> positions float32 (n,)."""
        ...

    def to_table(self) -> pa.Table:
        """The encoder as a table, for storing. `from_table` reads it back."""
        ...

    @classmethod
    def from_table(cls, field: Field, table: pa.Table) -> Self:
        """The encoder that `to_table` stored."""
        ...


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Raw ids that each have an embedding row; all others share row 0.

    >>> Vocabulary(pl.Series(["b", "a"]), np.array([5, 2])).encode(pl.Series(["a", "x", "b"]))
    array([2, 0, 1], dtype=int32)
    """

    ids: pl.Series  # text (V,): entry i is the raw id of row i + 1
    counts: np.ndarray  # int64 (V,): the training impressions of each id

    @property
    def size(self) -> int:
        """V + 1: row 0 is "unseen"."""
        return len(self.ids) + 1

    @cached_property
    def table(self) -> IdTable:
        """Finds the ids."""
        return IdTable.of(self.ids)

    def encode(self, values: pl.Series | np.ndarray) -> np.ndarray:
        """The row of each raw id; 0 if it is unknown. Shape: text or integers (n,) -> int32 (n,)."""
        return self.table.find(text(pl.Series(values))) + 1

    def to_table(self) -> pa.Table:
        return pa.table({"id": self.ids.to_arrow().cast(pa.string()), "count": pa.array(self.counts, pa.int64())})

    @classmethod
    def from_table(cls, field: Field, table: pa.Table) -> Self:
        return cls(pl.Series(table["id"]), table["count"].to_numpy())


@dataclass(frozen=True)
class Hashed:
    """Each raw id gets the row of its hash, which other ids may share. Nothing is fitted, and no id is "unseen"."""

    buckets: int

    @property
    def size(self) -> int:
        """buckets + 1: row 0 is never used."""
        return self.buckets + 1

    def encode(self, values: pl.Series | np.ndarray) -> np.ndarray:
        """The row of each raw id. Shape: text or integers (n,) -> int32 (n,)."""
        return 1 + hash_buckets(pl.Series(values), self.buckets)

    def to_table(self) -> pa.Table:
        return pa.table({"id": pa.array([], pa.string()), "count": pa.array([], pa.int64())})

    @classmethod
    def from_table(cls, field: Field, table: pa.Table) -> Self:
        assert field.hash is not None
        return cls(field.hash)


@dataclass(frozen=True, eq=False)
class Knots:
    """Quantile knots, which cut a number into buckets. A missing number (NaN) has position 0.

    Bucket k = 1 .. E + 1 holds the numbers above knot k - 1, up to and including knot k. A number's position is k + t:
    its bucket k, and the share t of the way from knot k - 1 to knot k, in [0, 1). The first and the last bucket have a
    knot at one end only. There t is fixed: just below 1 in the first, 0 in the last. So linear interpolation between
    the embedding rows k and k + 1 is continuous at every knot. `pairs_of` gives these rows and their weights.

    >>> Knots(np.array([0.0, 10.0])).encode(np.array([5.0, 11.0, np.nan]))
    array([2.5, 3. , 0. ], dtype=float32)
    """

    edges: np.ndarray  # float64 (E,), ascending

    @property
    def size(self) -> int:
        """E + 2: row 0 for missing numbers, and E + 1 buckets."""
        return len(self.edges) + 2

    def encode(self, values: pl.Series | np.ndarray) -> np.ndarray:
        """The position of each number. Shape: float64 (n,) -> float32 (n,), from 0 to E + 1."""
        position = np.empty(len(values), np.float32)
        positions(np.asarray(values), self.edges, position)
        return position

    def to_table(self) -> pa.Table:
        return pa.table({"edge": pa.array(self.edges, pa.float64())})

    @classmethod
    def from_table(cls, field: Field, table: pa.Table) -> Self:
        return cls(table["edge"].to_numpy())


def buckets_of(positions: np.ndarray) -> np.ndarray:
    """The bucket of each position, its integer part. Shape: float32 (n,) -> int32 (n,)."""
    return positions.astype(np.int32)


def pairs_of(positions: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two rows that each position k + t lies between, and their weights: rows k and k + 1, 1 - t and t.

    Where t is 0 (a missing number, or one above the last knot) both are row k, so no row beyond the field is read. A
    field with one knot would be constant, for its buckets have that one end in common: it is read by its bucket.

    Shape: positions float32 (n, F), sizes int (F,): rows of each field -> int64 (n, F, 2), float32 (n, F, 2).

    >>> rows, weights = pairs_of(np.array([[2.25, 0.0, 3.0]], np.float32), np.array([4, 4, 4]))
    >>> rows.tolist(), weights.tolist()
    ([[[2, 3], [0, 0], [3, 3]]], [[[0.75, 0.25], [1.0, 0.0], [1.0, 0.0]]])
    """
    rows, weights = np.empty((*positions.shape, 2), np.int64), np.empty((*positions.shape, 2), np.float32)
    low = np.floor(positions)
    share = np.where(sizes > ONE_KNOT, positions - low, np.float32(0))
    rows[..., 0], weights[..., 0] = low, 1 - share
    rows[..., 1], weights[..., 1] = low + (share > 0), share
    return rows, weights


def fit_ids(
    field: Field, ids: pa.Array, counts: np.ndarray, known: Vocabulary | None = None
) -> tuple[Vocabulary, np.ndarray]:
    """Fit the vocabulary of a field on training counts: (vocabulary, row of each code).

    Ids are ordered by count, the largest first, then by text, so the rows do not depend on the order of codes.

    Args:
        ids: the raw id of each code. Shape: text or int64 (C,), null for the empty id.
        counts: training impressions of each code. Shape: int64 (C,).
        known: a vocabulary to extend: its ids keep their rows, and new ids get rows after them.

    Returns: the vocabulary, and rows int32 (C,), 0 for ids without a row.
    """
    rows = np.zeros(len(counts), np.int32)
    if known is not None:
        rows = known.encode(pl.Series(ids.cast(pa.string()).fill_null("")))
    code = np.flatnonzero((counts >= field.min_count) & (rows == 0))
    code = code[_most_first(counts[code], ids if len(code) == len(ids) else ids.take(pa.array(code)))]
    kept = pl.Series(ids.take(pa.array(code)).cast(pa.string()).fill_null(""), dtype=pl.String)
    first = 1 if known is None else known.size
    rows[code] = np.arange(first, first + len(code), dtype=np.int32)
    if known is None:
        return Vocabulary(kept, counts[code]), rows
    # ids that were known already: add the new counts
    before = known.counts + np.bincount(rows, weights=counts, minlength=first)[1:first].astype(np.int64)
    return Vocabulary(pl.concat([known.ids, kept]), np.concatenate([before, counts[code]])), rows


def _most_first(counts: np.ndarray, ids: pa.Array) -> np.ndarray:
    """Indices that sort by count, the largest first, then by the id's text.

    Shape: counts int64 (n,), ids text or int64 (n,) -> int64 (n,).
    """
    numbers = None
    if pa.types.is_integer(ids.type):
        numbers = decimal_order(ids.fill_null(0).to_numpy())
    if numbers is None:
        text = pl.Series(ids).cast(pl.String).fill_null("")
        known = pl.DataFrame({"id": text, "count": counts}).with_row_index("i")
        return known.sort(["count", "id"], descending=[True, False])["i"].to_numpy()
    numbers[ids.is_null().to_numpy(zero_copy_only=False)] = 0  # the empty id sorts before all numbers
    by_text = np.argsort(numbers)
    # Sorting 16-bit keys takes a fifth of the time. The few ids with larger counts come first and are sorted again.
    most = np.iinfo(np.uint16).max
    less = most - np.minimum(counts, most).astype(np.uint16)
    order = by_text[np.argsort(less[by_text], kind="stable")]
    many = int(np.count_nonzero(less == 0))
    order[:many] = order[:many][np.argsort(-counts[order[:many]], kind="stable")]
    return order


def decimal_order(numbers: np.ndarray) -> np.ndarray | None:
    """Sort keys that put numbers in the order of their text ("12" before "9"). Sorting text takes three times as long.

    Shape: int64 (n,) -> uint64 (n,), above 0 and different for different numbers; None if a number is negative or has
    more than 17 digits.

    >>> numbers = np.array([12, 9, 120, 0])
    >>> numbers[np.argsort(decimal_order(numbers))]
    array([  0,  12, 120,   9])
    """
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < 10**17):
        return None
    digits = 1 + np.searchsorted(10 ** np.arange(1, 17), numbers, side="right")
    # pad with zeros to 17 digits; of two numbers that are then equal, the one with fewer digits comes first
    return (numbers * (10 ** np.arange(17))[17 - digits]).astype(np.uint64) * np.uint64(20) + digits.astype(np.uint64)


def fit_knots(field: Field, values: np.ndarray, weights: np.ndarray | None = None) -> Knots:
    """Fit quantile knots, so that each bucket holds about the same weight of training impressions.

    Missing values (NaN) are ignored. Equal numbers are always in the same bucket, so if many are equal (often zero)
    there are fewer buckets than `field.buckets`.

    Args:
        values: the numbers. Shape: float (n,).
        weights: how many training impressions have each number; None: one each. Shape: (n,).
    """
    assert field.buckets is not None
    present = ~np.isnan(values)
    values = values[present]
    if weights is None:
        values, mass = np.sort(values), np.arange(1.0, len(values) + 1)
    else:
        order = np.argsort(values, kind="stable")
        values, mass = values[order], np.cumsum(weights[present][order].astype(np.float64))
    if not len(values) or mass[-1] == 0:
        return Knots(np.zeros(0))
    targets = mass[-1] * np.arange(1, field.buckets) / field.buckets
    edges = np.unique(values[np.searchsorted(mass, targets, side="left").clip(max=len(values) - 1)])
    return Knots(edges.astype(np.float64))
