"""Raw values of a field -> rows of its part of the embedding table; row 0 is "unseen".

    Vocabulary   raw ids seen at least `min_count` times in training impressions, the most frequent first
    Hashed       1 + a hash of the raw id mod buckets (kernels/hashing.py)
    Knots        a number's position among quantile knots: k + t, in bucket k at share t of the way to the next knot

All three are fitted on the training part only. A new kind of encoder is a class with the four members of `Encoder`,
its name in `layout.KINDS`, and a line in `fit`.
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
from .codes import hash_buckets
from .values import text


class Encoder(Protocol):
    """Turns the raw values of one field into rows of its part of the embedding table."""

    @property
    def size(self) -> int:
        """Rows of the embedding, row 0 ("unseen") included."""
        ...

    def encode(self, values: pl.Series | np.ndarray) -> np.ndarray:
        """Rows int32 (n,) of raw ids, or positions float32 (n,) of numbers. Shape: (n,) -> (n,)."""
        ...

    def to_table(self) -> pa.Table:
        """What must be stored of it; `from_table` reads it back."""
        ...

    @classmethod
    def from_table(cls, field: Field, table: pa.Table) -> Self: ...


class Lookup:
    """Finds texts among many, by a binary search over their order. Of texts that are equal the first is found."""

    def __init__(self, texts: pl.Series) -> None:
        ordered = texts.rename("text").to_frame().with_row_index("row").sort("text", "row")
        self._order, self._sorted = ordered["row"], ordered["text"].set_sorted()

    def find(self, texts: pl.Series) -> np.ndarray:
        """Where each text stands, -1 for one that is not there. Shape: text (n,) -> int64 (n,)."""
        if not len(self._sorted) or not len(texts):
            return np.full(len(texts), -1, np.int64)
        place = self._sorted.search_sorted(texts, side="left").clip(0, len(self._sorted) - 1)
        found = (self._sorted.gather(place) == texts).to_numpy()
        return np.where(found, self._order.gather(place).to_numpy().astype(np.int64), -1)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Raw ids that have a row of their own.

    >>> Vocabulary(pl.Series(["b", "a"]), np.array([5, 2])).encode(pl.Series(["a", "x", "b"]))
    array([2, 0, 1], dtype=int32)
    """

    ids: pl.Series  # text: entry i is the raw id of row i + 1
    counts: np.ndarray  # int64: the training impressions of each

    @property
    def size(self) -> int:
        return len(self.ids) + 1

    @cached_property
    def _lookup(self) -> Lookup:
        return Lookup(self.ids)

    def encode(self, values: pl.Series | np.ndarray) -> np.ndarray:
        """Shape: text or integers (n,) -> int32 (n,)."""
        return (self._lookup.find(text(pl.Series(values))) + 1).astype(np.int32)

    def to_table(self) -> pa.Table:
        return pa.table({"id": self.ids.to_arrow().cast(pa.string()), "count": pa.array(self.counts, pa.int64())})

    @classmethod
    def from_table(cls, field: Field, table: pa.Table) -> Self:
        return cls(pl.Series(table["id"]), table["count"].to_numpy())


@dataclass(frozen=True)
class Hashed:
    """Raw ids share rows as their hashes fall: nothing is fitted or remembered."""

    buckets: int

    @property
    def size(self) -> int:
        return self.buckets + 1

    def encode(self, values: pl.Series | np.ndarray) -> np.ndarray:
        """Shape: text or integers (n,) -> int32 (n,)."""
        return 1 + hash_buckets(pl.Series(values), self.buckets)

    def to_table(self) -> pa.Table:
        return pa.table({"id": pa.array([], pa.string()), "count": pa.array([], pa.int64())})

    @classmethod
    def from_table(cls, field: Field, table: pa.Table) -> Self:
        assert field.hash is not None
        return cls(field.hash)


@dataclass(frozen=True, eq=False)
class Knots:
    """Quantile knots of a number, which cut it into buckets; a missing number is row 0.

    Bucket k = 1 .. E + 1 holds the numbers above knot k - 1 up to knot k. The position k + t of a number says its
    bucket and, by t in [0, 1), where in it the number lies. Buckets 1 and E + 1 have one end only: t is just below 1
    in the first and 0 in the last, so that a line drawn through the rows has no step at the knots.

    >>> Knots(np.array([0.0, 10.0])).encode(np.array([5.0, 11.0, np.nan]))
    array([2.5, 3. , 0. ], dtype=float32)
    """

    edges: np.ndarray  # float64 (E,), ascending

    @property
    def size(self) -> int:
        return len(self.edges) + 2

    def encode(self, values: pl.Series | np.ndarray) -> np.ndarray:
        """Shape: float64 (n,) -> float32 (n,), in 0 .. E + 1."""
        values = np.asarray(values, np.float64)
        bucket = 1 + np.searchsorted(self.edges, values, side="left")  # NaN is put behind all edges
        last = len(self.edges) + 1
        share = np.zeros(len(values))
        share[bucket < last] = 1.0
        inside = (bucket > 1) & (bucket < last)
        low, high = self.edges[bucket[inside] - 2], self.edges[bucket[inside] - 1]
        with np.errstate(over="ignore", invalid="ignore"):  # the edges may be as far apart as floats can be
            share[inside] = np.nan_to_num(values[inside] / 2 - low / 2) / (high / 2 - low / 2)
        position = (bucket + share).astype(np.float32)
        position = np.minimum(position, np.nextafter((bucket + 1).astype(np.float32), np.float32(0)))
        position[np.isnan(values)] = 0
        return position

    def to_table(self) -> pa.Table:
        return pa.table({"edge": pa.array(self.edges, pa.float64())})

    @classmethod
    def from_table(cls, field: Field, table: pa.Table) -> Self:
        return cls(table["edge"].to_numpy())


def buckets_of(positions: np.ndarray) -> np.ndarray:
    """The bucket of each position: its whole part. Shape: float32 (n,) -> int32 (n,)."""
    return positions.astype(np.int32)


def fit_ids(
    field: Field, ids: pa.Array, counts: np.ndarray, known: Vocabulary | None = None
) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary of a field from its training counts, and the row of each code.

    Shape: ids text or int64 (C,), null for the empty id, counts int (C,) -> rows int32 (C,). The order is by count,
    then by the id's text, whatever the order in which a reader met the ids.

    Args:
        known: a vocabulary to grow: its ids keep their rows, and new ones come after them.
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
    # what was known is counted on
    before = known.counts + np.bincount(rows, weights=counts, minlength=first)[1:first].astype(np.int64)
    return Vocabulary(pl.concat([known.ids, kept]), np.concatenate([before, counts[code]])), rows


def _most_first(counts: np.ndarray, ids: pa.Array) -> np.ndarray:
    """The order by count, the largest first, then by the id's text. Shape: int64 (n,), text or int64 (n,) -> (n,)."""
    numbers = None
    if pa.types.is_integer(ids.type):
        numbers = decimal_order(ids.fill_null(0).to_numpy())
    if numbers is None:
        text = pl.Series(ids).cast(pl.String).fill_null("")
        known = pl.DataFrame({"id": text, "count": counts}).with_row_index("i")
        return known.sort(["count", "id"], descending=[True, False])["i"].to_numpy()
    numbers[ids.is_null().to_numpy(zero_copy_only=False)] = 0  # the empty text is before any number's
    by_text = np.argsort(numbers)
    # a stable sort of 16 bits takes a fifth of the time; few ids have larger counts, and they come first
    most = np.iinfo(np.uint16).max
    less = most - np.minimum(counts, most).astype(np.uint16)
    order = by_text[np.argsort(less[by_text], kind="stable")]
    many = int(np.count_nonzero(less == 0))
    order[:many] = order[:many][np.argsort(-counts[order[:many]], kind="stable")]
    return order


def decimal_order(numbers: np.ndarray) -> np.ndarray | None:
    """Numbers that stand in the order of the text of the given ones; sorting text would take three times as long.

    Shape: int64 (n,) -> uint64 (n,) above 0, all different where the given ones are; None where one is negative
    or has more than 17 digits.

    >>> numbers = np.array([12, 9, 120, 0])
    >>> numbers[np.argsort(decimal_order(numbers))]
    array([  0,  12, 120,   9])
    """
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < 10**17):
        return None
    digits = 1 + np.searchsorted(10 ** np.arange(1, 17), numbers, side="right")
    # as many digits as the longest; of two that are then equal the shorter is first
    return (numbers * (10 ** np.arange(17))[17 - digits]).astype(np.uint64) * np.uint64(20) + digits.astype(np.uint64)


def fit_knots(field: Field, values: np.ndarray, weights: np.ndarray | None = None) -> Knots:
    """Quantile knots of a number: each bucket holds about the same weight of training impressions.

    Shape: values float (n,), weights float (n,). NaN, "missing", is left out. Equal
    numbers share a bucket: where many are equal (often zero) there are fewer buckets.
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
    return Knots(edges)
