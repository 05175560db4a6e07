"""Log loss, Brier score and predicted over observed, against labels or against known true probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..kernels.losses import sums
from ..kernels.threads import each
from .pieces import Chunks, pieces
from .values import Undefined


@dataclass(frozen=True)
class Sums:
    """Sums over impressions of predictions p and labels y, from which the metrics are computed.

    The sums of chunks add up to the sums of the whole (`total`):

    >>> chunks = [(np.array([0.5, 0.25]), np.array([True, False])), (np.array([0.25]), np.array([False]))]
    >>> sums = Sums.total(Sums.of(p, y) for p, y in chunks)
    >>> sums.pcoc(), sums.brier()
    (1.0, 0.125)
    """

    impressions: int
    predicted: float  # sum of p
    observed: float  # sum of y: the positives, or the sum of true probabilities
    squares: float  # sum of (p - y)^2
    loss: float  # sum of -(y log p + (1 - y) log(1 - p)), in nats; inf if p is 0 or 1 and the label is the opposite
    above: int  # predictions above 1 (DIVISION's pCVR, Eq. 2), which have no log loss

    @staticmethod
    def of(p: Chunks, y: Chunks) -> Sums:
        """The sums of predictions and labels.

        Shape: p float (N,); y bool (N,), or float (N,) for true probabilities; or a list of chunks of each.
        Raises: ValueError for a value that is NaN or negative, or columns of different lengths.
        """
        held, truth = pieces(predictions=p, labels=y)
        found = each(lambda i: sums(_real(held[i]), _label(truth[i])), len(held))
        n, nan, negative = sum(map(len, held)), sum(f[4] for f in found), sum(f[5] for f in found)
        if nan:
            raise ValueError(f"predictions must be numbers, however: {nan:,} of {n:,} are NaN")
        if negative:
            raise ValueError(f"predictions must be at least 0, however: {negative:,} are not")
        if any(math.isnan(f[1]) for f in found):
            raise ValueError("labels must be numbers, however: some are NaN")
        return Sums.total(Sums(len(piece), *f[:4], above=f[6]) for piece, f in zip(held, found, strict=True))

    @staticmethod
    def total(parts: Iterable[Sums]) -> Sums:
        """The sums of all parts together. Each is added exactly and rounded once (`math.fsum`)."""
        held = list(parts)
        return Sums(
            sum(part.impressions for part in held),
            math.fsum(part.predicted for part in held),
            math.fsum(part.observed for part in held),
            math.fsum(part.squares for part in held),
            math.fsum(part.loss for part in held),
            sum(part.above for part in held),
        )

    def log_loss(self) -> float | Undefined:
        """Log loss, in nats. Undefined without impressions, or if a prediction exceeds 1."""
        return self._no_loss() or self.loss / self.impressions

    def brier(self) -> float | Undefined:
        """Brier score: the mean of (p - y)^2. Undefined as `log_loss`."""
        return self._no_loss() or self.squares / self.impressions

    def pcoc(self) -> float | Undefined:
        """Predicted over observed: sum of p / sum of y. Undefined without positives."""
        if not self.observed:
            return Undefined(f"no positives among {self.impressions:,} impressions")
        return self.predicted / self.observed

    def _no_loss(self) -> Undefined | None:
        if not self.impressions:
            return Undefined("no impressions")
        if self.above:
            return Undefined(f"{self.above:,} of {self.impressions:,} predictions exceed 1")
        return None


def _real(values: np.ndarray) -> np.ndarray:
    return values if values.dtype == np.float32 else values.astype(np.float64, copy=False)


def _label(values: np.ndarray) -> np.ndarray:
    return _real(values) if values.dtype.kind == "f" else values.astype(bool, copy=False)


def log_loss(p: Chunks, label: Chunks) -> float | Undefined:
    """Mean of -(y log p + (1 - y) log(1 - p)), in nats. Infinite if a p is 0 or 1 and the label is the opposite.

    Shape and Raises: as `Sums.of`. Undefined if a prediction exceeds 1 (DIVISION's pCVR, Eq. 2).

    >>> log_loss(np.array([0.5, 0.5]), np.array([True, False]))
    0.6931471805599453
    """
    return Sums.of(p, label).log_loss()


def truth_log_loss(p: Chunks, true: Chunks) -> float | Undefined:
    """Mean of the expected log loss -(t log p + (1 - t) log(1 - p)) under true probabilities t; lowest if p = t.

    Shape: float (N,) each, or a list of chunks of each. In nats. Undefined and Raises: as `log_loss`.

    >>> truth_log_loss(np.array([0.0, 0.25]), np.array([0.0, 1.0]))  # (0 + log 4) / 2
    0.6931471805599453
    """
    return Sums.of(p, true).log_loss()


def pcoc(p: Chunks, label: Chunks) -> float | Undefined:
    """Predicted over observed: sum of predictions / sum of labels; 1 if calibrated on average.

    Shape and Raises: as `Sums.of`. Undefined without positives.

    >>> pcoc(np.array([0.5, 0.25]), np.array([True, False]))
    0.75
    """
    return Sums.of(p, label).pcoc()
