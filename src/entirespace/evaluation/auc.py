"""Exact AUC: the chance that a positive scores above a negative, ties at half (Mann-Whitney).

    AUC = [ sum over negatives of (positives above + 1/2 positives level) ] / (P N)

No thresholds: at a CTCVR of 2e-4, 200 thresholds give 0.50 for a true 0.75.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .metrics import Undefined

CHUNK = 1 << 22  # scores at a time


def auc(scores: np.ndarray, label: np.ndarray) -> float | Undefined:
    """The AUC of scores. Shape: float (N,), bool (N,). Undefined where one class is missing.

    The rarer class is sorted, and each score of the other is looked up in it: exact, and no copy of the whole.
    Raises: ValueError for a score that is not a number.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True]))
    0.875
    """
    unknown = int(np.isnan(scores).sum())
    if unknown:
        raise ValueError(f"scores must be numbers, however: {unknown:,} of {len(scores):,} are NaN")
    positives = int(label.sum())
    negatives = len(label) - positives
    if not positives or not negatives:
        return Undefined(f"no {'negatives' if positives else 'positives'} among {len(scores):,} impressions")
    rare_is_positive = positives <= negatives
    rare = np.sort(scores[label == rare_is_positive])
    below = level = 0  # pairs in which the rare one is below, or level
    for start in range(0, len(scores), CHUNK):
        piece = slice(start, start + CHUNK)
        others = np.sort(scores[piece][label[piece] != rare_is_positive])  # sorted look-ups stay in the cache
        left, right = np.searchsorted(rare, others, "left"), np.searchsorted(rare, others, "right")
        below += int(left.sum())
        level += int((right - left).sum())
    share = (below + level / 2) / (positives * negatives)
    return 1 - share if rare_is_positive else share


@dataclass(frozen=True)
class GroupedAUC:
    """AUC inside groups: its mean over groups weighted by their impressions, and the share of impressions in it."""

    value: float
    share: float
    groups: int


def grouped_auc(scores: np.ndarray, label: np.ndarray, group: np.ndarray) -> GroupedAUC | Undefined:
    """AUC inside each group (user), averaged with the number of impressions as weight.

    Groups of one class have no AUC and are left out, as is group -1, "unknown".
    Shape: scores float (N,), label bool (N,), group int (N,).

    >>> grouped_auc(np.array([0.1, 0.2, 0.3, 0.9]), np.array([False, True, True, True]), np.array([0, 0, 1, 1]))
    GroupedAUC(value=1.0, share=0.5, groups=1)
    """
    known = np.flatnonzero(group >= 0)
    s, y, g = scores[known], label[known], group[known]
    if not len(g):
        return Undefined("no impression has a known user")
    order = np.lexsort((s, g))
    s, y, g = s[order], y[order].astype(np.int64), g[order]
    first = np.flatnonzero(np.concatenate(([True], g[1:] != g[:-1])))  # of each group
    tie = np.flatnonzero(np.concatenate(([True], (g[1:] != g[:-1]) | (s[1:] != s[:-1]))))  # of each run of equal scores
    positives, size = np.add.reduceat(y, tie), np.diff(np.append(tie, len(g)))
    negatives = size - positives
    of = np.searchsorted(first, tie, "right") - 1  # the group of each run
    start = np.searchsorted(tie, first)  # the first run of each group
    before = np.cumsum(negatives) - negatives
    below = before - before[start][of]  # negatives below, in the same group
    pairs = np.add.reduceat(positives * (2 * below + negatives), start)  # twice, to stay in integers
    p, n = np.add.reduceat(positives, start), np.add.reduceat(negatives, start)
    both = (p > 0) & (n > 0)
    if not both.any():
        return Undefined("no user has both classes")
    value = pairs[both] / (2.0 * p[both] * n[both])
    weight = (p + n)[both]
    return GroupedAUC(float(value @ weight / weight.sum()), float(weight.sum() / len(scores)), int(both.sum()))
