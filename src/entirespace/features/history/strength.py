"""The strength of the back-off by maximum likelihood: how many impressions of its parent's rate an id starts with."""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# (numba has no types)
from __future__ import annotations

import math

import numpy as np

from ...kernels.tally import beta_binomial

WEAKEST, STRONGEST = 1.0, 1e6
STEPS = 16  # of the golden section, after which a strength is known to 1 %
MOST = 5_000  # ids that a strength is fitted on
_GOLDEN = (math.sqrt(5) - 1) / 2


def fit_strength(hits: np.ndarray, trials: np.ndarray, rates: np.ndarray) -> float:
    """The strength s with the largest likelihood, if the hits of each id are beta-binomial with mean rate and s.

    rate of an id = (hits + s * rate of its parent) / (trials + s)

    Args:
        hits, trials: of each id. Shape: float64 (n,).
        rates: of each id's parent, in (0, 1). Shape: float64 (n,).

    Returns: from WEAKEST to STRONGEST; STRONGEST if the ids do not differ, or there is none.
    """
    seen = trials > 0
    hits, trials, rates = hits[seen], trials[seen], rates[seen]
    if not len(hits):
        return STRONGEST

    def likelihood(log_strength: float) -> float:
        return beta_binomial(hits, trials, rates, math.exp(log_strength))

    low, high = math.log(WEAKEST), math.log(STRONGEST)
    one, other = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    of_one, of_other = likelihood(one), likelihood(other)
    for _ in range(STEPS):
        if of_one >= of_other:
            high, other, of_other = other, one, of_one
            one = high - _GOLDEN * (high - low)
            of_one = likelihood(one)
        else:
            low, one, of_one = one, other, of_other
            other = low + _GOLDEN * (high - low)
            of_other = likelihood(other)
    return math.exp((low + high) / 2)
