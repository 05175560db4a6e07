"""Losses, ratios and rank correlation against hand-worked numbers, scikit-learn and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from entirespace.kernels.ranks import mean_ranks
from entirespace.metrics import pieces
from entirespace.metrics.correlation import rank_correlation
from entirespace.metrics.losses import Sums, log_loss, pcoc, truth_log_loss
from entirespace.metrics.values import Undefined

NONE = np.zeros(0, np.float32)


def test_log_loss_by_hand() -> None:
    """-(log 0.25 + log(1 - 0.5) + log(1 - 0.2)) / 3"""
    p, label = np.array([0.25, 0.5, 0.2]), np.array([True, False, False])
    assert log_loss(p, label) == pytest.approx((math.log(4) + math.log(2) - math.log(0.8)) / 3, rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_is_scikit_learns(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 777)
    rng = np.random.default_rng(0)
    p = rng.random(10_000).astype(dtype) ** 3
    label = rng.random(10_000) < p
    assert log_loss(p, label) == pytest.approx(sklearn_log_loss(label, p.astype(np.float64)), rel=1e-12)
    assert truth_log_loss(p, label.astype(dtype)) == pytest.approx(log_loss(p, label), rel=1e-12)


def test_float32_predictions_are_summed_in_float64() -> None:
    """p = 2e-4 as float32: log(1 - p) has lost no digits, and a million of them add up."""
    p = np.full(1_000_000, 2e-4, np.float32)
    assert log_loss(p, np.zeros(1_000_000, bool)) == pytest.approx(-math.log1p(-float(p[0])), rel=1e-12)
    assert pcoc(p, np.arange(1_000_000) < 200) == pytest.approx(float(p[0]) / 2e-4, rel=1e-12)


@pytest.mark.parametrize("wrong", [(0.0, True), (1.0, False)])
def test_certain_and_wrong_is_infinite(wrong: tuple[float, bool]) -> None:
    p, label = np.array([0.5, wrong[0]], np.float32), np.array([True, wrong[1]])
    assert log_loss(p, label) == math.inf
    assert truth_log_loss(p, label.astype(np.float32)) == math.inf


def test_certain_and_right_costs_nothing() -> None:
    p, label = np.array([0.0, 1.0], np.float32), np.array([False, True])
    assert log_loss(p, label) == 0
    assert truth_log_loss(p, label.astype(np.float32)) == 0


def test_truth_log_loss_is_least_at_the_truth() -> None:
    true = np.array([0.1, 0.02, 0.7])
    least = truth_log_loss(true, true)
    assert least == pytest.approx(-(true * np.log(true) + (1 - true) * np.log(1 - true)).mean())
    for factor in (0.9, 1.1):
        assert truth_log_loss(true * factor, true) > least  # pyright: ignore[reportOperatorIssue]


def test_division_above_one_has_no_loss() -> None:
    p = np.array([0.5, 1.5, 2.0], np.float32)
    reason = Undefined("2 of 3 predictions exceed 1")
    assert log_loss(p, np.array([True, True, False])) == reason
    assert truth_log_loss(p, np.array([0.5, 0.5, 0.5])) == reason
    assert pcoc(p, np.array([True, True, False])) == 2.0  # the ratio is still one


def test_pcoc_by_hand() -> None:
    assert pcoc(np.array([0.5, 0.75, 0.25]), np.array([True, False, True])) == 0.75
    assert pcoc(np.array([0.5]), np.array([False])) == Undefined("no positives among 1 impressions")


def test_nothing_to_measure() -> None:
    assert log_loss(NONE, NONE.astype(bool)) == Undefined("no impressions")
    assert truth_log_loss(NONE, NONE) == Undefined("no impressions")
    assert pcoc(NONE, NONE.astype(bool)) == Undefined("no positives among 0 impressions")
    assert rank_correlation(NONE, NONE) == Undefined("0 impressions cannot be ranked")
    assert rank_correlation(np.ones(1), np.ones(1)) == Undefined("1 impressions cannot be ranked")
    assert rank_correlation(np.ones(3), np.arange(3.0)) == Undefined("all values are equal")


def test_what_is_no_probability_is_refused() -> None:
    nan, label = np.array([0.5, np.nan]), np.array([True, False])
    for measure in (log_loss, truth_log_loss, pcoc, rank_correlation):
        with pytest.raises(ValueError, match="1 of 2 are NaN"):
            measure(nan, label.astype(float) if measure in (truth_log_loss, rank_correlation) else label)
    with pytest.raises(ValueError, match="1 are not"):
        log_loss(np.array([0.5, -0.1]), label)
    with pytest.raises(ValueError, match="labels must be numbers"):
        truth_log_loss(np.array([0.5, 0.1]), nan)


def test_rank_correlation_by_hand() -> None:
    """Ranks 1 2 3 and 1 3 2: 1 - 6 (0 + 1 + 1) / (3 * 8)"""
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 15.0])) == 0.5
    assert rank_correlation(np.arange(9.0), -np.arange(9.0)) == -1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rank_correlation_is_scipys(dtype: type) -> None:
    rng = np.random.default_rng(0)
    a = rng.random(3000).astype(dtype)
    b = np.round(a + rng.random(3000), 1).astype(dtype)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b)[0], abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=3))
def test_sums_of_chunks_add_up(dtype: type, cuts: list[int]) -> None:
    rng = np.random.default_rng(1)
    p = rng.random(3000).astype(dtype) ** 3
    label = rng.random(3000) < p
    chunks = list(zip(np.split(p, sorted(cuts)), np.split(label, sorted(cuts)), strict=True))
    for sums in (Sums.total(Sums.of(*chunk) for chunk in chunks), Sums.of(*map(list, zip(*chunks, strict=True)))):
        assert (sums.impressions, sums.observed) == (3000, label.sum())
        assert sums.log_loss() == pytest.approx(log_loss(p, label), rel=1e-15)
        assert sums.pcoc() == pytest.approx(pcoc(p, label), rel=1e-15)
        assert sums.brier() == pytest.approx(brier_score_loss(label, p), rel=1e-7 if dtype == np.float32 else 1e-13)


def test_many_sums_lose_nothing() -> None:
    """Three million losses against their exact sum, rounded once."""
    p = np.random.default_rng(2).random(3_000_000, np.float32) * np.float32(0.04)
    label = np.zeros(len(p), bool)
    exact = math.fsum(-np.log1p(-p.astype(np.float64)).astype(np.float64)) / len(p)
    assert log_loss(p, label) == pytest.approx(exact, rel=1e-14)
    assert Sums.of(p, label).predicted == pytest.approx(math.fsum(p.astype(np.float64)), rel=1e-15)


def test_no_chunks_are_no_impressions() -> None:
    assert Sums.total([]) == Sums.of([], []) == Sums(0, 0.0, 0.0, 0.0, 0.0, 0)
    assert Sums.total([]).brier() == Undefined("no impressions")


VALUES = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 0.5])


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(0, 30), elements=VALUES))
def test_mean_ranks_are_scipys(values: np.ndarray) -> None:
    assert mean_ranks(values).tolist() == rankdata(values).tolist()
    assert mean_ranks(values.astype(np.float64)).tolist() == rankdata(values).tolist()


def test_mean_ranks_of_many() -> None:
    """More than a piece, runs of level values across the threads' slices."""
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=50_000), np.round(rng.normal(size=50_000), 1), np.zeros(50_000)):
        values = values.astype(np.float32)
        assert (mean_ranks(values) == rankdata(values)).all()


def test_nan_is_counted_over_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 2)
    values = np.array([np.nan, 0, 1, 2, np.nan])
    with pytest.raises(ValueError, match="scores must be numbers, however: 2 of 5 are NaN"):
        pieces.refuse_nan(pieces.pieces(scores=values)[0], "scores")
    with pytest.raises(ValueError, match="predictions must be numbers, however: 2 of 5 are NaN"):
        log_loss(values, values > 0)


def test_undefined_says_why() -> None:
    why = Undefined("no conversions among 812 impressions")
    assert str(why) == "undefined: no conversions among 812 impressions"
    assert why.as_dict() == {"undefined": "no conversions among 812 impressions"}
