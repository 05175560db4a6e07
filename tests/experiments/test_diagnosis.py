"""The diagnosis against a slow and simple one; an injected miscalibration is reported."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from entirespace.experiments.diagnosis import diagnose, edges, histogram, reliability
from entirespace.metrics.calibration import coded, count_interval
from entirespace.metrics.evaluation import Probabilities, Truths
from entirespace.metrics.segments import DECILE, Segments
from entirespace.reports.comparison import Comparison, Diagnosis
from entirespace.reports.diagnosis import details
from entirespace.reports.sections import text


def world(n: int = 200_000, seed: int = 0) -> tuple[Truths, Probabilities]:
    """A log with known, true pCTR and pCVR. Shape: float32 (n,)."""
    rng = np.random.default_rng(seed)
    pctr = rng.beta(2, 10, n).astype(np.float32)
    pcvr = rng.beta(2, 8, n).astype(np.float32)
    click = rng.random(n) < pctr
    conversion = click & (rng.random(n) < pcvr)
    return Truths(click, conversion, None, pcvr), {"ctr": pctr, "cvr": pcvr, "ctcvr": pctr * pcvr}


def test_bins_of_reliability_are_those_of_a_sort():
    rng = np.random.default_rng(1)
    p = rng.permutation(np.arange(1, 1001)).astype(np.float32) / 1001
    label = rng.random(1000) < p
    order = np.argsort(p)
    found = reliability(p, label, bins=4)
    for quarter, bin_ in zip(np.split(order, 4), found, strict=True):
        assert bin_.impressions == 250
        assert bin_.predicted == pytest.approx(p[quarter].mean(), rel=1e-6)
        assert bin_.observed == label[quarter].mean()
        assert bin_.low <= bin_.observed <= bin_.high


def test_the_interval_of_a_count_has_the_right_tails():
    for count in (0, 1, 7, 300):
        low, high = count_interval(count)
        assert poisson.cdf(count, high) == pytest.approx(0.025)
        assert count == 0 == low or poisson.sf(count - 1, low) == pytest.approx(0.025)


def test_few_impressions_and_extreme_predictions():
    assert reliability(np.zeros(0, np.float32), np.zeros(0, bool)) == []
    (one,) = reliability(np.zeros(1, np.float32), np.ones(1, bool))
    assert (one.predicted, one.observed) == (0, 1)
    found = histogram(np.array([0, 1e-12, 1, 1.5], np.float32))  # DIVISION's pCVR may exceed 1
    assert (found[0], found[-1], sum(found)) == (2, 2, 4)
    assert sum(histogram(np.zeros(0, np.float32))) == 0


def test_a_histogram_counts_between_its_edges():
    p = np.random.default_rng(2).beta(1, 50, 5000).astype(np.float32)
    expected, _ = np.histogram(p.astype(np.float64), edges())
    assert histogram(p) == expected.tolist()


def test_true_probabilities_are_calibrated_in_every_decile():
    truths, scores = world()
    for line in diagnose(truths, scores).segments[DECILE]:
        assert line.truth["un-clicked"].pcoc == pytest.approx(1, abs=1e-6)
        assert not any(task.miscalibrated for task in line.tasks.values())


def test_an_injected_miscalibration_is_in_the_report():
    truths, scores = world()
    tab = np.random.default_rng(3).integers(0, 4, len(truths.click)).astype(np.uint8)
    factor = np.where(tab == 2, np.float32(1.5), np.float32(1))
    wrong = {task: p if task == "ctr" else factor * p for task, p in scores.items()}
    fields = [Segments("tab", ("a", "b", "c", "d"), coded(tab))]
    methods = {name: diagnose(truths, p, fields) for name, p in (("right", scores), ("wrong", wrong))}
    diagnosis = Diagnosis(seed=0, edges=edges().tolist(), truth={}, methods=methods)
    comparison = Comparison.model_construct(diagnosis=diagnosis, learning={})
    told = text([s for s in details(comparison) if s.key == "segments tab"])
    lines = [line for line in told.splitlines() if line.lstrip().startswith("wrong")]
    assert len(lines) == 2
    for task in ("CVR", "CTCVR"):
        assert sum(f"segment tab=c: {task} is predicted 1." in line and "times too high" in line for line in lines) == 1
    assert next(line for line in told.splitlines() if line.lstrip().startswith("right")).endswith(
        "no significant difference"
    )
