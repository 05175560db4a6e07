# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
"""The bootstrap of AUC over users: each replicate draws as many users as there are, with replacement.

A user that is drawn w times brings all its impressions w times. With the weights w of the users u(i) of the positives
i, and u(j) of the negatives j:

    AUC(w) = sum_i w_u(i) (sum_{j below i} w_u(j) + 1/2 sum_{j tied with i} w_u(j)) / (sum_i w_u(i) sum_j w_u(j))

One sort serves all replicates. The distinct scores of the positives, in order, divide the negatives into groups: those
between two of these scores, and those equal to one of them. A sparse matrix counts the negatives of each user in each
group. Its product with the weights (users x replicates), cumulated over the groups, gives the inner bracket of all
replicates at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .auc import auc
from .delong import Sample, numbered
from .pieces import pieces, refuse_nan
from .significance import Difference, Interval, logit_interval
from .values import Undefined

CELLS = 1 << 23
"""How many float64 numbers a chunk of replicates may take: 64 MB."""


@dataclass(frozen=True)
class Replicates:
    """AUCs of k scores: on the data, and on each of R replicates. Shape: auc float64 (k,), replicates (k, R)."""

    auc: np.ndarray
    replicates: np.ndarray
    sample: Sample

    def error(self, which: int = 0) -> float:
        """The standard error of one AUC: its standard deviation over replicates."""
        return float(self.replicates[which].std(ddof=1))

    def interval(self, which: int = 0, level: float = 0.95) -> Interval | Undefined:
        """The confidence interval of one AUC: Student's t on the logit scale, with the bootstrap's standard error.

        Quantiles of `replicates` would be another interval; their coverage is worse (tests/trials/test_coverage.py).
        Undefined with too few positives or negatives.
        """
        if few := self.sample.too_few():
            return few
        return logit_interval(float(self.auc[which]), self.error(which), self.sample.freedom, level)

    def difference(self, a: int = 0, b: int = 1, level: float = 0.95) -> Difference | Undefined:
        """AUC of a - AUC of b, measured on the same replicates. Undefined with too few positives or negatives."""
        if few := self.sample.too_few():
            return few
        found = self.replicates[a] - self.replicates[b]
        apart = float(self.auc[a] - self.auc[b])
        return Difference.of(apart, float(found.std(ddof=1)), self.sample.freedom, level)


def bootstrap(
    scores: Sequence[np.ndarray] | np.ndarray,
    label: np.ndarray,
    clusters: np.ndarray,
    *,
    replicates: int = 1000,
    rng: np.random.Generator,
) -> Replicates | Undefined:
    """The AUCs of k scores over `replicates` samples of the users.

    Args:
        clusters: the user of each impression. A negative number is "unknown": that impression counts as a user.

    Shape: scores k of float (N,), label bool (N,), clusters int (N,).
    Undefined with fewer than 2 users that have a positive, or fewer than 2 that have a negative. A replicate without
    positives or negatives has no AUC and is left out.
    Raises: ValueError for a score that is NaN, or columns of different lengths.

    >>> rng = np.random.default_rng(0)
    >>> label, users = np.arange(400) % 9 == 0, np.arange(400) // 4
    >>> found = bootstrap([rng.normal(size=400) + label], label, users, rng=rng)
    >>> ends = found.interval()
    >>> f"{found.auc[0]:.3f}: {ends.low:.3f} to {ends.high:.3f}"
    '0.752: 0.675 to 0.816'
    """
    for column in scores:
        refuse_nan(pieces(scores=column, label=label, clusters=clusters)[0], "scores")
    label = label.astype(bool, copy=False)
    code, users = numbered(clusters)
    of10, of01 = (np.bincount(code[y], minlength=users).astype(np.float64) for y in (label, ~label))
    sample = Sample(int(of10.sum()), int(of01.sum()), int((of10 > 0).sum()), int((of01 > 0).sum()), "users")
    if few := sample.too_few(2):
        return few
    ordered = [_Ordered.of(column, label, code, users) for column in scores]
    step = max(1, CELLS // (users + 3 * max(o.distinct for o in ordered)))
    found = np.full((len(ordered), replicates), np.nan)
    for start in range(0, replicates, step):
        drawn = (rng.integers(users, size=users) for _ in range(start, min(start + step, replicates)))
        weights = np.stack([np.bincount(who, minlength=users) for who in drawn], axis=1).astype(np.float64)
        pairs = (of10 @ weights) * (of01 @ weights)
        for r, o in enumerate(ordered):
            np.divide(o.above(weights), pairs, out=found[r, start : start + step], where=pairs > 0)
    return Replicates(np.array([auc(column, label) for column in scores]), found[:, ~np.isnan(found[0])], sample)


@dataclass(frozen=True)
class _Ordered:
    """Counts of impressions by user and by score. Shape: positives (D, users), negatives (2 D + 1, users)."""

    distinct: int  # D: how many different scores the positives have
    positives: csr_array  # row d: positives with the d-th score
    negatives: csr_array  # row 2 d: negatives between the scores d - 1 and d; row 2 d + 1: those with the d-th score

    @staticmethod
    def of(scores: np.ndarray, label: np.ndarray, code: np.ndarray, users: int) -> _Ordered:
        distinct, at = np.unique(scores[label], return_inverse=True)
        others = scores[~label]
        row = np.searchsorted(distinct, others, "left") + np.searchsorted(distinct, others, "right")
        return _Ordered(
            len(distinct),
            _counts(at, code[label], (len(distinct), users)),
            _counts(row, code[~label], (2 * len(distinct) + 1, users)),
        )

    def above(self, weights: np.ndarray) -> np.ndarray:
        """The weighted number of pairs with the negative below, ties half. Shape: (users, R) -> (R,)."""
        until = np.cumsum(self.negatives @ weights, axis=0)
        below = until[:-1:2] + until[1::2]
        below *= self.positives @ weights
        return below.sum(axis=0) / 2


def _counts(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(row)), (row, column)), shape=shape)  # entries at the same place are added
