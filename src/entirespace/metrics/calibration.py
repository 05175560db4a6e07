"""Is a predicted probability the rate that is observed? In sums by bin: bins of equal mass, deciles, any segment.

    PCOC                 sum of p / sum of y ("predicted over observed"): 1 is calibrated in the mean
    ECE                  sum over bins |sum of p - sum of y| / impressions, over bins of equal mass
    normalised entropy   log loss / entropy of the mean label: 1 is what the base rate alone would cost (He et al. 2014)

Where the log kept un-clicked impressions at rate r, each of them stands for 1 / r, and all sums say so.
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

BINS = 50  # of the expected calibration error
LEVEL = 0.95


def equal_mass_codes(p: Chunks, bins: int = BINS) -> list[np.ndarray]:
    """The bin of each prediction, among bins of equal mass; level predictions share one.

    Shape: float32 (N,), bins at most 256 -> uint8, in pieces as `sums_by_code` takes them.

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
    """The sums of each code, 0 .. count - 1.

    Args:
        code: uint8, in the pieces of `equal_mass_codes` or `coded`.
        p, y: predictions float (N,), and labels bool (N,) or true probabilities float (N,).
        click: bool (N,); an un-clicked impression weighs `unclicked_weight`: 0 leaves it out. Absent: all weigh 1.

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
    for start in range(0, len(held), 256):  # a few hundred pieces' tables at a time
        found += np.sum(each(lambda i, start=start: add(start + i), min(256, len(held) - start)), axis=0)
    return [_sums(row) for row in found]


def _sums(row: np.ndarray) -> Sums:
    n, predicted, observed, squares, loss, above = row.tolist()
    # NOTE: impressions of the full space, weighed from a log that kept some, are no whole number
    return Sums(int(n) if n == int(n) else cast(int, n), predicted, observed, squares, loss, int(above))


def coded(code: np.ndarray) -> list[np.ndarray]:
    """Codes in pieces. Shape: uint8 (N,)."""
    return pieces(code=code)[0]


def expected_calibration_error(by_bin: Sequence[Sums]) -> float | Undefined:
    """ECE of sums by bin: the mean over impressions of |mean p - mean y| of their bin.

    >>> halves = [Sums(2, 0.2, 0.0, 0.0, 0.0, 0), Sums(2, 1.0, 2.0, 0.0, 0.0, 0)]
    >>> expected_calibration_error(halves)  # (0.2 + 1.0) / 4
    0.3
    """
    n = sum(s.impressions for s in by_bin)
    if not n:
        return Undefined("no impressions")
    return math.fsum(abs(s.predicted - s.observed) for s in by_bin) / n


def normalised_entropy(sums: Sums) -> float | Undefined:
    """Log loss over the entropy of the mean label. Undefined where a class is missing.

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
    """The exact interval of predicted over observed: predictions are given, the count of positives is Poisson's.
    Its upper end is Undefined where nothing was observed: no number is too high.

        2 predicted / chi2(1 - a/2; 2 n + 2)  ..  2 predicted / chi2(a/2; 2 n)      (Garwood 1936), a = 1 - level

    For n positives of rare events; where they are common it is on the wide side.

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
    """The exact interval of a Poisson count's mean (Garwood 1936).

    >>> [round(end, 4) for end in count_interval(0)]
    [0.0, 3.6889]
    """
    return poisson_interval(observed, level)


def chance(sums: Sums) -> float:
    """The p value of the observed count, were the predictions its mean: exact Poisson, two-sided (twice the tail).

    It is below 1 - level just where `pcoc_interval` leaves 1 out.
    """
    return poisson_p_value(sums.observed, sums.predicted)


@dataclass(frozen=True)
class Calibration:
    """How far predictions are from what was observed, overall."""

    sums: Sums
    ece: float | Undefined

    @staticmethod
    def of(
        p: Chunks, y: Chunks, click: Chunks | None = None, unclicked_weight: float = 1.0, bins: int = BINS
    ) -> Calibration:
        """One sort into bins, and one pass. Shape: float (N,), bool (N,), bool (N,); or a list of chunks of each.

        Raises: ValueError as `sums_by_code`.

        >>> found = Calibration.of(np.array([0.1, 0.4], np.float32), np.array([False, True]), bins=2)
        >>> round(found.ece, 6), round(found.sums.brier(), 6)  # (0.1 + 0.6) / 2, (0.01 + 0.36) / 2
        (0.35, 0.185)
        """
        by_bin = sums_by_code(equal_mass_codes(p, bins), p, y, click, unclicked_weight, count=bins)
        return Calibration(Sums.total(by_bin), expected_calibration_error(by_bin))

    def as_dict(self) -> dict[str, float | Undefined]:
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
