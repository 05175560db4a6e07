"""The error of an AUC, and of the difference of two on the same impressions (DeLong et al. 1988).

With m positives X and n negatives Y, and psi(x, y) = 1 if x > y, 1/2 if level, else 0:

    V10(X_i) = mean over j of psi(X_i, Y_j)    share of negatives below a positive
    V01(Y_j) = mean over i of psi(X_i, Y_j)    share of positives above a negative
    AUC = mean of V10 = mean of V01,    Cov(AUC_r, AUC_s) = Cov(V10_r, V10_s) / m + Cov(V01_r, V01_s) / n

They are differences of mean ranks (Sun & Xu 2014): V10 = (rank among all - rank among the positives) / n. With users
(Obuchowski 1997), V10 and V01 are summed in each user g, of m_g positives and n_g negatives, and centred:

    d10_g = sum of V10 - m_g AUC,  d01_g = sum of V01 - n_g AUC,    f(I) = I / (I - 1)
    Cov = f(I10) sum d10 d10' / m^2 + f(I01) sum d01 d01' / n^2 + f(I) sum (d10 d01' + d01 d10') / (m n)

over I users, I10 with a positive and I01 with a negative. A user for each impression: the formula above.
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
"""Positives, or users with one: with fewer there is no interval.

Up to AUC 0.76, intervals of 95 % cover 94 to 97 % from 10 positives on (tests/trials/test_coverage.py). Near 1 they are
too narrow, for few positives tell little of the rare one that ranks low: at AUC 0.96 they cover 87 % with 30 positives,
94 % with 200. Differences cover 95 to 98 % there.
"""


@dataclass(frozen=True)
class Sample:
    """What was counted: impressions, or users where they were told."""

    positives: int  # impressions
    negatives: int
    with_positives: int  # users with a positive; without users, the positives
    with_negatives: int
    unit: str  # "impressions" or "users"

    @property
    def freedom(self) -> int:
        """Degrees of freedom: the rarer class has most of the error, and its units tell how well that is known."""
        return min(self.with_positives, self.with_negatives) - 1

    def too_few(self, least: int = FEWEST) -> Undefined | None:
        """Why there is no interval, if there is none."""
        for kind, units in ("positive", self.with_positives), ("negative", self.with_negatives):
            if units < least:
                what = f"{kind} impressions" if self.unit == "impressions" else f"users with a {kind} impression"
                return Undefined(f"{units} {what} are too few for an error of AUC, which needs {least}")
        return None


@dataclass(frozen=True)
class Areas:
    """AUCs of k scores over the same impressions. Shape: auc (k,), covariance (k, k)."""

    auc: np.ndarray
    covariance: np.ndarray
    sample: Sample

    def error(self, which: int = 0) -> float:
        """The standard error of one AUC."""
        return math.sqrt(max(0.0, self.covariance[which, which]))

    def interval(
        self, which: int = 0, level: float = 0.95, scale: Literal["logit", "plain"] = "logit"
    ) -> Interval | Undefined:
        """Of one AUC. "plain", AUC +- t errors, may leave (0, 1), and covers worse."""
        if few := self.sample.too_few():
            return few
        auc, error = float(self.auc[which]), self.error(which)
        if scale == "logit":
            return logit_interval(auc, error, self.sample.freedom, level)
        half = student_quantile(level, self.sample.freedom) * error
        return Interval(auc - half, auc + half, level)

    def difference(self, a: int = 0, b: int = 1, level: float = 0.95) -> Difference | Undefined:
        """AUC of a - AUC of b, with the test that they are the same."""
        weights = np.zeros(len(self.auc))
        weights[a] += 1
        weights[b] -= 1
        return self.contrast(weights, level)

    def contrast(self, weights: Sequence[float] | np.ndarray, level: float = 0.95) -> Difference | Undefined:
        """The sum of weights x AUCs: +1/2 +1/2 -1/2 -1/2 for two methods of two seeds each. Shape: (k,)."""
        if few := self.sample.too_few():
            return few
        w = np.asarray(weights, np.float64)
        terms = w[:, None] * self.covariance * w
        variance = float(terms.sum())
        if variance <= 1e-12 * np.abs(terms).sum():  # rounding alone
            variance = 0.0
        return Difference.of(float(w @ self.auc), math.sqrt(variance), self.sample.freedom, level)


def delong(
    scores: Sequence[np.ndarray] | np.ndarray, label: np.ndarray, clusters: np.ndarray | None = None
) -> Areas | Undefined:
    """The AUCs of k scores, and their covariance over samples of impressions, or of clusters (users).

    Shape: scores k of float (N,), label bool (N,), clusters int (N,); a negative cluster is "unknown", and each such
    impression one by itself. Undefined with fewer than 2 positives or negatives, or users with one.
    Two float32 scores of 10 million impressions took 4 to 6 s on two cores, and under 1 GB beyond them; float64 scores
    are numbered first, which takes longer. Without clusters, each score more keeps 8 bytes an impression.
    Raises: ValueError for a score that is not a number, or columns of different lengths.

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
        auc[r] = int(2 * below.sum()) / (2 * m * n)  # halves below 2**53 are exact, as is `auc`
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
    """Clusters by number from 0, and how many. Shape: int (N,) -> int64 (N,). A negative one: alone.

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
    """Negatives below each positive, and positives above each negative, level ones half."""
    order = bits32(np.ascontiguousarray(scores)).view(np.float32)  # numbers in order of the scores, whatever they are
    rank = mean_ranks(order)
    below, above = rank[label], rank[~label]
    below -= mean_ranks(order[label])
    above -= mean_ranks(order[~label])
    np.subtract(len(below), above, out=above)
    return below, above


def _products(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """Of each pair, without a copy of them side by side."""
    return np.array([[x @ y for y in b] for x in a])


def _factor(units: int) -> float:
    return units / (units - 1)
