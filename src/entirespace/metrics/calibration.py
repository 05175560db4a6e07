"""Calibration: how close predicted probabilities are to observed rates, overall, in bins and in segments.

    PCOC                 sum of p / sum of y ("predicted over observed"): 1 if calibrated on average
    ECE                  sum over bins |sum of p - sum of y| / impressions, over bins with equal numbers of impressions
    normalised entropy   log loss / entropy of the mean label: 1 for predicting the base rate alone (He et al. 2014)

If the log kept only the share r of the un-clicked impressions, each of them counts 1 / r times in all sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from ..kernels.binned import bin_of, equal_mass, sums_by
from ..kernels.threads import each
from .distributions import poisson_interval, poisson_p_value
from .losses import Sums
from .pieces import Chunks, pieces, refuse_nan
from .values import Undefined

BINS = 50  # bins of the expected calibration error
LEVEL = 0.95


def equal_mass_codes(p: Chunks, bins: int = BINS) -> list[np.ndarray]:
    """The bin of each prediction, among bins with equal numbers of impressions; equal predictions share a bin.

    Shape: float (N,), rounded to float32; bins at most 256 -> uint8, in the pieces that `sums_by_code` takes.
    Raises: ValueError for a prediction that is NaN.

    >>> equal_mass_codes(np.array([0.1, 0.4, 0.2, 0.3], np.float32), bins=2)
    [array([0, 1, 0, 1], dtype=uint8)]
    """
    (held,) = pieces(p=p)
    refuse_nan(held, "predictions")
    held = [piece.astype(np.float32, copy=False) for piece in held]
    edges = equal_mass(held, bins)
    codes = [np.empty(len(piece), np.uint8) for piece in held]
    each(lambda i: bin_of(held[i], edges, codes[i]), len(held))
    return codes


def sums_by_code(
    code: Sequence[np.ndarray],
    p: Chunks,
    y: Chunks,
    click: Chunks | None = None,
    unclicked_weight: float = 1.0,
    *,
    count: int,
) -> list[Sums]:
    """The sums of the impressions of each code, 0 .. count - 1.

    Args:
        code: uint8 (N,), in the pieces of `equal_mass_codes` or `coded`.
        p, y: predictions float (N,), and labels bool (N,) or true probabilities float (N,).
        click: bool (N,). An un-clicked impression weighs `unclicked_weight`; 0 leaves it out. Absent: all weigh 1.

    Raises: ValueError for predictions that are NaN or negative, or columns of different lengths.
    """
    held, truth, clicked = pieces(predictions=p, labels=y, clicks=y if click is None else click)
    refuse_nan(held, "predictions")
    if any(len(piece) and piece.min() < 0 for piece in held):
        raise ValueError("predictions must be at least 0, however: some are not")

    def add(i: int) -> np.ndarray:
        found = np.zeros((count, 6))
        weight = 1.0 if click is None else unclicked_weight
        sums_by(code[i], held[i], truth[i], clicked[i].astype(bool, copy=False), weight, found)
        return found

    found = np.zeros((count, 6))
    for start in range(0, len(held), 256):  # keep the tables of at most 256 pieces in memory at a time
        found += np.sum(each(lambda i, start=start: add(start + i), min(256, len(held) - start)), axis=0)
    return [_sums(row) for row in found]


def _sums(row: np.ndarray) -> Sums:
    n, predicted, observed, squares, loss, above = row.tolist()
    # NOTE: if un-clicked impressions weigh 1 / r, the number of impressions need not be a whole number
    return Sums(int(n) if n == int(n) else cast(int, n), predicted, observed, squares, loss, int(above))


def coded(code: np.ndarray) -> list[np.ndarray]:
    """Codes, cut into the pieces that `sums_by_code` takes. Shape: uint8 (N,)."""
    return pieces(code=code)[0]


def expected_calibration_error(by_bin: Sequence[Sums]) -> float | Undefined:
    """ECE: |mean p - mean y| of each bin, averaged over impressions. Undefined without impressions.

    >>> halves = [Sums(2, 0.2, 0.0, 0.0, 0.0, 0), Sums(2, 1.0, 2.0, 0.0, 0.0, 0)]
    >>> expected_calibration_error(halves)  # (0.2 + 1.0) / 4
    0.3
    """
    n = sum(s.impressions for s in by_bin)
    if not n:
        return Undefined("no impressions")
    return math.fsum(abs(s.predicted - s.observed) for s in by_bin) / n


def normalised_entropy(sums: Sums) -> float | Undefined:
    """Log loss / entropy of the mean label. Undefined without positives or negatives, or if a prediction exceeds 1.

    >>> round(normalised_entropy(Sums(4, 1.0, 1.0, 0.75, 4 * 0.5623351446188083, 0)), 12)
    1.0
    """
    loss = sums.log_loss()
    if isinstance(loss, Undefined):
        return loss
    if not 0 < sums.observed < sums.impressions:
        missing = "negatives" if sums.observed else "positives"
        return Undefined(f"no {missing} among {sums.impressions:,.0f} impressions")
    rate = sums.observed / sums.impressions
    return loss / -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))


def pcoc_interval(sums: Sums, level: float = LEVEL) -> tuple[float | Undefined, float | Undefined]:
    """The exact interval of predicted over observed, if the number n of positives is a Poisson count.

        2 predicted / chi2(1 - a/2; 2 n + 2)  ..  2 predicted / chi2(a/2; 2 n)      (Garwood 1936), a = 1 - level

    Its upper end is Undefined if n = 0, both ends without impressions. It suits rare events; for common events it is
    too wide.

    >>> low, high = pcoc_interval(Sums(100, 10.0, 10.0, 0.0, 0.0, 0))
    >>> round(low, 4), round(high, 4)
    (0.5438, 2.0853)
    """
    if not sums.impressions:
        return Undefined("no impressions"), Undefined("no impressions")
    least, most = count_interval(sums.observed, level)
    if not least:
        return sums.predicted / most, Undefined(f"no positives among {sums.impressions:,.0f} impressions")
    return sums.predicted / most, sums.predicted / least


def count_interval(observed: float, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of the mean of a Poisson count (Garwood 1936).

    >>> [round(end, 4) for end in count_interval(0)]
    [0.0, 3.6889]
    """
    return poisson_interval(observed, level)


def chance(sums: Sums) -> float:
    """The p value of the exact Poisson test that the number of positives has the sum of predictions as its mean.

    Two-sided: twice the smaller tail. It is below 1 - level exactly if 1 is outside `pcoc_interval`.
    """
    return poisson_p_value(sums.observed, sums.predicted)


@dataclass(frozen=True)
class Calibration:
    """The calibration of all impressions together: their sums, and the expected calibration error."""

    sums: Sums
    ece: float | Undefined

    @staticmethod
    def of(
        p: Chunks, y: Chunks, click: Chunks | None = None, unclicked_weight: float = 1.0, bins: int = BINS
    ) -> Calibration:
        """Measure the calibration of predictions. `click` and `unclicked_weight`: as in `sums_by_code`.

        Shape: p float (N,), y bool (N,), click bool (N,); or a list of chunks of each.
        Raises: ValueError as `sums_by_code`.

        >>> found = Calibration.of(np.array([0.1, 0.4], np.float32), np.array([False, True]), bins=2)
        >>> round(found.ece, 6), round(found.sums.brier(), 6)  # (0.1 + 0.6) / 2, (0.01 + 0.36) / 2
        (0.35, 0.185)
        """
        by_bin = sums_by_code(equal_mass_codes(p, bins), p, y, click, unclicked_weight, count=bins)
        return Calibration(Sums.total(by_bin), expected_calibration_error(by_bin))

    def as_dict(self) -> dict[str, float | Undefined]:
        """The metrics by the names of `metrics.evaluation.TaskMetrics`. Log loss is in nats."""
        low, high = pcoc_interval(self.sums)
        return {
            "log_loss": self.sums.log_loss(),
            "brier": self.sums.brier(),
            "normalised_entropy": normalised_entropy(self.sums),
            "ece": self.ece,
            "pcoc": self.sums.pcoc(),
            "pcoc_low": low,
            "pcoc_high": high,
        }
