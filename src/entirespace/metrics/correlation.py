"""Spearman's rank correlation: how similarly two columns rank the impressions."""

from __future__ import annotations

import numpy as np

from ..kernels.ranks import mean_ranks
from .pieces import pieces, refuse_nan
from .values import Undefined


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | Undefined:
    """Spearman's rank correlation: Pearson's correlation of the ranks; tied values have their mean rank.

    Undefined for fewer than 2 impressions, or if all values of a column are equal. Shape: float (N,) each.
    Raises: ValueError for a value that is NaN, or columns of different lengths.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 15.0]))
    0.5
    """
    held = pieces(a=a, b=b)
    refuse_nan(held[0], "predictions")
    refuse_nan(held[1], "true values")
    if len(a) < 2:
        return Undefined(f"{len(a)} impressions cannot be ranked")
    x, y = (mean_ranks(v) - (len(v) + 1) / 2 for v in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else Undefined("all values are equal")
