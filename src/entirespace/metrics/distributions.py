# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Student's t and the counts of Poisson, as numbers: scipy's functions, which have no types."""

from __future__ import annotations

from scipy.stats import chi2, poisson
from scipy.stats import t as student


def student_quantile(level: float, freedom: float) -> float:
    """How many standard errors an interval goes to either side: 2.26 for 0.95 of 10 units, 1.96 of many."""
    return float(student.ppf((1 + level) / 2, freedom))


def student_p_value(t: float, freedom: float) -> float:
    """The chance of a statistic this far from 0, to either side."""
    return float(2 * student.sf(abs(t), freedom))


def poisson_interval(observed: float, level: float) -> tuple[float, float]:
    """The exact interval of a Poisson count's mean (Garwood 1936).

    >>> [round(end, 4) for end in poisson_interval(0, 0.95)]
    [0.0, 3.6889]
    """
    tail = (1 - level) / 2
    least = float(chi2.ppf(tail, 2 * observed)) / 2 if observed else 0.0
    return least, float(chi2.isf(tail, 2 * observed + 2)) / 2


def poisson_p_value(observed: float, expected: float) -> float:
    """The chance of a count this far from its mean, two-sided: twice the smaller tail."""
    tails = float(poisson.cdf(observed, expected)), float(poisson.sf(observed - 1, expected))
    return min(1.0, 2 * min(tails))
