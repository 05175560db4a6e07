"""Calibration metrics against plain references, scikit-learn and scipy; segments, planted and found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson
from sklearn.metrics import brier_score_loss, log_loss

from entirespace.kernels import binned
from entirespace.metrics import pieces
from entirespace.metrics.calibration import (
    Calibration,
    chance,
    coded,
    equal_mass_codes,
    expected_calibration_error,
    normalised_entropy,
    pcoc_interval,
    sums_by_code,
)
from entirespace.metrics.evaluation import Probabilities, Truths
from entirespace.metrics.losses import Sums
from entirespace.metrics.segments import Segments, by_field, by_pctr, measure_segments
from entirespace.metrics.values import Undefined
from entirespace.reports.evaluation import segments_text, sentences


def slow_bins(p: np.ndarray, bins: int) -> np.ndarray:
    """Edges are the values at place i N / bins in order; level values go together into the upper bin."""
    edges = np.unique(np.sort(p)[np.arange(1, bins) * len(p) // bins])
    return np.searchsorted(edges, p, side="right")


def slow_ece(p: np.ndarray, y: np.ndarray, bins: int) -> float:
    code = slow_bins(p, bins)
    return sum(abs(p[code == b].mean(dtype=float) - y[code == b].mean()) * (code == b).mean() for b in np.unique(code))


@pytest.mark.parametrize("bins", [1, 2, 10, 50, 100])
@pytest.mark.parametrize("digits", [1, 3, None])
def test_bins_of_equal_mass(bins: int, digits: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 777)
    p = np.random.default_rng(0).random(10_000).astype(np.float32) ** 4
    p = p if digits is None else np.round(p, digits)
    found = np.concatenate(equal_mass_codes(p, bins))
    assert (found == slow_bins(p, bins)).all()
    if digits is None:
        assert np.bincount(found, minlength=bins).max() <= -(-len(p) // bins)


@settings(deadline=None)
@given(st.lists(st.floats(-2, 2, width=32) | st.sampled_from([0.0, -0.0, 1e-45, 1.0]), max_size=40), st.integers(1, 50))
def test_bins_of_extreme_values(values: list[float], bins: int) -> None:
    p = np.array(values, np.float32)
    found = np.concatenate([*equal_mass_codes(p, bins), np.zeros(0, np.uint8)])
    assert (found == (slow_bins(p, bins) if len(p) else [])).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 0.04, 2e-4])
def test_metrics_are_scikit_learns(dtype: type, scale: float) -> None:
    rng = np.random.default_rng(1)
    p = ((scale * rng.random(50_000)) ** 1.5).astype(dtype)
    y = rng.random(len(p)) < 1.3 * p
    y[:2] = True, False
    found = Calibration.of(p, y).as_dict()
    q = p.astype(np.float64)
    rate = y.mean()
    assert found["log_loss"] == pytest.approx(log_loss(y, q), rel=1e-9)
    assert found["brier"] == pytest.approx(brier_score_loss(y, q), rel=1e-9)
    assert found["pcoc"] == pytest.approx(q.sum() / y.sum(), rel=1e-9)
    assert found["ece"] == pytest.approx(slow_ece(p, y, 50), rel=1e-6)
    assert found["normalised_entropy"] == pytest.approx(log_loss(y, q) / log_loss(y, np.full(len(y), rate)), rel=1e-9)


def test_chunks_are_the_whole() -> None:
    rng = np.random.default_rng(2)
    p, click = rng.random(3000).astype(np.float32), rng.random(3000) < 0.3
    y = click & (rng.random(3000) < 0.5)
    cut = lambda column: np.split(column, [7, 1000])  # noqa: E731
    whole, parts = Calibration.of(p, y, click, 3.0), Calibration.of(cut(p), cut(y), cut(click), 3.0)
    assert parts.as_dict() == pytest.approx(whole.as_dict(), rel=1e-12)


def test_an_unclicked_impression_stands_for_several() -> None:
    """A weight of 3 is the impression three times; a weight of 0 leaves it out."""
    rng = np.random.default_rng(2)
    p, click = rng.random(500).astype(np.float32), rng.random(500) < 0.3
    code = (p > 0.5).astype(np.uint8)
    for rest in (0, 3):
        again = np.repeat(np.arange(500), np.where(click, 1, rest))
        for found, slow in zip(
            sums_by_code(coded(code), p, click, click, float(rest), count=2),
            sums_by_code(coded(code[again]), p[again], click[again], count=2),
            strict=True,
        ):
            assert vars(found) == pytest.approx(vars(slow), rel=1e-12)


def test_certain_and_wrong_is_infinite_and_division_has_no_loss() -> None:
    y = np.array([True, False])
    assert Calibration.of(np.array([0.0, 0.5], np.float32), y).sums.log_loss() == np.inf
    found = Calibration.of(np.array([1.5, 0.5], np.float32), y).as_dict()
    assert found["brier"] == Undefined("1 of 2 predictions exceed 1") == found["normalised_entropy"]
    assert found["pcoc"] == 2.0
    assert found["ece"] == 0.5


def test_nothing_to_measure_says_why() -> None:
    found = Calibration.of(np.zeros(0, np.float32), np.zeros(0, bool)).as_dict()
    assert all(isinstance(value, Undefined) for value in found.values())
    none = Calibration.of(np.full(4, 0.5, np.float32), np.zeros(4, bool)).as_dict()
    assert (
        none["pcoc"] == none["pcoc_high"] == none["normalised_entropy"] == Undefined("no positives among 4 impressions")
    )
    assert none["pcoc_low"] == pytest.approx(2 / -np.log(0.025))  # P(none) = exp(-3.689) is the tail
    assert expected_calibration_error([]) == Undefined("no impressions")
    assert normalised_entropy(Sums(2, 1.0, 2.0, 0.0, 1.0, 0)) == Undefined("no negatives among 2 impressions")
    for bad, words in ((np.nan, "NaN"), (-0.5, "at least 0")):
        with pytest.raises(ValueError, match=words):
            Calibration.of(np.array([bad, 0.5], np.float32), np.array([True, False]))


@pytest.mark.parametrize("n", [0, 1, 17, 1000])
def test_the_interval_is_exact(n: int) -> None:
    """At its ends the observed count, or one farther out, has a chance of 2.5 %."""
    sums = Sums(10**6, 50.0, float(n), 0.0, 0.0, 0)
    low, high = pcoc_interval(sums)
    assert isinstance(low, float)
    assert poisson.cdf(n, 50 / low) == pytest.approx(0.025)
    if n:
        assert isinstance(high, float)
        assert poisson.sf(n - 1, 50 / high) == pytest.approx(0.025)
    high = high if isinstance(high, float) else np.inf
    assert (low <= 1 <= high) == (chance(sums) >= 0.05)


def test_the_interval_covers() -> None:
    """Of a thousand calibrated logs, about 95 % (and by exactness not fewer) have 1 in it."""
    rng = np.random.default_rng(0)
    found = [pcoc_interval(Sums(10**6, 30.0, float(n), 0.0, 0.0, 0)) for n in rng.poisson(30, 1000)]
    assert 0.94 < np.mean([low <= 1 <= high for low, high in found]) < 0.985  # pyright: ignore[reportOperatorIssue]


def world(n: int = 200_000) -> tuple[Probabilities, Truths, np.ndarray]:
    """A calibrated world with five tabs."""
    rng = np.random.default_rng(0)
    tab = rng.integers(0, 5, n).astype(np.uint8)
    pctr = rng.beta(2, 8, n).astype(np.float32)
    pcvr = rng.beta(2, 8, n).astype(np.float32)
    click = rng.random(n) < pctr
    truths = Truths(click, click & (rng.random(n) < pcvr), None, pcvr)
    return {"ctr": pctr, "cvr": pcvr, "ctcvr": pctr * pcvr}, truths, tab


def segments(tab: np.ndarray) -> Segments:
    return Segments("tab", ("0", "1", "2", "3", "4"), coded(tab))


def test_a_calibrated_world_has_no_miscalibrated_segment() -> None:
    p, truths, tab = world()
    lines = measure_segments(segments(tab), p, truths)
    assert sentences("tab", lines) == []
    assert sum(line.impressions for line in lines) == len(tab)
    assert sum(line.conversions or 0 for line in lines) == truths.conversion.sum()
    assert "no segment differs from 1" in segments_text("tab", lines)
    assert len(measure_segments(by_pctr(p["ctr"]), p, truths)) == 10


def test_a_planted_miscalibration_is_found_and_named() -> None:
    p, truths, tab = world()
    planted = np.where(tab == 2, np.float32(1.5), np.float32(1)) * p["ctcvr"]
    lines = measure_segments(segments(tab), {**p, "ctcvr": planted}, truths)
    (told,) = sentences("tab", lines)
    found = lines[2].tasks["ctcvr"]
    low, high, pcoc = found.pcoc_low, found.pcoc_high, found.pcoc
    assert low < 1.5 < high  # pyright: ignore[reportOperatorIssue]
    assert told == (f"segment tab=2: CTCVR is predicted {pcoc:.2f} times too high (interval {low:.2f}-{high:.2f})")
    assert told in segments_text("tab", lines)
    halved = np.where(tab == 4, np.float32(0.5), np.float32(1)) * p["ctr"]
    told = sentences("tab", measure_segments(segments(tab), {**p, "ctr": halved}, truths))
    assert len(told) == 1
    assert told[0].startswith("segment tab=4: CTR is predicted too low, 0.5")


def test_segments_are_plain_sums_over_their_impressions() -> None:
    p, truths, tab = world(5000)
    lines = measure_segments(segments(tab), p, truths)
    here, y, z, pcvr = tab == 3, truths.click, truths.conversion, p["cvr"]
    tasks = lines[3].tasks
    assert tasks["ctr"].pcoc == pytest.approx(p["ctr"][here].sum(dtype=float) / y[here].sum())
    assert tasks["cvr"].pcoc == pytest.approx(pcvr[here & y].sum(dtype=float) / z[here & y].sum())
    assert tasks["ctcvr"].mean == pytest.approx(p["ctcvr"][here].mean(dtype=float))
    twice = measure_segments(segments(tab), {**p, "cvr": 2 * pcvr}, truths)[3].truth
    assert [twice[where].pcoc for where in ("clicked", "un-clicked", "all")] == pytest.approx([2, 2, 2])
    assert twice["un-clicked"].true_mean == pytest.approx(pcvr[here & ~y].mean(dtype=float))


@pytest.mark.parametrize(
    "field", ["scenario", "age", "shop"]
)  # of the impressions, of a side table, and of many values
def test_a_fields_values_have_their_names(dataset, field) -> None:
    """The vocabulary knows how many training impressions have each raw id."""
    found = by_field(dataset.train, field)
    counts = np.bincount(np.concatenate(found.code), minlength=len(found.names)).tolist()
    vocabulary = dict(zip(*(dataset.vocabulary(field)[c].to_pylist() for c in ("id", "count")), strict=True))
    named = {name: n for name, n in zip(found.names, counts, strict=True) if name in vocabulary}
    assert named == {name: vocabulary[name] for name in named}
    assert list(named) == list(vocabulary)[: len(named)]
    assert len(named) >= min(len(vocabulary), 18)
    assert sum(counts) == len(dataset.train)
    if len(vocabulary) > 20:
        assert found.names[-1].startswith("the other ")


def test_edges_of_few_values_are_those_of_the_counts(monkeypatch) -> None:
    """Few values are sorted instead of counted; the edges are the same, to the bit."""
    rng = np.random.default_rng(0)
    columns = [
        [rng.random(1000, np.float32), rng.random(77, np.float32) ** 9],
        [np.array([-1.5, -0.0, 0.0, 2e-45, 3.0, np.inf, 0.5], np.float32)],
        [np.full(10, 0.25, np.float32)],
    ]
    for column in columns:
        for bins in (1, 2, 10, 100):
            few = binned.equal_mass(column, bins)
            with monkeypatch.context() as patch:
                patch.setattr(binned, "FEW", 0)
                counted = binned.equal_mass(column, bins)
            assert few.tobytes() == counted.tobytes()
