"""Raw ids -> provisional codes while a log is read; -> rows of the embedding when the training part is known.

Three rules make a row of a raw value, all fitted on the training part only; row 0 is "unseen":

    vocabulary   ids seen at least `min_count` times in training impressions, the most frequent first
    hash         1 + a hash of the id mod buckets (see hashing.py)
    buckets      1 + the number of quantile edges below the number (a missing number is row 0)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.rows import Field


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

    Shape: ids text or int64 (C,), null for the empty id, counts int (C,) -> rows int32 (C,). The order is by
    count, then by the id's text, so that it does not hang on the order in which a reader met the ids.
    """
    if field.hash is not None:
        return Vocabulary(field, field.hash + 1), np.arange(1, field.hash + 1, dtype=np.int32)
    code = np.flatnonzero(counts >= field.min_count)
    code = code[_most_first(counts[code], ids if len(code) == len(ids) else ids.take(pa.array(code)))]
    rows = np.zeros(len(counts), np.int32)
    rows[code] = np.arange(1, len(code) + 1, dtype=np.int32)
    kept = ids.take(pa.array(code)).cast(pa.string()).fill_null("")
    return Vocabulary(field, len(code) + 1, kept, counts[code]), rows


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


def fit_buckets(field: Field, values: np.ndarray, weights: np.ndarray | None = None) -> Vocabulary:
    """Quantile edges of a number: each bucket holds about the same weight of training impressions.

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
