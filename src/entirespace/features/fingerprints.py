"""Fingerprints of rows: 128 bits, equal for rows whose values are equal, however they are stored."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (pyarrow and numba have no types)
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from ..kernels.hashing import mix_in
from .values import text


def fingerprints(rows: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """The fingerprint of each row's values in some columns. The same on every machine. Shape: uint64 (n, 2).

    >>> one, other = pl.DataFrame({"a": [7], "b": ["x"]}), pl.DataFrame({"a": ["7.0"], "b": ["x"]})
    >>> bool((fingerprints(one, ["a", "b"]) == fingerprints(other, ["a", "b"])).all())
    True
    """
    out = np.zeros((len(rows), 2), np.uint64)
    for name in columns:
        column = rows[name]
        if isinstance(column.dtype, pl.List | pl.Array):
            lists = column.cast(pl.List(column.dtype.inner))  # type: ignore[attr-defined]
            lengths = lists.list.len().fill_null(0).to_numpy()
            column = joined(lists.list.explode(empty_as_null=False, keep_nulls=False), lengths)
        values = pa.array(text(column).to_arrow(), pa.large_string())
        _, offsets, characters = values.buffers()
        if len(out):
            ends = np.frombuffer(offsets, np.int64)[values.offset :]
            mix_in(np.frombuffer(characters or b"", np.uint8), ends, out)
    return out


def joined(elements: pl.Series, lengths: np.ndarray) -> pl.Series:
    """The raw ids of lists as one text for each list. Shape: (L,), int (n,) with sum L -> text (n,)."""
    values = pa.array(text(elements).to_arrow(), pa.large_string())
    lists = pa.LargeListArray.from_arrays(np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))), values)
    return pl.Series(pl.from_arrow(lists)).list.join("\0")
