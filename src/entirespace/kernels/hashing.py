"""Raw ids -> buckets, for fields with hashed embedding rows: nothing is fitted and nothing is stored.

    bucket = fmix(FNV-1a(UTF-8 of the id)) mod buckets        all in 64 bits

FNV-1a (Fowler, Noll, Vo) takes one byte at a time: h = (h xor byte) x prime. fmix, the last step of MurmurHash3,
mixes the high bits into the low ones, which decide the bucket.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX_1, _MIX_2, _SHIFT = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33)


@njit(cache=True, nogil=True)
def hash_bytes(characters, ends, buckets, out):
    for i in range(out.shape[0]):
        h = _BASIS
        for j in range(ends[i], ends[i + 1]):
            h = (h ^ np.uint64(characters[j])) * _PRIME
        h = (h ^ (h >> _SHIFT)) * _MIX_1
        h = (h ^ (h >> _SHIFT)) * _MIX_2
        out[i] = (h ^ (h >> _SHIFT)) % buckets


@njit(cache=True, nogil=True)
def mix_in(characters, ends, out):
    """Mix one text per row into the fingerprints of the rows. Shape: ends int64 (n + 1,), out uint64 (n, 2)."""
    for i in range(out.shape[0]):
        h = _BASIS
        for j in range(ends[i], ends[i + 1]):
            h = (h ^ np.uint64(characters[j])) * _PRIME
        h ^= np.uint64(ends[i + 1] - ends[i])
        for k in range(2):
            v = (out[i, k] ^ (h + np.uint64(k) * _MIX_2)) * _MIX_1
            v = (v ^ (v >> _SHIFT)) * _MIX_2
            out[i, k] = (v ^ (v >> _SHIFT)) + _BASIS


@njit(cache=True, nogil=True)
def mix_bags(numbers, ends, out):
    """Mix a bag of integers per row into the fingerprints of the rows.

    Shape: numbers int64 (L,), ends int64 (n + 1,), out uint64 (n, 2).
    """
    for i in range(out.shape[0]):
        for k in range(2):
            h = out[i, k] ^ (np.uint64(ends[i + 1] - ends[i]) * _PRIME)
            for j in range(ends[i], ends[i + 1]):
                h = (h ^ (np.uint64(numbers[j]) + np.uint64(k) * _MIX_2)) * _MIX_1
                h = (h ^ (h >> _SHIFT)) * _MIX_2
            h = (h ^ (h >> _SHIFT)) * _MIX_1
            out[i, k] = (h ^ (h >> _SHIFT)) + _BASIS


@njit(cache=True, nogil=True)
def mix_numbers(numbers, out):
    """Mix one integer per row into one hash per row. Shape: numbers uint64 (n,), out uint64 (n,)."""
    for i in range(out.shape[0]):
        v = (out[i] ^ (numbers[i] + _BASIS)) * _MIX_1
        v = (v ^ (v >> _SHIFT)) * _MIX_2
        out[i] = v ^ (v >> _SHIFT)
