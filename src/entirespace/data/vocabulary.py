"""Raw ids -> provisional codes while a log is read; -> rows of the embedding when the training part is known.

Three rules make a row of a raw value, all fitted on the training part only; row 0 is "unseen":

    vocabulary   ids seen at least `min_count` times in training impressions, the most frequent first
    hash         1 + blake2b(id) mod buckets: nothing to fit, nothing to store
    buckets      1 + the number of quantile edges below the number (a missing number is row 0)
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from .source import Field

_serial = itertools.count()


class Codes:
    """The raw ids of one field, numbered 0, 1, 2, ... as they appear."""

    def __init__(self) -> None:
        # Categories number strings in Rust (70 ns each), but remember them only as long as some Series uses
        # them: `_alive` is that Series, and so code 0 is always the empty id.
        self._type = pl.Categorical(pl.Categories(f"entirespace-{next(_serial)}"))
        self._alive = pl.Series([""], dtype=self._type)
        self._size = 1

    def __len__(self) -> int:
        return self._size

    def encode(self, ids: pl.Series) -> np.ndarray:
        """Codes of raw ids. Shape: text (n,) without nulls -> int32 (n,)."""
        codes = ids.cast(self._type).to_physical().to_numpy().astype(np.int32)
        if len(codes):
            self._size = max(self._size, int(codes.max()) + 1)
        return codes

    def ids(self) -> pa.Array:
        """The raw ids by code, as strings."""
        codes = pl.Series("code", np.arange(self._size, dtype=np.uint32))
        return codes.cat.to(self._type).cast(pl.String).to_arrow().cast(pa.string())


class HashedCodes:
    """The stand-in for `Codes` where a field is hashed: the code is the bucket, and no id is remembered."""

    def __init__(self, buckets: int) -> None:
        self._buckets = buckets

    def __len__(self) -> int:
        return self._buckets

    def encode(self, ids: pl.Series) -> np.ndarray:
        """Buckets of raw ids. Shape: text (n,) without nulls -> int32 (n,)."""
        distinct = ids.unique()
        buckets = pl.Series([hash_bucket(i, self._buckets) for i in distinct], dtype=pl.Int32)
        return ids.replace_strict(distinct, buckets, return_dtype=pl.Int32).to_numpy().astype(np.int32)

    def ids(self) -> pa.Array:
        return pa.array([], pa.string())


def hash_bucket(raw_id: str, buckets: int) -> int:
    """The bucket of a raw id, the same on every machine and in every version.

    >>> hash_bucket("u1", 1000)
    130
    """
    return int.from_bytes(hashlib.blake2b(raw_id.encode(), digest_size=8).digest(), "little") % buckets


@dataclass(frozen=True)
class Vocabulary:
    """What turns the raw values of one field into rows of its part of the embedding table."""

    field: Field
    size: int  # rows, row 0 ("unseen") included
    ids: pa.Array | None = None  # kind id and ids: the raw id of row i + 1
    counts: np.ndarray | None = None  # int64: its training impressions
    edges: np.ndarray | None = None  # kind number: float64, ascending

    def to_arrow(self) -> pa.Table:
        """The table that stands in the dataset's folder; row i of it is row i + 1 of the embedding."""
        if self.edges is not None:
            return pa.table({"edge": pa.array(self.edges, pa.float64())})
        ids = self.ids if self.ids is not None else pa.array([], pa.string())
        counts = self.counts if self.counts is not None else np.zeros(0, np.int64)
        return pa.table({"id": ids, "count": pa.array(counts, pa.int64())})


def fit_ids(field: Field, ids: pa.Array, counts: np.ndarray) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary of a field from its training counts, and the row of each code.

    Shape: ids text or int64 (C,), counts int (C,) -> rows int32 (C,). The order is by count, then by the id's
    text, so that it does not hang on the order in which a reader met the ids.
    """
    if field.hash is not None:
        return Vocabulary(field, field.hash + 1), np.arange(1, field.hash + 1, dtype=np.int32)
    by_text = pl.Series(ids)
    if pa.types.is_integer(ids.type):
        order = decimal_order(ids.to_numpy())
        by_text = pl.Series(order) if order is not None else by_text.cast(pl.String)
    known = pl.DataFrame({"text": by_text, "count": counts, "code": np.arange(len(counts), dtype=np.int32)})
    known = known.filter(pl.col("count") >= field.min_count).sort(["count", "text"], descending=[True, False])
    rows, code = np.zeros(len(counts), np.int32), known["code"].to_numpy()
    rows[code] = np.arange(1, len(known) + 1, dtype=np.int32)
    kept = ids.take(pa.array(code)).cast(pa.string())
    return Vocabulary(field, len(known) + 1, kept, known["count"].to_numpy()), rows


def decimal_order(numbers: np.ndarray) -> np.ndarray | None:
    """Numbers that stand in the order of the text of the given ones, where sorting text would take three times as long.

    Shape: int64 (n,) -> uint64 (n,); None where one is negative or has more than 17 digits.

    >>> numbers = np.array([12, 9, 120, 0])
    >>> numbers[np.argsort(decimal_order(numbers))]
    array([  0,  12, 120,   9])
    """
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < 10**17):
        return None
    digits = 1 + np.searchsorted(10 ** np.arange(1, 17), numbers, side="right")
    # as many digits as the longest; of two that are then equal the shorter is first
    return (numbers * 10 ** (17 - digits)).astype(np.uint64) * np.uint64(20) + digits.astype(np.uint64)


def fit_buckets(field: Field, values: np.ndarray, weights: np.ndarray | None = None) -> Vocabulary:
    """Quantile edges of a number: each bucket holds about the same weight of training impressions.

    Shape: values float (n,), weights float (n,). NaN, "missing", is left out. Equal
    numbers share a bucket: where many are equal (often zero) there are fewer buckets.
    """
    assert field.buckets is not None
    present = ~np.isnan(values)
    values = values[present]
    weights = np.ones(len(values)) if weights is None else weights[present].astype(np.float64)
    order = np.argsort(values, kind="stable")
    values, mass = values[order], np.cumsum(weights[order])
    if not len(values) or mass[-1] == 0:
        return Vocabulary(field, 2, edges=np.zeros(0))
    targets = mass[-1] * np.arange(1, field.buckets) / field.buckets
    edges = np.unique(values[np.searchsorted(mass, targets, side="left").clip(max=len(values) - 1)])
    return Vocabulary(field, len(edges) + 2, edges=edges)


def bucket_rows(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The rows of numbers. Shape: edges float (E,), values float (n,) -> int32 (n,) in 0 .. E + 1.

    >>> bucket_rows(np.array([0.0, 10.0]), np.array([-1.0, 0.0, 5.0, 11.0, np.nan]))
    array([1, 1, 2, 3, 0], dtype=int32)
    """
    rows = 1 + np.searchsorted(edges, values, side="left").astype(np.int32)
    rows[np.isnan(values)] = 0
    return rows
