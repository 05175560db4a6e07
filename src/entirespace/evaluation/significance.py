"""Is a difference more than chance? Methods are paired by seed: the same data, the same reference CTR network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from .metrics import Undefined


@dataclass(frozen=True)
class Paired:
    """The mean of a - b over pairs, with Student's t test that it is 0 (two-sided)."""

    difference: float
    std: float | None  # of the differences, with n - 1
    t: float | Undefined
    p_value: float | Undefined
    n: int


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """The paired t test. Shape: n pairs. Undefined p for fewer than two pairs, or where all differ alike.

    >>> paired([0.62, 0.66, 0.67], [0.60, 0.65, 0.64]).n
    3
    """
    d = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    n = len(d)
    if n < 2:
        why = Undefined("one seed has no deviation")
        return Paired(float(d.mean()), None, why, why, n)
    mean, std = float(d.mean()), float(d.std(ddof=1))
    if std == 0:
        why = Undefined("the difference is the same for every seed")
        return Paired(mean, std, why, why, n)
    statistic = mean / (std / math.sqrt(n))
    return Paired(mean, std, statistic, float(2 * student.sf(abs(statistic), n - 1)), n)
