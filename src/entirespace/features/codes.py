"""Raw ids -> integer codes while a log is read: numbered in order of appearance, or hashed into buckets."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# (pyarrow has no types)
from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pyarrow as pa

from ..kernels.hashing import hash_bytes
from ..kernels.intcodes import IntCodes

_serial = itertools.count()


class Codes:
    """Numbers the raw ids of one field 1, 2, 3, ... in order of appearance. Code 0 is the empty id, a missing value.

    Ids are those of `values.raw_ids`, so 7 and "7" are the same id. As long as all ids are integers they are kept as
    integers, which is five times as fast; at the first text all are converted to text.
    """

    def __init__(self) -> None:
        self._integers: IntCodes | None = IntCodes()
        # polars Categories number strings quickly (70 ns each), but forget them when no Series uses them any more.
        # `_alive` is a Series that keeps them in use. Its one value makes code 0 the empty id.
        self._type = pl.Categorical(pl.Categories(f"entirespace-{next(_serial)}"))
        self._alive = pl.Series([""], dtype=self._type)
        self._size = 1

    def __len__(self) -> int:
        return self._size

    def encode(self, ids: pl.Series) -> np.ndarray:
        """The codes of raw ids; new ids get the next numbers.

        Shape: text without nulls, or integers (n,), null: the empty id -> int32 (n,).
        """
        if self._integers is not None and ids.dtype.is_integer():
            known = ids.drop_nulls().cast(pl.Int64).to_numpy()
            codes = np.zeros(len(ids), np.int32)
            codes[ids.is_not_null().to_numpy() if len(known) < len(ids) else ...] = self._integers.encode(known) + 1
            self._size = len(self._integers) + 1
            return codes
        if self._integers is not None:
            so_far, self._integers = pl.Series(self._integers.keys), None
            self.encode(so_far.cast(pl.String))
        if ids.dtype.is_integer():
            ids = ids.cast(pl.String).fill_null("")
        codes = ids.cast(self._type).to_physical().to_numpy().astype(np.int32)
        if len(codes):
            self._size = max(self._size, int(codes.max()) + 1)
        return codes

    def ids(self) -> pa.Array:
        """The raw id of each code. Shape: text (C,); or int64 (C,), the empty id as null, if all ids are integers."""
        if self._integers is not None:
            return pa.concat_arrays([pa.nulls(1, pa.int64()), pa.array(self._integers.keys)])
        codes = pl.Series("code", np.arange(self._size, dtype=np.uint32))
        return codes.cat.to(self._type).cast(pl.String).to_arrow().cast(pa.string())


class HashedCodes:
    """Used instead of `Codes` for a hashed field: the code is the hash bucket, and raw ids are not stored.

    Args:
        buckets: the number of buckets.
    """

    def __init__(self, buckets: int) -> None:
        self._buckets = buckets

    def __len__(self) -> int:
        return self._buckets

    def encode(self, ids: pl.Series) -> np.ndarray:
        """The hash buckets of raw ids. Shape: text without nulls, or integers (n,) -> int32 (n,)."""
        return hash_buckets(ids, self._buckets)

    def ids(self) -> pa.Array:
        """Empty: raw ids are not stored."""
        return pa.array([], pa.string())


def hash_buckets(ids: pl.Series, buckets: int) -> np.ndarray:
    """The hash buckets of raw ids, from 0: the same on every machine and in every version of this package.

    7 and "7" are the same id; null is the empty id "". Shape: text or integers (n,) -> int32 (n,).

    >>> hash_buckets(pl.Series(["u1", "7"]), 1000), hash_buckets(pl.Series([7]), 1000)
    (array([785, 759], dtype=int32), array([759], dtype=int32))
    """
    out = np.empty(len(ids), np.int32)
    if len(out):
        characters, ends = text_bytes(ids.cast(pl.String).fill_null(""))
        hash_bytes(characters, ends, np.uint64(buckets), out)
    return out


def text_bytes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The UTF-8 of texts one after the other, and where each begins and the last one ends.

    Shape: text without nulls (n,) -> uint8 (L,), int64 (n + 1,).

    >>> text_bytes(pl.Series(["a", "", "bc"]))
    (array([97, 98, 99], dtype=uint8), array([0, 1, 1, 3]))
    """
    text = pa.array(texts.to_arrow(), pa.large_string())
    if not len(text):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, characters = text.buffers()
    ends = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
    return np.frombuffer(characters or b"", np.uint8), ends
