"""The diagnosis of one run: the data of the report's pictures that show where its probabilities are right.

reliability   bins with equal numbers of impressions: mean prediction, observed rate and its exact Poisson interval
histogram     the distribution of pCVR on clicked and on un-clicked impressions, on a logarithmic scale
segments      predicted over observed by decile of pCTR, and by the values of the fields that the user names
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
A_DECADE = 4  # bins of a histogram in each power of ten
DECADES = 8  # powers of ten, from 1e-8 to 1; smaller values are in the lowest bin, values above 1 in the highest
CHUNK = 1 << 20  # impressions that `histogram` reads at a time


def diagnose(truths: Truths, p: Probabilities, fields: Sequence[Segments] = ()) -> MethodDiagnosis:
    """The diagnosis of one run on one part.

    Args:
        p: the probabilities of the paper's tasks: "ctr", "cvr" and "ctcvr". Shape: float32 (N,) each.
        fields: segments in addition to the deciles of pCTR.

    Raises: ValueError for predictions that are NaN or negative.
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
    """Bins with equal numbers of impressions, the lowest predictions first; equal predictions are in the same bin.

    Empty bins are left out. Shape: p float32 (N,), label bool (N,).

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
    """The edges of a histogram's bins, the lowest first. Shape: float64 (A_DECADE * DECADES + 1,)."""
    return 10.0 ** (np.arange(A_DECADE * DECADES + 1) / A_DECADE - DECADES)


def true_histogram(truths: Truths) -> dict[str, list[int]]:
    """The histogram of the true pCVR; empty if the log does not give it."""
    if truths.pcvr is None:
        return {}
    return {"clicked": histogram(truths.pcvr[truths.click]), "un-clicked": histogram(truths.pcvr[~truths.click])}
