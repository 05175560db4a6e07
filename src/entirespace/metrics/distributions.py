# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Student's t and Poisson distributions: scipy's functions, with types."""

from __future__ import annotations

from scipy.stats import chi2, poisson
from scipy.stats import t as student


def student_quantile(level: float, freedom: float) -> float:
    """Half the width of an interval, in standard errors: 2.26 for level 0.95 and freedom 9, 1.96 for a large one."""
    return float(student.ppf((1 + level) / 2, freedom))


def student_p_value(t: float, freedom: float) -> float:
    """The two-sided p value of a t statistic."""
    return float(2 * student.sf(abs(t), freedom))


def poisson_interval(observed: float, level: float) -> tuple[float, float]:
    """The exact interval of the mean of a Poisson count (Garwood 1936).

    >>> [round(end, 4) for end in poisson_interval(0, 0.95)]
    [0.0, 3.6889]
    """
    tail = (1 - level) / 2
    least = float(chi2.ppf(tail, 2 * observed)) / 2 if observed else 0.0
    return least, float(chi2.isf(tail, 2 * observed + 2)) / 2


def poisson_p_value(observed: float, expected: float) -> float:
    """The two-sided p value of a Poisson count with the mean `expected`: twice the smaller tail, at most 1."""
    tails = float(poisson.cdf(observed, expected)), float(poisson.sf(observed - 1, expected))
    return min(1.0, 2 * min(tails))
