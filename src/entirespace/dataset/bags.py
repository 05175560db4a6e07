"""Bags of ids as Arrow arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ..core.rows import Ragged


def to_arrow(bags: Ragged) -> pa.Array:
    """The values of a field as an Arrow array, list<...> for bags. Weights need a column of their own."""
    values = pa.array(bags.values)
    if bags.offsets is None:
        return values
    return pa.ListArray.from_arrays(pa.array(bags.offsets, pa.int32()), values, bags_of(values.type))


def bags_of(kind: pa.DataType) -> pa.DataType:
    """The type of a column of bags whose elements are never null."""
    return pa.list_(pa.field("element", kind, nullable=False))


def from_arrow(ids: pa.Array, weights: pa.Array | None = None) -> Ragged:
    """The reverse of `to_arrow`, without copying the values."""
    if not pa.types.is_list(ids.type):
        return Ragged(ids.to_numpy(zero_copy_only=False))
    offsets = ids.offsets.to_numpy().astype(np.int64)
    return Ragged(
        ids.flatten().to_numpy(zero_copy_only=False),
        offsets - offsets[0],
        None if weights is None else weights.flatten().to_numpy(zero_copy_only=False),
    )
