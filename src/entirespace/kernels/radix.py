"""Floats as integers of the same order, and a parallel sort of integers (words) that makes only one copy of them.

    bin(w) = (w - least) >> shift,  with at most 4096 bins over the range of the words, and fewer for few words

Words are made piece by piece and written directly into their bins. Each bin is then sorted in place, and fits the
cache while it is sorted. So the words are in memory once.
(`split.kth` has similar bins, but finds one value among values on disk, and moves nothing.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numba
import numpy as np

from .threads import each, shares, threads

BITS = 12  # of the bin's number, at most: one cache line per bin then fits the cache
PIECE = 1 << 13  # words: malloc requests larger arrays (over 128 KiB) from the system each time


@numba.njit(inline="always")
def order32(bits):
    """The bits of a float32 -> 0 .. 2**32 - 1, int64, in the order of the floats.

    The bits are a sign and a magnitude, and magnitudes as integers have the order of the floats. The result is
    2**31 + magnitude, or 2**31 - magnitude for negative floats, so -0.0 and 0.0 are equal.
    """
    magnitude = np.int64(bits) & 0x7FFFFFFF
    return 0x80000000 - magnitude if bits >> 31 else 0x80000000 + magnitude


@numba.njit(inline="always")
def order64(bits):
    """The same for a float64 -> 0 .. 2**64 - 1, uint64. Negative: 2**63 - (bits - 2**63) = -bits, modulo 2**64."""
    return np.uint64(0) - bits if bits >> np.uint64(63) else bits + np.uint64(1 << 63)


def bits32(values: np.ndarray) -> np.ndarray:
    """The argument of `order32` for each value: the bits of float32 values, else ranks of distinct values (slow).

    Shape: (N,) -> uint32 (N,), N < 2**31.

    >>> bits32(np.array([0.5, -0.5, 0.5]))
    array([1, 0, 1], dtype=uint32)
    """
    if values.dtype == np.float32:
        return values.view(np.uint32)
    return np.unique(values, return_inverse=True)[1].astype(np.uint32)


def sort(words: Callable[[int], np.ndarray], pieces: int) -> np.ndarray:
    """All words in order. Shape: words(0) .. words(pieces - 1) uint64 (n,) each -> uint64 (N,).

    Each piece is made three times, on any thread: it should be made by a kernel, and have at most PIECE words.

    >>> sort([np.array([3, 1], np.uint64), np.array([2], np.uint64)].__getitem__, 2)
    array([1, 2, 3], dtype=uint64)
    """

    def size_and_ends(i: int) -> tuple[int, list[int]]:
        piece = words(i)
        return len(piece), [int(piece.min()), int(piece.max())] if len(piece) else []

    found = each(size_and_ends, pieces)
    n, ends = sum(size for size, _ in found), [word for _, both in found for word in both]
    if not n:
        return np.empty(0, np.uint64)
    least, most = min(ends), max(ends)
    bits = min(BITS, n.bit_length() // 2)
    shift = np.uint64(max(0, (most - least).bit_length() - bits))
    counts = np.zeros((threads(), 1 << bits), np.int64)

    def count(share: int, of: int) -> None:
        for i in range(share, pieces, of):
            _count(words(i), np.uint64(least), shift, counts[share])

    shares(count)
    ends = np.cumsum(counts.T).reshape(1 << bits, -1)  # order of places: by bin, in a bin by thread
    place = np.ascontiguousarray(ends.T) - counts
    starts = np.append(place[0], n)
    out = np.empty(n, np.uint64)

    def scatter(share: int, of: int) -> None:
        for i in range(share, pieces, of):
            _scatter(words(i), np.uint64(least), shift, place[share], out)

    shares(scatter)
    waiting = itertools.count()  # the next bin to sort; next() is atomic

    def sort_bins(share: int, of: int) -> None:
        while (b := next(waiting)) < 1 << bits:
            out[starts[b] : starts[b + 1]].sort()

    shares(sort_bins)
    return out


@numba.njit(cache=True, nogil=True)
def _count(words, least, shift, counts):
    for word in words:
        counts[(word - least) >> shift] += 1


@numba.njit(cache=True, nogil=True)
def _scatter(words, least, shift, place, out):
    for word in words:
        bin_ = (word - least) >> shift
        out[place[bin_]] = word
        place[bin_] += 1
