"""Mean ranks (midranks), as Spearman's correlation needs them.

    rank of x = (number of values below x) + (number of values equal to x, x included, + 1) / 2

A word holds a value's code and its position. The words are sorted once and then read in order.
"""

from __future__ import annotations

import numba
import numpy as np

from .radix import PIECE, bits32, order32, sort
from .threads import slices


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 to N; equal values share their mean rank. Shape: float (N,) -> float64 (N,).

    Needs 16 bytes of memory per value, the result included.

    >>> mean_ranks(np.array([0.2, 0.1, 0.2, 0.2], np.float32))
    array([3., 1., 3., 3.])
    """
    bits = bits32(values)
    ranks = np.empty(len(bits))
    ordered = sort(lambda i: _words(bits, i * PIECE, min((i + 1) * PIECE, len(bits))), -(-len(bits) // PIECE))
    slices(_mean_ranks, len(bits), ordered, ranks)
    return ranks


@numba.njit(cache=True, nogil=True)
def _words(bits, start, stop):
    words = np.empty(stop - start, np.uint64)
    for i in range(start, stop):
        words[i - start] = order32(bits[i]) << 32 | i
    return words


@numba.njit(cache=True, nogil=True)
def _mean_ranks(start, stop, words, ranks):
    """Write the ranks of the runs of equal values that begin in start .. stop."""
    i = start
    while 0 < i < stop and words[i] >> 32 == words[i - 1] >> 32:
        i += 1
    while i < stop:
        end = i + 1
        while end < len(words) and words[end] >> 32 == words[i] >> 32:
            end += 1
        for j in range(i, end):
            ranks[words[j] & 0xFFFFFFFF] = (i + end + 1) / 2
        i = end
