# pyright: reportMissingTypeStubs=false
"""Tests of differences. Which test to use depends on what could have been drawn at random.

    seeds          `paired`: would another training give this difference? Methods are paired by seed: they have the same
                   data and the same reference CTR network. It does not test other users: the test part is the same.
                   `unpaired` needs only means and standard deviations, and finds less.
    impressions    `delong`: would another sample of independent impressions give this difference?
    users          `delong(clusters=)`, `bootstrap`: would another sample of users give this difference? Impressions of
                   one user are not independent, so use this test on a log. It does not test other trainings.

To test both, use the t test over seeds, and also the error over users of each method's mean AUC over seeds
(`Areas.contrast`). A difference that is significant in only one of the two tests may be chance.
If a table has many tests, some are significant by chance; `holm` corrects for their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from .distributions import student_p_value, student_quantile
from .values import Undefined


@dataclass(frozen=True)
class Interval:
    """A confidence interval: the share `level` of such intervals contains the true value."""

    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True)
class Paired:
    """The mean of a - b over n pairs, with the two-sided t test that it is 0."""

    difference: float
    std: float | None  # standard deviation of the differences (n - 1); None for a single pair
    t: float | Undefined
    p_value: float | Undefined
    n: int

    def interval(self, level: float = 0.95) -> Interval | Undefined:
        """The confidence interval of the mean difference, by Student's t. Undefined as `p_value`.

        >>> found = paired([0.62, 0.66, 0.67], [0.60, 0.65, 0.64]).interval()
        >>> f"{found.low:.3f} to {found.high:.3f}"
        '-0.005 to 0.045'
        """
        if isinstance(self.t, Undefined) or self.std is None:
            return self.t if isinstance(self.t, Undefined) else Undefined("one seed has no standard deviation")
        half = student_quantile(level, self.n - 1) * self.std / math.sqrt(self.n)
        return Interval(self.difference - half, self.difference + half, level)


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """The paired t test of a - b: t = mean / (std / sqrt(n)) of the differences. Shape: a (n,), b (n,).

    The p value is Undefined for a single pair, or if all differences are equal up to rounding.
    Raises: ValueError if there are no pairs, or if a and b have different lengths.

    >>> found = paired([0.62, 0.66, 0.67], [0.60, 0.65, 0.64])
    >>> f"{found.difference:.3f} +- {found.std:.3f}, t {found.t:.3f}, p {found.p_value:.3f}"
    '0.020 +- 0.010, t 3.464, p 0.074'
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"a and b must have the same length, at least 1, however: {len(a)} and {len(b)} values")
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    d = x - y
    n, mean = len(d), float(d.mean())
    if n == 1:
        why = Undefined("one seed has no standard deviation")
        return Paired(mean, None, why, why, n)
    std = float(d.std(ddof=1))
    if np.ptp(d) <= 4 * np.spacing(max(np.abs(x).max(), np.abs(y).max())):
        why = Undefined("the difference is the same for every seed")
        return Paired(mean, std, why, why, n)
    statistic = mean / (std / math.sqrt(n))
    return Paired(mean, std, statistic, student_p_value(statistic, n - 1), n)


def unpaired(a: tuple[float, float, int], b: tuple[float, float, int]) -> float | Undefined:
    """The two-sided p value of Welch's t test that two samples have the same mean.

    Args:
        a, b: the mean, the standard deviation (n - 1) and the size n of each sample.

    Undefined if a sample has one value, or if neither varies.

    >>> round(unpaired((0.30, 0.01, 3), (0.33, 0.01, 3)), 3)
    0.021
    """
    (x, s, n), (y, r, m) = a, b
    if min(n, m) < 2:
        return Undefined("one seed has no standard deviation")
    u, v = s**2 / n, r**2 / m
    if not u + v:
        return Undefined("neither sample varies")
    freedom = (u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1))
    return student_p_value((x - y) / math.sqrt(u + v), freedom)


@dataclass(frozen=True)
class Difference:
    """A difference of AUCs on the same impressions, with its interval and the two-sided test that it is 0."""

    difference: float
    error: float  # standard error over samples of impressions or of users
    low: float
    high: float
    t: float | Undefined
    p_value: float | Undefined
    level: float = 0.95

    @staticmethod
    def of(difference: float, error: float, freedom: float, level: float = 0.95) -> Difference:
        """The difference with its interval and test, by Student's t with `freedom` degrees of freedom.

        With error 0 the test is Undefined: both scores rank every pair in the same way, or the difference is the same
        in every sample.

        >>> found = Difference.of(0.02, 0.01, freedom=29)
        >>> f"{found.low:.4f} to {found.high:.4f}, p {found.p_value:.4f}"
        '-0.0005 to 0.0405, p 0.0549'
        """
        half = student_quantile(level, freedom) * error
        t = difference / error if error else Undefined("the standard error of the difference is 0")
        p = student_p_value(t, freedom) if isinstance(t, float) else t
        return Difference(difference, error, difference - half, difference + half, t, p, level)


def logit_interval(auc: float, error: float, freedom: float, level: float = 0.95) -> Interval | Undefined:
    """The interval of an AUC by Student's t on the scale of log(auc / (1 - auc)), so that it stays inside (0, 1).

    The standard error on that scale is error / (auc (1 - auc)). Undefined if the AUC is 0 or 1.

    >>> found = logit_interval(0.95, 0.03, freedom=29)
    >>> f"{found.low:.3f} to {found.high:.3f}"
    '0.839 to 0.986'
    """
    if auc in (0, 1):
        return Undefined(f"an AUC of {auc:g} has no standard error on the logit scale")
    middle = float(logit(auc))
    half = student_quantile(level, freedom) * error / (auc * (1 - auc))
    return Interval(float(expit(middle - half)), float(expit(middle + half)), level)


def holm(p_values: Sequence[float | Undefined | None]) -> list[float | Undefined | None]:
    """P values with Holm's step-down correction for the number of tests.

        the i-th smallest of m:  max over j <= i of min(1, (m - j + 1) p_j)

    If those below alpha are called significant, the probability of any false one among them is at most alpha, also for
    tests that depend on each other. Undefined, None and NaN are not tests: they are not counted in m, and are returned
    unchanged. Raises: ValueError for a p value outside 0 .. 1.

    >>> holm([0.01, 0.04, Undefined("one seed has no standard deviation"), 0.03])
    [0.03, 0.06, Undefined(reason='one seed has no standard deviation'), 0.06]
    """
    adjusted = list(p_values)
    tests = [(p, i) for i, p in enumerate(p_values) if not isinstance(p, Undefined | None) and not math.isnan(p)]
    least = 0.0
    for before, (p, i) in enumerate(sorted(tests)):
        if not 0 <= p <= 1:
            raise ValueError(f"p values must be from 0 to 1, however: {p}")
        least = max(least, min(1.0, (len(tests) - before) * p))
        adjusted[i] = least
    return adjusted


def significant(p_values: Sequence[float], level: float = 0.95) -> list[bool]:
    """Which tests are significant with Holm's correction: with probability `level`, none of them is so by chance.

    >>> significant([0.04, 0.001, 0.02])
    [True, True, True]
    >>> significant([0.04, 0.001, 0.03])
    [False, True, False]
    """
    return [isinstance(p, float) and p <= 1 - level for p in holm(p_values)]
