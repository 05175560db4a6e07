"""Where a method's probabilities are right and where not: what the report's pictures of one run are drawn from.

reliability   bins of equal mass: mean prediction, observed rate and its exact Poisson interval
histogram     how pCVR spreads over clicked and un-clicked impressions, on a logarithmic scale
segments      predicted over observed by decile of pCTR, and by the fields the user names
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..metrics.calibration import count_interval, equal_mass_codes, sums_by_code
from ..metrics.evaluation import Probabilities, Truths
from ..metrics.losses import Sums
from ..metrics.segments import Segments, by_pctr, measure_segments
from ..reports.comparison import Bin, MethodDiagnosis

BINS = 10  # of a reliability diagram
A_DECADE = 4  # bins of a histogram
DECADES = 8  # below 1; what is smaller is in the lowest bin, what is above 1 in the highest
CHUNK = 1 << 20  # impressions


def diagnose(truths: Truths, p: Probabilities, fields: Sequence[Segments] = ()) -> MethodDiagnosis:
    """The diagnosis of one run on one part.

    Args:
        p: "ctr", "cvr" and "ctcvr" of the paper's tasks.
        fields: further segments.
    """
    pctr, pcvr, pctcvr = p["ctr"], p["cvr"], p["ctcvr"]
    y, z = truths.click, truths.conversion
    return MethodDiagnosis(
        reliability={
            "ctr": reliability(pctr, y),
            "cvr": reliability(pcvr[y], z[y]),
            "ctcvr": reliability(pctcvr, z),
        },
        histogram={"clicked": histogram(pcvr[y]), "un-clicked": histogram(pcvr[~y])},
        segments={s.by: measure_segments(s, p, truths) for s in (by_pctr(pctr), *fields)},
    )


def reliability(p: np.ndarray, label: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Bins of equal mass, the lowest first; level predictions share one, empty bins are left out.

    Shape: float32 (N,), bool (N,).

    >>> reliability(np.array([0.1, 0.3], np.float32), np.array([False, True]), bins=1)[0].observed
    0.5
    """
    found = sums_by_code(equal_mass_codes(p, bins), p, label, count=bins)
    return [_bin(sums) for sums in found if sums.impressions]


def _bin(sums: Sums) -> Bin:
    low, high = (count / sums.impressions for count in count_interval(sums.observed))
    return Bin(
        impressions=sums.impressions,
        predicted=sums.predicted / sums.impressions,
        observed=sums.observed / sums.impressions,
        low=low,
        high=high,
    )


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


def true_histogram(truths: Truths) -> dict[str, list[int]]:
    """The histogram of the true pCVR, where the log is simulated."""
    if truths.pcvr is None:
        return {}
    return {"clicked": histogram(truths.pcvr[truths.click]), "un-clicked": histogram(truths.pcvr[~truths.click])}
