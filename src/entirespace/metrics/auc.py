"""Exact AUC: the chance that a positive scores above a negative, ties at half (Mann-Whitney).

    AUC = U / (P N),    U = sum over positives of (negatives below + 1/2 negatives level)

No thresholds: at a CTCVR of 2e-4, 200 thresholds give 0.50 for a true 0.75. Counts are whole numbers (twice
U, for a tie is half), and one division of Python's integers ends it: the float64 nearest to the true AUC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels.pairs import twice_above
from ..kernels.pairs_in_groups import weighted_auc
from ..kernels.radix import bits32
from .pieces import Chunks, pieces, refuse_nan
from .values import Undefined


def auc(scores: Chunks, label: Chunks) -> float | Undefined:
    """The AUC of scores. Shape: float (N,), bool (N,); or a list of chunks of each. Undefined where a class is missing.

    Beyond them it takes 2 bytes a float32 score, 8 a float64.
    Raises: ValueError for a score that is not a number, or columns of different lengths.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True]))
    0.875
    """
    held, truth = pieces(scores=scores, label=label)
    refuse_nan(held, "scores")
    twice, positives, negatives = twice_above(held, [y.astype(bool, copy=False) for y in truth])
    if not positives or not negatives:
        missing = "negatives" if positives else "positives"
        return Undefined(f"no {missing} among {positives + negatives:,} impressions")
    return twice / (2 * positives * negatives)


@dataclass(frozen=True)
class GroupedAUC:
    """AUC inside groups: their mean, weighted by impressions, and the share of impressions in it."""

    value: float
    share: float
    groups: int


def grouped_auc(scores: Chunks, label: Chunks, group: Chunks) -> GroupedAUC | Undefined:
    """AUC inside each group (user), averaged with the number of impressions as weight.

    Groups of one class have no AUC and are left out, as is group -1, "unknown"; `share` is what is left of N.
    Shape: scores float (N,), label bool (N,), group int32 (N,); or a list of chunks of each.
    Beyond them it takes 8 bytes an impression; float64 scores are numbered first, which takes more time and memory.
    Raises: ValueError for a score that is not a number, a group beyond int32, or columns of different lengths.

    >>> scores, label = np.array([0.1, 0.2, 0.3, 0.9]), np.array([False, True, True, True])
    >>> grouped_auc(scores, label, group=np.array([0, 0, 1, 1]))
    GroupedAUC(value=1.0, share=0.5, groups=1)
    """
    held, truth, groups = pieces(scores=scores, label=label, group=group)
    refuse_nan(held, "scores")
    most = max((int(piece.max()) for piece in groups), default=-1)
    if most < 0:
        return Undefined("no impression has a known user")
    if most >= 2**31:
        raise ValueError(f"groups must fit int32, however: {most:,} is the largest")
    if all(piece.dtype == np.float32 for piece in held):
        bits = [bits32(piece) for piece in held]
    else:
        bits = np.split(bits32(np.concatenate(held)), np.cumsum([len(piece) for piece in held[:-1]]))
    total, impressions, found = weighted_auc(bits, [y.astype(bool, copy=False) for y in truth], groups)
    if not found:
        return Undefined("no user has both classes")
    return GroupedAUC(total / impressions, impressions / sum(map(len, groups)), found)
