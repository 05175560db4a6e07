"""Losses and ratios of probabilities, and their distance from a known truth. Arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .ranks import mean_ranks, refuse_nan

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
    """Mean of -(y log p + (1 - y) log(1 - p)), in nats. Infinite where p is 0 or 1 against the label.

    Shape: p float (N,), label bool (N,). Undefined where a value exceeds 1 (DIVISION's pCVR, Eq. 2).
    Raises: ValueError for a value that is NaN or negative.

    >>> log_loss(np.array([0.5, 0.5]), np.array([True, False]))
    0.6931471805599453
    """
    if (undefined := _no_loss(p)) is not None:
        return undefined
    total = 0.0
    for start in range(0, len(p), CHUNK):
        q, y = p[start : start + CHUNK], label[start : start + CHUNK].astype(bool, copy=False)
        with np.errstate(divide="ignore"):
            total -= float(np.log(q[y], dtype=np.float64).sum() + np.log1p(-q[~y], dtype=np.float64).sum())
    return total / len(p)


def truth_log_loss(p: np.ndarray, true: np.ndarray) -> float | Undefined:
    """Expected cross entropy -(t log p + (1 - t) log(1 - p)) under the true probability t; least where p = t.

    Shape: float (N,) each. Undefined and Raises as `log_loss`.

    >>> truth_log_loss(np.array([0.0, 0.25]), np.array([0.0, 1.0]))  # (0 + log 4) / 2
    0.6931471805599453
    """
    if (undefined := _no_loss(p)) is not None:
        return undefined
    total = 0.0
    for start in range(0, len(p), CHUNK):
        q, t = (v[start : start + CHUNK].astype(np.float64) for v in (p, true))
        with np.errstate(divide="ignore"):
            # 0 log 0 is 0: the side without weight does not speak
            for weight, log in ((t, np.log(q)), (1 - t, np.log1p(-q))):
                total -= float((weight * np.where(weight > 0, log, 0.0)).sum())
    return total / len(p)


def _no_loss(p: np.ndarray) -> Undefined | None:
    refuse_nan(p, "predictions")
    if not len(p):
        return Undefined("no impressions")
    if p.min() < 0:
        raise ValueError(f"predictions must be at least 0, however: {int((p < 0).sum()):,} are not")
    above = int((p > 1).sum())
    return Undefined(f"{above:,} of {len(p):,} predictions exceed 1") if above else None


def pcoc(p: np.ndarray, label: np.ndarray) -> float | Undefined:
    """Predicted over observed: the sum of predictions over the sum of labels; 1 is calibrated in the mean.

    Shape: p float (N,), label bool (N,). Raises: ValueError for a prediction that is not a number.

    >>> pcoc(np.array([0.5, 0.25]), np.array([True, False]))
    0.75
    """
    refuse_nan(p, "predictions")
    positives = int(np.count_nonzero(label))
    if not positives:
        return Undefined(f"no positives among {len(p):,} impressions")
    return float(p.sum(dtype=np.float64)) / positives


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | Undefined:
    """Spearman's: Pearson's correlation of the ranks, ties at their mean rank. Shape: float (N,) each.

    Raises: ValueError for a value that is not a number.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 15.0]))
    0.5
    """
    refuse_nan(a, "predictions")
    refuse_nan(b, "true values")
    if len(a) < 2:
        return Undefined(f"{len(a)} impressions have no order")
    x, y = (mean_ranks(v) - (len(v) + 1) / 2 for v in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else Undefined("all values are the same")
