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
            column = column.cast(pl.List(pl.String)).list.join("\0")
        values = pa.array(text(column).to_arrow(), pa.large_string())
        _, offsets, characters = values.buffers()
        if len(out):
            ends = np.frombuffer(offsets, np.int64)[values.offset :]
            mix_in(np.frombuffer(characters or b"", np.uint8), ends, out)
    return out
