"""Exact AUC: the probability that a positive scores above a negative, where a tie counts one half (Mann-Whitney).

    AUC = U / (P N),    U = sum over positives of (negatives below it + 1/2 negatives with the same score)

No thresholds are used: at a CTCVR of 2e-4, 200 thresholds give 0.50 for a true AUC of 0.75. Twice U is counted as a
whole number and divided once, as Python integers; so the result is the float64 nearest to the true AUC.
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
    """The AUC of scores. Undefined if there are no positives or no negatives.

    Shape: scores float (N,), label bool (N,); or a list of chunks of each.
    Memory in addition to the inputs: 2 bytes for each float32 score, 8 for each float64 score.
    Raises: ValueError for a score that is NaN, or columns of different lengths.

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
    """The mean of the AUC inside each group, weighted by impressions.

    share: the share of all impressions in the groups that have an AUC. groups: how many groups have one.
    """

    value: float
    share: float
    groups: int


def grouped_auc(scores: Chunks, label: Chunks, group: Chunks) -> GroupedAUC | Undefined:
    """AUC inside each group (user), averaged over groups with their numbers of impressions as weights.

    Groups with only positives or only negatives have no AUC and are left out, as is group -1, "unknown". Undefined if
    no group is left.
    Shape: scores float (N,), label bool (N,), group int32 (N,); or a list of chunks of each.
    Memory in addition to the inputs: 8 bytes per impression; float64 scores need more time and memory.
    Raises: ValueError for a score that is NaN, a group above int32, or columns of different lengths.

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
        raise ValueError(f"groups must fit into int32, however: {most:,} is the largest")
    if all(piece.dtype == np.float32 for piece in held):
        bits = [bits32(piece) for piece in held]
    else:
        bits = np.split(bits32(np.concatenate(held)), np.cumsum([len(piece) for piece in held[:-1]]))
    total, impressions, found = weighted_auc(bits, [y.astype(bool, copy=False) for y in truth], groups)
    if not found:
        return Undefined("no user has both positives and negatives")
    return GroupedAUC(total / impressions, impressions / sum(map(len, groups)), found)
