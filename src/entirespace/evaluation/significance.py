"""Is a difference more than chance? Methods are paired by seed: same data, same reference CTR network."""

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
    std: float | None  # of the differences, with n - 1; None for a single pair
    t: float | Undefined
    p_value: float | Undefined
    n: int


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
    return Paired(mean, std, statistic, float(2 * student.sf(abs(statistic), n - 1)), n)
