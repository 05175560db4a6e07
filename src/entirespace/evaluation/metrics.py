"""Losses and ratios of probabilities, and their distance from a known truth. Arrays in, numbers out, float64 inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

CHUNK = 1 << 20  # impressions at a time: no float64 copy of a whole part


@dataclass(frozen=True)
class Undefined:
    """A metric that has no value here, and why: never a number in disguise.

    >>> print(Undefined("no conversions among 812 impressions"))
    undefined: no conversions among 812 impressions
    """

    reason: str

    def __str__(self) -> str:
        return f"undefined: {self.reason}"

    def as_dict(self) -> dict[str, str]:
        return {"undefined": self.reason}


def log_loss(p: np.ndarray, label: np.ndarray) -> float | Undefined:
    """Mean cross entropy -(y log p + (1 - y) log(1 - p)), in nats. Infinite where p is 0 or 1 against the label.

    Shape: p float (N,), label bool (N,). A value above 1 (DIVISION's pCVR, Eq. 2) has no log loss.

    >>> log_loss(np.array([0.5, 0.5]), np.array([True, False]))
    0.6931471805599453
    """
    return _mean_cross_entropy(p, label)


def truth_log_loss(p: np.ndarray, true: np.ndarray) -> float | Undefined:
    """Expected cross entropy -(t log p + (1 - t) log(1 - p)) under the true probability t; least where p = t.

    Shape: float (N,) each.
    """
    return _mean_cross_entropy(p, true)


def _mean_cross_entropy(p: np.ndarray, target: np.ndarray) -> float | Undefined:
    if not len(p):
        return Undefined("no impressions")
    above = int((p > 1).sum())
    if above:
        return Undefined(f"{above:,} of {len(p):,} predictions exceed 1")
    total = 0.0
    with np.errstate(divide="ignore"):
        for start in range(0, len(p), CHUNK):
            q = p[start : start + CHUNK].astype(np.float64)
            t = target[start : start + CHUNK].astype(np.float64)
            # 0 * log 0 is 0: the side with no weight does not speak
            for weight, log in ((t, np.log(q)), (1 - t, np.log1p(-q))):
                there = weight > 0
                total -= float(weight[there] @ log[there])
    return total / len(p)


def pcoc(p: np.ndarray, label: np.ndarray) -> float | Undefined:
    """Predicted over observed: the sum of predictions over the sum of labels; 1 is calibrated in the mean.

    Shape: p float (N,), label bool (N,).

    >>> pcoc(np.array([0.5, 0.25]), np.array([True, False]))
    0.75
    """
    positives = int(label.sum())
    if not positives:
        return Undefined(f"no positives among {len(p):,} impressions")
    return float(p.sum(dtype=np.float64)) / positives


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | Undefined:
    """Spearman's: Pearson's correlation of the ranks, ties at their mean rank. Shape: float (N,) each.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 15.0]))
    0.5
    """
    if len(a) < 2:
        return Undefined(f"{len(a)} impressions have no order")
    x, y = (rankdata(v) - (len(v) + 1) / 2 for v in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else Undefined("all values are the same")
