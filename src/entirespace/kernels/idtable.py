"""A hash table from texts to their numbers, in arrays that may be mapped from a file: opening it builds nothing.

`slots` holds 1 + the number of a text, or 0, at the text's hash or at the next free place after it. Texts are compared
byte by byte, so equal hashes do no harm.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .hashing import _BASIS, _MIX_1, _MIX_2, _PRIME, _SHIFT


@njit(cache=True, nogil=True)
def _place(characters, start, stop, mask):
    h = _BASIS
    for j in range(start, stop):
        h = (h ^ np.uint64(characters[j])) * _PRIME
    h = (h ^ (h >> _SHIFT)) * _MIX_1
    h = (h ^ (h >> _SHIFT)) * _MIX_2
    return np.int64((h ^ (h >> _SHIFT)) & mask)


@njit(cache=True, nogil=True)
def _equal(one, start, stop, other, begin, end):
    if stop - start != end - begin:
        return False
    for j in range(stop - start):  # noqa: SIM110 (compiled)
        if one[start + j] != other[begin + j]:
            return False
    return True


@njit(cache=True, nogil=True)
def fill(characters, ends, slots):
    """Put texts into an empty table; of equal texts the first. Shape: uint8, int64 (n + 1,), uint32 (2^k,), 2^k > n."""
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(ends.shape[0] - 1):
        at = _place(characters, ends[i], ends[i + 1], mask)
        while slots[at] != 0:
            found = slots[at] - 1
            if _equal(characters, ends[i], ends[i + 1], characters, ends[found], ends[found + 1]):
                break
            at = (at + 1) % slots.shape[0]
        if slots[at] == 0:
            slots[at] = i + 1


@njit(cache=True, nogil=True)
def find(characters, ends, slots, wanted, bounds, out):
    """The number of each wanted text, -1 if it is not there. Shape: as `fill`; uint8, int64 (m + 1,) -> int32 (m,)."""
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(out.shape[0]):
        out[i] = -1
        at = _place(wanted, bounds[i], bounds[i + 1], mask)
        while slots[at] != 0:
            found = slots[at] - 1
            if _equal(wanted, bounds[i], bounds[i + 1], characters, ends[found], ends[found + 1]):
                out[i] = found
                break
            at = (at + 1) % slots.shape[0]
