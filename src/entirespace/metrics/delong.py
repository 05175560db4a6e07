"""The standard error of an AUC, and of the difference of two AUCs on the same impressions (DeLong et al. 1988).

With m positives X and n negatives Y, and psi(x, y) = 1 if x > y, 1/2 if x = y, and 0 otherwise:

    V10(X_i) = mean over j of psi(X_i, Y_j)    the share of negatives below a positive
    V01(Y_j) = mean over i of psi(X_i, Y_j)    the share of positives above a negative
    AUC = mean of V10 = mean of V01,    Cov(AUC_r, AUC_s) = Cov(V10_r, V10_s) / m + Cov(V01_r, V01_s) / n

V10 and V01 are differences of mean ranks (Sun & Xu 2014): V10 = (rank among all - rank among the positives) / n. If
impressions of one user depend on each other (Obuchowski 1997), V10 and V01 are summed inside each user g, with m_g
positives and n_g negatives, and centred:

    d10_g = sum of V10 - m_g AUC,  d01_g = sum of V01 - n_g AUC,    f(I) = I / (I - 1)
    Cov = f(I10) sum d10 d10' / m^2 + f(I01) sum d01 d01' / n^2 + f(I) sum (d10 d01' + d01 d10') / (m n)

summed over the I users, of which I10 have a positive and I01 a negative. If each impression has another user, this is
the formula without users.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..kernels.radix import bits32
from ..kernels.ranks import mean_ranks
from .distributions import student_quantile
from .pieces import pieces, refuse_nan
from .significance import Difference, Interval, logit_interval
from .values import Undefined

FEWEST = 10
"""The fewest positives (or users with a positive), and the fewest negatives, for which there is an interval.

For an AUC up to 0.76 and at least 10 positives, the coverage of 95 % intervals is 94 to 97 %
(tests/trials/test_coverage.py). For an AUC near 1 they are too narrow, because a small sample rarely has one of the few
positives with a low rank: at AUC 0.96 the coverage is 87 % with 30 positives, and 94 % with 200. There the coverage of
differences is 95 to 98 %.
"""


@dataclass(frozen=True)
class Sample:
    """The size of the sample behind an AUC, in impressions and in independent units (impressions or users)."""

    positives: int  # impressions
    negatives: int  # impressions
    with_positives: int  # units with a positive: users, or without users the positives
    with_negatives: int  # units with a negative
    unit: str  # "impressions" or "users"

    @property
    def freedom(self) -> int:
        """Degrees of freedom of Student's t: the units of the rarer class, which causes most of the error, less 1."""
        return min(self.with_positives, self.with_negatives) - 1

    def too_few(self, least: int = FEWEST) -> Undefined | None:
        """The reason why there is no interval; None if there are at least `least` units of each class."""
        for kind, units in ("positive", self.with_positives), ("negative", self.with_negatives):
            if units < least:
                what = f"{kind} impressions" if self.unit == "impressions" else f"users with a {kind} impression"
                return Undefined(f"{units} {what} are too few for an error of AUC, which needs {least}")
        return None


@dataclass(frozen=True)
class Areas:
    """AUCs of k scores on the same impressions. Shape: auc float64 (k,), covariance float64 (k, k)."""

    auc: np.ndarray
    covariance: np.ndarray
    sample: Sample

    def error(self, which: int = 0) -> float:
        """The standard error of one AUC."""
        return math.sqrt(max(0.0, self.covariance[which, which]))

    def interval(
        self, which: int = 0, level: float = 0.95, scale: Literal["logit", "plain"] = "logit"
    ) -> Interval | Undefined:
        """The confidence interval of one AUC. Undefined with too few positives or negatives.

        Args:
            scale: "logit" stays inside (0, 1). "plain" is AUC +- t x error; it may leave (0, 1), and its coverage is
                worse.
        """
        if few := self.sample.too_few():
            return few
        auc, error = float(self.auc[which]), self.error(which)
        if scale == "logit":
            return logit_interval(auc, error, self.sample.freedom, level)
        half = student_quantile(level, self.sample.freedom) * error
        return Interval(auc - half, auc + half, level)

    def difference(self, a: int = 0, b: int = 1, level: float = 0.95) -> Difference | Undefined:
        """AUC of a - AUC of b, with the test that it is 0. Undefined with too few positives or negatives."""
        weights = np.zeros(len(self.auc))
        weights[a] += 1
        weights[b] -= 1
        return self.contrast(weights, level)

    def contrast(self, weights: Sequence[float] | np.ndarray, level: float = 0.95) -> Difference | Undefined:
        """The sum of weights x AUCs, with the test that it is 0. Shape: weights (k,).

        For the difference of two methods with two seeds each: 1/2, 1/2, -1/2, -1/2.
        """
        if few := self.sample.too_few():
            return few
        w = np.asarray(weights, np.float64)
        terms = w[:, None] * self.covariance * w
        variance = float(terms.sum())
        if variance <= 1e-12 * np.abs(terms).sum():  # only rounding errors are left
            variance = 0.0
        return Difference.of(float(w @ self.auc), math.sqrt(variance), self.sample.freedom, level)


def delong(
    scores: Sequence[np.ndarray] | np.ndarray, label: np.ndarray, clusters: np.ndarray | None = None
) -> Areas | Undefined:
    """The AUCs of k scores, and their covariance over samples of impressions, or of clusters (users).

    Args:
        clusters: the user of each impression. A negative number is "unknown": that impression counts as a user.
            Absent: impressions are independent.

    Shape: scores k of float (N,), label bool (N,), clusters int (N,).
    Undefined with fewer than 2 positives or 2 negatives, or 2 users with a positive or 2 with a negative.
    Two float32 scores of 10 million impressions take 4 to 6 s on two cores and less than 1 GB in addition to the
    inputs; float64 scores take longer. Without clusters, each further score takes 8 bytes per impression.
    Raises: ValueError for a score that is NaN, or columns of different lengths.

    >>> rng = np.random.default_rng(0)
    >>> label = np.arange(400) % 10 == 0
    >>> a = rng.normal(size=400) + label
    >>> b = a + rng.normal(size=400)
    >>> found = delong([a, b], label)
    >>> ends, apart = found.interval(0), found.difference(0, 1)
    >>> f"{found.auc[0]:.3f}: {ends.low:.3f} to {ends.high:.3f}"
    '0.750: 0.669 to 0.816'
    >>> f"{apart.difference:.3f}, error {apart.error:.3f}, p {apart.p_value:.4f}"
    '0.106, error 0.034, p 0.0037'
    """
    others = {"label": label} if clusters is None else {"label": label, "clusters": clusters}
    for column in scores:
        refuse_nan(pieces(scores=column, **others)[0], "scores")
    label = label.astype(bool, copy=False)
    m = int(label.sum())
    n = len(label) - m
    if clusters is None:
        user10, user01, sample = None, None, Sample(m, n, m, n, "impressions")
        users = len(label)
    else:
        code, users = numbered(clusters)
        user10, user01 = code[label], code[~label]
        of10, of01 = (np.bincount(user, minlength=users) for user in (user10, user01))
        sample = Sample(m, n, int((of10 > 0).sum()), int((of01 > 0).sum()), "users")
    if few := sample.too_few(2):
        return few
    auc = np.empty(len(scores))
    d10: list[np.ndarray] = []
    d01: list[np.ndarray] = []
    for r, column in enumerate(scores):
        below, above = _components(column, label)
        auc[r] = int(2 * below.sum()) / (2 * m * n)  # exact: the sum is a multiple of 1/2 below 2**53
        below /= n
        above /= m
        below -= auc[r]
        above -= auc[r]
        d10.append(below if user10 is None else np.bincount(user10, below, users))
        d01.append(above if user01 is None else np.bincount(user01, above, users))
    covariance = _factor(sample.with_positives) / m**2 * _products(d10, d10)
    covariance += _factor(sample.with_negatives) / n**2 * _products(d01, d01)
    if clusters is not None:
        across = _products(d10, d01)
        covariance += _factor(users) / (m * n) * (across + across.T)
    return Areas(auc, covariance, sample)


def numbered(clusters: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the clusters from 0, and count them. Each negative one becomes a cluster. Shape: int (N,) -> int64 (N,).

    >>> numbered(np.array([7, -1, 3, 7, -1]))
    (array([1, 2, 0, 1, 3]), 4)
    """
    known = clusters >= 0
    ids = clusters[known]
    if ids.max(initial=0) < 8 * len(clusters):  # few gaps: a table of the ids instead of a sort
        there = np.bincount(ids, minlength=1) > 0
        code, named = (np.cumsum(there) - 1)[ids], int(there.sum())
    else:
        names, code = np.unique(ids, return_inverse=True)
        named = len(names)
    if len(ids) == len(clusters):
        return code, named
    out = np.empty(len(clusters), np.int64)
    out[known] = code
    alone = len(clusters) - len(ids)
    out[~known] = named + np.arange(alone)
    return out, named + alone


def _components(scores: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many negatives are below each positive, and how many positives above each negative; ties count half.

    Shape: float (N,), bool (N,) -> float64 (m,), float64 (n,).
    """
    order = bits32(np.ascontiguousarray(scores)).view(np.float32)  # float32 numbers in the same order as the scores
    rank = mean_ranks(order)
    below, above = rank[label], rank[~label]
    below -= mean_ranks(order[label])
    above -= mean_ranks(order[~label])
    np.subtract(len(below), above, out=above)
    return below, above


def _products(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """The product of each pair, without stacking the columns. Shape: k of (I,) each -> (k, k)."""
    return np.array([[x @ y for y in b] for x in a])


def _factor(units: int) -> float:
    return units / (units - 1)
