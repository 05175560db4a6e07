"""Raw ids -> buckets, for the fields whose rows of the embedding are hashed: nothing to fit, nothing to store.

    bucket = fmix(FNV-1a(UTF-8 of the id)) mod buckets        all in 64 bits

FNV-1a (Fowler, Noll, Vo) takes a byte at a time: h = (h xor byte) x prime; fmix, the end of MurmurHash3, spreads its
high bits over the low ones, which decide the bucket.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit

_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX_1, _MIX_2, _SHIFT = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33)


class HashedCodes:
    """The stand-in for `Codes` where a field is hashed: the code is the bucket, and no id is remembered."""

    def __init__(self, buckets: int) -> None:
        self._buckets = buckets

    def __len__(self) -> int:
        return self._buckets

    def encode(self, ids: pl.Series) -> np.ndarray:
        """Buckets of raw ids. Shape: text without nulls, or integers (n,) -> int32 (n,)."""
        return hash_buckets(ids, self._buckets)

    def ids(self) -> pa.Array:
        return pa.array([], pa.string())


def hash_buckets(ids: pl.Series, buckets: int) -> np.ndarray:
    """The buckets of raw ids, the same on every machine and in every version; 7 and "7" are one id, null is "".

    Shape: text or integers (n,) -> int32 (n,).

    >>> hash_buckets(pl.Series(["u1", "7"]), 1000), hash_buckets(pl.Series([7]), 1000)
    (array([785, 759], dtype=int32), array([759], dtype=int32))
    """
    text = pa.array(ids.cast(pl.String).fill_null("").to_arrow(), pa.large_string())
    _, offsets, characters = text.buffers()
    out = np.empty(len(text), np.int32)
    if len(out):
        ends = np.frombuffer(offsets, np.int64)[text.offset :]
        _hash(np.frombuffer(characters or b"", np.uint8), ends, np.uint64(buckets), out)
    return out


@njit(cache=True, nogil=True)
def _hash(characters, ends, buckets, out):
    for i in range(out.shape[0]):
        h = _BASIS
        for j in range(ends[i], ends[i + 1]):
            h = (h ^ np.uint64(characters[j])) * _PRIME
        h = (h ^ (h >> _SHIFT)) * _MIX_1
        h = (h ^ (h >> _SHIFT)) * _MIX_2
        out[i] = (h ^ (h >> _SHIFT)) % buckets
