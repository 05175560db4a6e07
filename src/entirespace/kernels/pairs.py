"""How many pairs of a positive and a negative have the positive's score above: exact, with ties counted as half.

    U = sum over positives of (negatives below + 1/2 negatives equal);  counted is 2 U, a whole number

Scores of 32 bits are not sorted. Their bits become integers in the order of the scores, called codes (`order32`):

    1. count the codes by their upper 16 bits, separately for positives and negatives: one bin per upper half
    2. write the lower 16 bits of each code to the place that these counts give: bin by bin, in each bin first the
       negatives, then the positives
    3. in each bin, level[v] = 2 (negatives with lower bits < v) + (negatives with lower bits v)
       2 U = sum over positives of 2 (negatives in bins below) + level[lower bits of the positive]

This takes two bytes per score and reads each score three times. `level` has 65,536 entries, so small bins are sorted
instead, and so are small inputs and scores of 64 bits. All threads share each step: by pieces of scores in steps 1 and
2, by bins in step 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from .radix import order32, order64, sort
from .threads import shares, slices, threads

BINS = 1 << 16
FEW = 1 << 10  # scores in a bin: fewer are sorted, which is then faster than filling `level`


def twice_above(scores: Sequence[np.ndarray], label: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """2 U, and the numbers of positives and negatives, of scores that come in pieces.

    Shape: pieces of float32 or float64 (n,), none of them NaN, and of bool (n,), contiguous.

    >>> twice_above([np.array([0.1, 0.4], np.float32), np.array([0.4, 0.8], np.float32)], 2 * [np.array([False, True])])
    (7, 2, 2)
    """
    if all(piece.dtype == np.float32 for piece in scores) and sum(map(len, scores)) >= BINS:
        return _by_bins([piece.view(np.uint32) for piece in scores], label)
    return _by_sorting(scores, label)


def _by_bins(bits: Sequence[np.ndarray], label: Sequence[np.ndarray]) -> tuple[int, int, int]:
    counts = np.zeros((threads(), BINS, 2), np.int64)

    def count(share: int, of: int) -> None:
        for i in range(share, len(bits), of):
            _count(bits[i], label[i], counts[share])

    shares(count)
    negatives, positives = counts.sum(axis=0).T
    # order of places: by bin, in a bin negatives before positives, in each of these by thread
    ends = np.cumsum(np.moveaxis(counts, 0, -1)).reshape(BINS, 2, -1)
    place = np.ascontiguousarray(np.moveaxis(ends, -1, 0)) - counts
    starts = np.append(place[0], ends[-1, -1, -1])
    lower = np.empty(starts[-1], np.uint16)

    def scatter(share: int, of: int) -> None:
        for i in range(share, len(bits), of):
            _scatter(bits[i], label[i], place[share], lower)

    shares(scatter)
    below = np.cumsum(negatives) - negatives
    twice = np.zeros(threads(), np.int64)
    shares(_twice_in_bins, starts, below, lower, twice)
    return int(twice.sum()), int(positives.sum()), int(negatives.sum())


@numba.njit(cache=True, nogil=True)
def _count(bits, label, counts):
    for i in range(len(bits)):
        counts[order32(bits[i]) >> 16, np.int64(label[i])] += 1


@numba.njit(cache=True, nogil=True)
def _scatter(bits, label, place, lower):
    for i in range(len(bits)):
        code, y = order32(bits[i]), np.int64(label[i])
        lower[place[code >> 16, y]] = code & 0xFFFF
        place[code >> 16, y] += 1


@numba.njit(cache=True, nogil=True)
def _twice_in_bins(share, count, starts, below, lower, twice):
    """2 U of the bins that begin in part number `share` of `count` equal parts of `lower`."""
    level = np.empty(1 << 16, np.int64)
    total = 0
    for b in range(len(below)):
        start, middle, stop = starts[2 * b], starts[2 * b + 1], starts[2 * b + 2]
        if middle == stop or start * count // len(lower) != share:
            continue
        negatives, positives = lower[start:middle], lower[middle:stop]
        total += 2 * below[b] * len(positives)
        if len(negatives) + len(positives) < FEW:
            negatives.sort()
            positives.sort()
            total += _merged(0, len(positives), positives, negatives)
        elif len(negatives):
            level[:] = 0
            for value in negatives:
                level[value] += 1
            sum_ = 0
            for value in range(len(level)):
                here = level[value]
                level[value] = 2 * sum_ + here
                sum_ += here
            for value in positives:
                total += level[value]
    twice[share] = total


@numba.njit(cache=True, nogil=True)
def _merged(start, stop, positives, negatives):
    """2 U of the sorted positives start .. stop against all the sorted negatives."""
    total = 0
    if start < stop:
        below = np.searchsorted(negatives, positives[start])
        level = below  # negatives below or equal
        for i in range(start, stop):
            while below < len(negatives) and negatives[below] < positives[i]:
                below += 1
            level = max(level, below)
            while level < len(negatives) and negatives[level] == positives[i]:
                level += 1
            total += below + level
    return total


def _by_sorting(scores: Sequence[np.ndarray], label: Sequence[np.ndarray]) -> tuple[int, int, int]:
    bits = [piece.astype(np.float64, copy=False).view(np.uint64) for piece in scores]
    positives, negatives = (sort(lambda i, y=y: _words(bits[i], label[i], y), len(bits)) for y in (True, False))
    found: list[int] = []  # appending is safe among threads
    slices(lambda start, stop: found.append(_merged(start, stop, positives, negatives)), len(positives))
    return sum(found), len(positives), len(negatives)


@numba.njit(cache=True, nogil=True)
def _words(bits, label, wanted):
    words = np.empty(len(bits), np.uint64)
    n = 0
    for i in range(len(bits)):
        words[n] = order64(bits[i])
        n += label[i] == wanted
    return words[:n]
