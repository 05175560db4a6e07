# pyright: reportMissingTypeStubs=false
"""Is a difference more than chance? It depends on what would be drawn again.

    seeds          `paired`: would another training come out so? Methods are paired by seed: same data, same reference
                   CTR network. It says nothing of other users: all seeds are measured on the same test part.
    impressions    `delong`: would another sample of impressions, each independent of the others, say so?
    users          `delong(clusters=)`, `bootstrap`: would another sample of users say so? Impressions of one user are
                   not independent, so this is the one to ask on a log. It says nothing of other trainings.

To ask both, average each method's AUC over its seeds, and take users' error of that (`Areas.contrast`) beside the
t test over seeds: a difference that stands only in one of them is a matter of luck in the other.
A table of many such tests finds something by chance, unless they are corrected together (`holm`).
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
    """Of so many intervals a share `level` holds the truth."""

    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True)
class Paired:
    """The mean of a - b over pairs, with Student's t test that it is 0 (two-sided)."""

    difference: float
    std: float | None  # of the differences, with n - 1; None for a single pair
    t: float | Undefined
    p_value: float | Undefined
    n: int

    def interval(self, level: float = 0.95) -> Interval | Undefined:
        """Student's, of the mean difference.

        >>> found = paired([0.62, 0.66, 0.67], [0.60, 0.65, 0.64]).interval()
        >>> f"{found.low:.3f} to {found.high:.3f}"
        '-0.005 to 0.045'
        """
        if isinstance(self.t, Undefined) or self.std is None:
            return self.t if isinstance(self.t, Undefined) else Undefined("one seed has no deviation")
        half = student_quantile(level, self.n - 1) * self.std / math.sqrt(self.n)
        return Interval(self.difference - half, self.difference + half, level)


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """The paired t test, t = mean / (std / sqrt(n)) of the differences. Shape: n pairs.

    Without a p value where there is one pair, or where all differ alike (to the rounding of their values).
    Raises: ValueError for no pairs, or numbers without a partner.

    >>> found = paired([0.62, 0.66, 0.67], [0.60, 0.65, 0.64])
    >>> f"{found.difference:.3f} +- {found.std:.3f}, t {found.t:.3f}, p {found.p_value:.3f}"
    '0.020 +- 0.010, t 3.464, p 0.074'
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"pairs must be one to one, however: {len(a)} values against {len(b)}")
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    d = x - y
    n, mean = len(d), float(d.mean())
    if n == 1:
        why = Undefined("one seed has no deviation")
        return Paired(mean, None, why, why, n)
    std = float(d.std(ddof=1))
    if np.ptp(d) <= 4 * np.spacing(max(np.abs(x).max(), np.abs(y).max())):
        why = Undefined("the difference is the same for every seed")
        return Paired(mean, std, why, why, n)
    statistic = mean / (std / math.sqrt(n))
    return Paired(mean, std, statistic, student_p_value(statistic, n - 1), n)


@dataclass(frozen=True)
class Difference:
    """A difference of AUCs on the same impressions, with the test that it is 0 (two-sided)."""

    difference: float
    error: float  # standard error: the deviation over samples of impressions, or users
    low: float
    high: float
    t: float | Undefined
    p_value: float | Undefined
    level: float = 0.95

    @staticmethod
    def of(difference: float, error: float, freedom: float, level: float = 0.95) -> Difference:
        """By Student's t with that many degrees of freedom.

        Error 0: both rank every pair alike, or apart by as much in any sample, and nothing is tested.

        >>> found = Difference.of(0.02, 0.01, freedom=29)
        >>> f"{found.low:.4f} to {found.high:.4f}, p {found.p_value:.4f}"
        '-0.0005 to 0.0405, p 0.0549'
        """
        half = student_quantile(level, freedom) * error
        t = difference / error if error else Undefined("the difference has no error: the scores rank alike")
        p = student_p_value(t, freedom) if isinstance(t, float) else t
        return Difference(difference, error, difference - half, difference + half, t, p, level)


def logit_interval(auc: float, error: float, freedom: float, level: float = 0.95) -> Interval | Undefined:
    """Student's on the scale of log(auc / (1 - auc)), whose error is error / (auc (1 - auc)): it stays inside (0, 1).

    >>> found = logit_interval(0.95, 0.03, freedom=29)
    >>> f"{found.low:.3f} to {found.high:.3f}"
    '0.839 to 0.986'
    """
    if auc in (0, 1):
        return Undefined(f"an AUC of {auc:g} has no deviation to judge it by")
    middle = float(logit(auc))
    half = student_quantile(level, freedom) * error / (auc * (1 - auc))
    return Interval(float(expit(middle - half)), float(expit(middle + half)), level)


def holm(p_values: Sequence[float | Undefined | None]) -> list[float | Undefined | None]:
    """Holm's step-down: p values such that the chance of any false one below alpha, among all of them, is alpha.

        the i-th least of m:  max over j <= i of min(1, (m - j + 1) p_j)

    It holds however the tests depend on each other. What is no number (Undefined, None, NaN) was no test: it is not
    counted in m, and comes back as it is. Raises: ValueError for a p value outside 0 .. 1.

    >>> holm([0.01, 0.04, Undefined("one seed has no deviation"), 0.03])
    [0.03, 0.06, Undefined(reason='one seed has no deviation'), 0.06]
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
    """Which differences stand after Holm's correction: any of them is there by chance at most 1 - level of the time.

    >>> significant([0.04, 0.001, 0.02])
    [True, True, True]
    >>> significant([0.04, 0.001, 0.03])
    [False, True, False]
    """
    return [isinstance(p, float) and p <= 1 - level for p in holm(p_values)]
