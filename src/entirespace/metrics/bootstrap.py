# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
"""AUC over resampled users: as many users drawn with replacement, each with all its impressions (or none, or twice).

A user drawn w times weighs w. With weights w of the users u(i) of the positives i, and u(j) of the negatives j:

    AUC(w) = sum_i w_u(i) (sum_{j below i} w_u(j) + 1/2 sum_{j level with i} w_u(j)) / (sum_i w_u(i) sum_j w_u(j))

One sort does for all replicates. The positives' distinct scores, in order, cut the negatives into those between two of
them and those level with one: rows of a sparse matrix that counts the negatives of each user in each row. Times the
weights, users x replicates, and summed from row to row, that is the inner bracket of all replicates at once.
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
"""Numbers of 8 bytes in a chunk of replicates."""


@dataclass(frozen=True)
class Replicates:
    """AUCs of k scores, as measured and over replicates of the users. Shape: auc (k,), replicates (k, B)."""

    auc: np.ndarray
    replicates: np.ndarray
    sample: Sample

    def error(self, which: int = 0) -> float:
        """The standard error of one AUC: its deviation over replicates."""
        return float(self.replicates[which].std(ddof=1))

    def interval(self, which: int = 0, level: float = 0.95) -> Interval | Undefined:
        """Of one AUC: Student's on the logit scale, as `Areas.interval`, with the bootstrap's error.

        The quantiles of `replicates` are another; they cover worse (tests/trials/test_coverage.py).
        """
        if few := self.sample.too_few():
            return few
        return logit_interval(float(self.auc[which]), self.error(which), self.sample.freedom, level)

    def difference(self, a: int = 0, b: int = 1, level: float = 0.95) -> Difference | Undefined:
        """AUC of a - AUC of b; both were measured on the same replicates."""
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

    Shape: scores k of float (N,), label bool (N,), clusters int (N,); a negative cluster is "unknown", and each such
    impression one by itself. Undefined with fewer than 2 users with a positive, or a negative.
    A replicate without a positive or a negative has no AUC and is left out.
    Raises: ValueError for a score that is not a number, or columns of different lengths.

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
    """Impressions of each user by the positives' D distinct scores. Shape: (D, users), and (2 D + 1, users)."""

    distinct: int  # D
    positives: csr_array  # row d: those at the d-th score
    negatives: csr_array  # row 2 d: those between the scores before it and it; row 2 d + 1: those level with it

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
        """The weighted number of negatives below positives, level ones half. Shape: (users, B) -> (B,)."""
        until = np.cumsum(self.negatives @ weights, axis=0)
        below = until[:-1:2] + until[1::2]
        below *= self.positives @ weights
        return below.sum(axis=0) / 2


def _counts(row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(row)), (row, column)), shape=shape)  # equal places are added up
