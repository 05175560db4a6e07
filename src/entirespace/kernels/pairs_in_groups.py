"""Pairs of a positive and a negative inside groups: the AUC of each group, summed with the group's size as weight.

    AUC_g = U_g / (P_g N_g) (`pairs`),    sum of (P_g + N_g) AUC_g over groups that have both classes

One word holds an impression's group (31 bits), the code of its score (32) and its label (1). In the sorted words each
group is one run, and inside it equal scores are one run, with the negatives first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np

from .radix import order32, sort
from .threads import slices


def weighted_auc(
    bits: Sequence[np.ndarray], label: Sequence[np.ndarray], group: Sequence[np.ndarray]
) -> tuple[float, int, int]:
    """The sum above, and the number of impressions and of groups in it. Impressions of a negative group are left out.

    Shape: pieces of uint32 (n,), `radix.bits32` of the scores, bool (n,) and int (n,) < 2**31, contiguous.

    >>> scores, label = np.array([0.1, 0.2, 0.3, 0.9], np.float32), np.array([False, True, True, True])
    >>> weighted_auc([scores.view(np.uint32)], [label], [np.array([0, 0, 1, 1])])
    (2.0, 2, 1)
    """
    ordered = sort(lambda i: _words(bits[i], label[i], group[i]), len(group))
    found: list[tuple[float, float, int, int]] = []  # appending is safe among threads
    slices(lambda start, stop: found.append(_sum(start, stop, ordered)), len(ordered))
    high, low, impressions, groups = zip(*found, strict=True)
    return math.fsum(high + low), sum(impressions), sum(groups)


@numba.njit(cache=True, nogil=True)
def _words(bits, label, group):
    words = np.empty(len(bits), np.uint64)
    n = 0
    for i in range(len(bits)):
        if group[i] >= 0:
            words[n] = np.int64(group[i]) << 33 | order32(bits[i]) << 1 | np.int64(label[i])
            n += 1
    return words[:n]


@numba.njit(cache=True, nogil=True)
def _sum(start, stop, words):
    """The sum over groups that begin in start .. stop, and its rounding error (compensated: Kahan, Neumaier)."""
    high, low, impressions, groups = 0.0, 0.0, 0, 0
    i = start
    while 0 < i < stop and words[i] >> 33 == words[i - 1] >> 33:
        i += 1
    while i < stop:
        group, begin = words[i] >> 33, i
        negatives, positives, twice = 0, 0, 0
        while i < len(words) and words[i] >> 33 == group:
            level, first = words[i] >> 1, i
            while i < len(words) and words[i] == level << 1:
                i += 1
            here, second = i - first, i
            while i < len(words) and words[i] >> 1 == level:
                i += 1
            twice += (i - second) * (2 * negatives + here)
            negatives, positives = negatives + here, positives + i - second
        if negatives and positives:
            term = (i - begin) * (twice / (2 * positives * negatives))
            sum_ = high + term
            low += (high - sum_) + term if high >= term else (term - sum_) + high
            high = sum_
            impressions, groups = impressions + i - begin, groups + 1
    return high, low, impressions, groups
