"""Calibrators against scikit-learn, by hand and by simulation; and as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from entirespace.core.calibrators import (
    Isotonic,
    Platt,
    Sampling,
    Temperature,
    fit_calibrator,
    fit_platt,
    fit_temperature,
    from_dict,
    log_odds,
)


def sample(n: int = 20_000, seed: int = 0, power: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions, and labels drawn from another probability. Shape: float32 (n,), bool (n,)."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 5, n).astype(np.float32)
    return p, rng.random(n) < p**power + 0.01


def test_platt_is_logistic_regression_on_log_odds() -> None:
    p, y = sample()
    found = fit_platt(p, y, 0.0, 1.0)
    x = log_odds(p.astype(np.float64))[:, None]
    sk = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, y)
    assert found.slope == pytest.approx(sk.coef_[0, 0], rel=1e-5)
    assert found.intercept == pytest.approx(sk.intercept_[0], rel=1e-5)
    assert found(p) == pytest.approx(sk.predict_proba(x)[:, 1], rel=1e-5)


def test_temperature_by_hand() -> None:
    """Log odds of +-log 9, of which 3 of 4 are on the right side: the slope takes both to odds of 3, log 3 / log 9."""
    p, y = np.array([0.9, 0.9, 0.9, 0.1], np.float64), np.array([1, 1, 0, 0], bool)
    assert fit_temperature(p, y, 0.0, 1.0).slope == pytest.approx(0.5)
    # smoothed, a positive counts 3/4 and a negative 1/4: right are 3/4 + 3/4 + 1/4 + 3/4 of 4, 5/8
    found = fit_calibrator("temperature", p, y)
    assert found == Temperature(pytest.approx(np.log(5 / 3) / np.log(9)))
    assert found(np.array([0.9, 0.5, 0.1])) == pytest.approx([5 / 8, 1 / 2, 3 / 8])


def test_temperature_is_logistic_regression_without_an_intercept() -> None:
    p, y = sample()
    x = log_odds(p.astype(np.float64))[:, None]
    sk = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000, fit_intercept=False).fit(x, y)
    assert fit_temperature(p, y, 0.0, 1.0).slope == pytest.approx(sk.coef_[0, 0], rel=1e-5)


def test_temperature_undoes_a_factor_of_log_odds() -> None:
    rng = np.random.default_rng(3)
    true = rng.beta(1, 10, 300_000)
    p = (1 / (1 + (1 / true - 1) ** 0.5)).astype(np.float32)
    found = fit_calibrator("temperature", p, rng.random(len(true)) < true)
    assert isinstance(found, Temperature)
    assert found.slope == pytest.approx(2.0, abs=0.02)
    half = np.full(100, 0.5, np.float32)
    assert fit_calibrator("temperature", half, np.arange(100) < 10) == Temperature(1.0), "no slope moves 1/2"


def test_platts_smoothed_labels_are_the_least_of_its_loss() -> None:
    p, y = sample(500, 1)
    found = fit_calibrator("platt", p, y)
    assert isinstance(found, Platt)
    x, n = log_odds(p.astype(np.float64)), int(y.sum())
    t = np.where(y, (n + 1) / (n + 2), 1 / (len(y) - n + 2))
    best = minimize(lambda ab: (np.logaddexp(0, ab[0] * x + ab[1]) - t * (ab[0] * x + ab[1])).sum(), [1.0, 0.0])
    assert [found.slope, found.intercept] == pytest.approx(best.x, rel=1e-4, abs=1e-4)


def test_platt_undoes_a_change_of_log_odds() -> None:
    rng = np.random.default_rng(3)
    true = rng.beta(1, 10, 300_000)
    odds = 0.5 * np.log(true / (1 - true)) + 1.0
    p = (1 / (1 + np.exp(-odds))).astype(np.float32)
    found = fit_calibrator("platt", p, rng.random(len(true)) < true)
    assert isinstance(found, Platt)
    assert [found.slope, found.intercept] == pytest.approx([2.0, -2.0], abs=0.05)


NO_ORDER = [
    ([0.0, 1.0, 0.0, 1.0], [0, 1, 1, 0]),  # certain, and half of them wrong
    ([1e-30, 1e-38, 1e-6, 1e-45], [0, 1, 0, 0]),
    ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]),  # reversed
]


@pytest.mark.parametrize(
    ("kind", "p", "y"),
    [
        ("platt", [0.0, 1.0, 0.0, 1.0], [0, 1, 0, 0]),
        ("temperature", [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]),
        ("temperature", [0.3, 0.3, 0.3, 0.3], [0, 1, 0, 0]),
        ("temperature", [1e-45, 1e-38, 1e-6, 1e-30], [0, 0, 1, 0]),
        *(
            (kind, p, y)
            for kind in ("platt", "isotonic")
            for p, y in [
                ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]),  # separable: without smoothing the slope would be infinite
                ([0.3, 0.3, 0.3, 0.3], [0, 1, 0, 0]),  # one prediction for all
                ([1e-45, 1e-38, 1e-6, 1e-30], [0, 0, 1, 0]),
            ]
        ),
        *(("isotonic", p, y) for p, y in NO_ORDER),
    ],
)
def test_extreme_predictions(kind, p, y) -> None:
    p = np.array(p, np.float32)
    found = fit_calibrator(kind, p, np.array(y, bool))
    out = found(np.concatenate([p, np.array([0, 1], np.float32)]))
    assert np.isfinite(out).all()
    assert (out[:-2] > 0).all()
    assert (out[:-2] < 1).all()


@pytest.mark.parametrize(("p", "y"), NO_ORDER)
def test_platt_never_reverses_the_order_of_predictions(p, y) -> None:
    with pytest.raises(ValueError, match=r"must keep the order of predictions, however: its slope is"):
        fit_calibrator("platt", np.array(p, np.float32), np.array(y, bool))


def test_temperature_never_reverses_the_order_of_predictions() -> None:
    p, y = (np.array(values, t) for values, t in ((NO_ORDER[2][0], np.float32), (NO_ORDER[2][1], bool)))
    with pytest.raises(ValueError, match=r"must keep the order of predictions, however: its slope is -"):
        fit_calibrator("temperature", p, y)


def test_one_prediction_becomes_the_base_rate() -> None:
    y = np.arange(1000) < 100
    for value in np.linspace(0.02, 0.98, 25):  # also where the mean of equal log odds is not exactly one of them
        p = np.full(1000, value, np.float32)
        for kind in ("platt", "isotonic"):
            assert fit_calibrator(kind, p, y)(p) == pytest.approx(0.1, rel=0.01)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_isotonic_is_scikit_learns(seed: int, digits: int) -> None:
    """On the smoothed labels; rounded predictions, so that many are level."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(60), digits).astype(np.float32)
    y = rng.random(60) < p
    if y.all() or not y.any():
        return
    n = int(y.sum())
    sk = IsotonicRegression(out_of_bounds="clip").fit(p.astype(np.float64), y)
    at = np.concatenate([p, rng.random(50).astype(np.float32), np.array([0, 1], np.float32)])
    low, high = 1 / (60 - n + 2), (n + 1) / (n + 2)
    assert fit_calibrator("isotonic", p, y)(at) == pytest.approx(low + (high - low) * sk.predict(at), abs=1e-6)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_calibrated_predictions_keep_their_order_and_their_mean(kind) -> None:
    p, y = sample()
    found = fit_calibrator(kind, p, y)
    out = found(p)
    assert out.dtype == np.float32
    assert (np.diff(out[np.argsort(p)]) >= 0).all()
    assert out.sum(dtype=np.float64) == pytest.approx(y.sum(), abs=2)


@pytest.mark.parametrize(
    "calibrator", [Temperature(0.75), Platt(1.25, -0.1), Isotonic((0.1, 0.30000001192092896), (0.0, 1 / 3))]
)
def test_json_and_back(calibrator) -> None:
    assert from_dict(json.loads(json.dumps(calibrator.as_dict()))) == calibrator


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes must occur, however: 0 positives of 3"):
        fit_calibrator("isotonic", np.ones(3, np.float32) / 2, np.zeros(3, bool))
    above = np.array([0.5, 1.5, 0.2], np.float32)
    with pytest.raises(ValueError, match="1 of 3 exceed 1"):
        fit_calibrator("platt", above, above > 0.4)
    with pytest.raises(ValueError, match="1 of 3 exceed 1"):
        fit_calibrator("temperature", above, above > 0.4)
    assert isinstance(fit_calibrator("isotonic", above, above > 0.4), Isotonic)


@pytest.mark.parametrize("kept", [0.01, 0.3, 1.0])
def test_sampling_is_undone_exactly(kept: float) -> None:
    """The pCTR of the sampled log is known in closed form; the correction takes it back to the full space."""
    true = np.array([1e-6, 0.004, 0.04, 0.5, 0.99])
    learned = (true / (true + (1 - true) * kept)).astype(np.float32)
    assert Sampling(kept)(learned) == pytest.approx(true, rel=1e-5 if kept < 1 else 1e-6, abs=0)
    assert Sampling(kept)(np.array([0, 1], np.float32)).tolist() == [0.0, 1.0]


def test_sampling_by_simulation() -> None:
    """Un-clicked impressions are thrown away; what is observed among the others, corrected, is the full space."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 1_000_000)
    pctr, pcvr, kept = np.array([0.02, 0.1, 0.3])[group], np.array([0.3, 0.1, 0.5])[group], 0.1
    click = rng.random(len(group)) < pctr
    conversion = click & (rng.random(len(group)) < pcvr)
    there = click | (rng.random(len(group)) < kept)
    for g in range(3):
        here = there & (group == g)
        learned = np.array([click[here].mean()], np.float32)
        corrected = Sampling(kept)(learned)[0]
        assert corrected == pytest.approx(click[group == g].mean(), rel=0.02)
        assert corrected * conversion[here & click].mean() == pytest.approx(conversion[group == g].mean(), rel=0.02)
