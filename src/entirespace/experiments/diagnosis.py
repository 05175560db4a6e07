"""Where a method's probabilities are right and where not: what the report's pictures of one run are drawn from.

reliability   bins of equal mass: mean prediction, observed rate and its exact Poisson interval
histogram     how pCVR spreads over clicked and un-clicked impressions, on a logarithmic scale
segments      predicted over observed by decile of pCTR, and by the fields the user names
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics.calibration import count_interval, equal_mass_codes, sums_by_code
from ..metrics.metrics import Sums
from ..metrics.segments import Scores, Segments, by_pctr, measure_segments
from .protocol import Truths, plain

BINS = 10  # of a reliability diagram
A_DECADE = 4  # bins of a histogram
DECADES = 8  # below 1; what is smaller is in the lowest bin, what is above 1 in the highest
CHUNK = 1 << 20  # impressions


def diagnose(truths: Truths, scores: np.ndarray, fields: Sequence[Segments] = ()) -> dict[str, Any]:
    """The diagnosis of one run on one part, as plain values.

    Args:
        scores: pCVR, the CTCVR task's product and the pCTR in it. Shape: float32 (3, N).
        fields: further segments.
    """
    pcvr, pctcvr, pctr = (np.ascontiguousarray(row) for row in scores)
    y, z = truths.click, truths.conversion
    held = Scores(pctr, pcvr, pctcvr, y, z, truths.pcvr)
    segments = {s.by: measure_segments(s, held) for s in (by_pctr(pctr), *fields)}
    found: dict[str, Any] = {
        "reliability": {
            "ctr": reliability(pctr, y),
            "cvr": reliability(pcvr[y], z[y]),
            "ctcvr": reliability(pctcvr, z),
        },
        "histogram": {"clicked": histogram(pcvr[y]), "un-clicked": histogram(pcvr[~y])},
        "segments": segments,
    }
    return plain(found)


def reliability(p: np.ndarray, label: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """Bins of equal mass, the lowest first; level predictions share one, empty bins are left out.

    Shape: float32 (N,), bool (N,).

    >>> reliability(np.array([0.1, 0.3], np.float32), np.array([False, True]), bins=1)[0]["observed"]
    0.5
    """
    found = sums_by_code(equal_mass_codes(p, bins), p, label, count=bins)
    return [_bin(sums) for sums in found if sums.impressions]


def _bin(sums: Sums) -> dict[str, float]:
    low, high = (count / sums.impressions for count in count_interval(sums.observed))
    return {
        "impressions": sums.impressions,
        "predicted": sums.predicted / sums.impressions,
        "observed": sums.observed / sums.impressions,
        "low": low,
        "high": high,
    }


def histogram(p: np.ndarray) -> list[int]:
    """How many predictions are in each bin of `edges`. Shape: float32 (N,) -> (A_DECADE * DECADES,).

    >>> histogram(np.array([1.0, 0.9, 0.0], np.float32))[-1]
    2
    """
    counts = np.zeros(A_DECADE * DECADES, np.int64)
    for start in range(0, len(p), CHUNK):
        with np.errstate(divide="ignore"):
            place = np.log10(p[start : start + CHUNK].astype(np.float64)) + DECADES
        bins = np.clip(np.floor(A_DECADE * place), 0, len(counts) - 1).astype(np.int64)
        counts += np.bincount(bins, minlength=len(counts))
    return counts.tolist()


def edges() -> np.ndarray:
    """Where the bins of a histogram begin, and the last one ends. Shape: float64 (A_DECADE * DECADES + 1,)."""
    return 10.0 ** (np.arange(A_DECADE * DECADES + 1) / A_DECADE - DECADES)


def true_histogram(truths: Truths) -> Mapping[str, list[int]]:
    """The histogram of the true pCVR, where the log is simulated."""
    if truths.pcvr is None:
        return {}
    return {"clicked": histogram(truths.pcvr[truths.click]), "un-clicked": histogram(truths.pcvr[~truths.click])}
