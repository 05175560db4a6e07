"""The weights of a blend against calculations by hand, and a blend of a row with itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from entirespace.errors import RunError
from entirespace.methods import ESMM
from entirespace.rivals import BLEND, BlendWeights, LightGBM
from entirespace.rivals.blend import PRIOR, fit_weight, mixed
from entirespace.runs.outputs import Outputs


def scores(seed: int, n: int = 4000):
    """Two noisy views of a truth, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1.2, n)
    a, b = (expit(truth + s * rng.normal(size=n)).astype(np.float32) for s in (0.4, 0.8))
    return a, b, rng.random(n) < expit(truth)


def log_loss(p, label) -> float:
    return -np.sum(np.log(np.where(label, p, 1 - p.astype(np.float64))))


def test_the_weight_is_the_minimum_of_log_loss_and_prior():
    a, b, label = scores(0)

    def loss(w: float) -> float:
        p = expit(w * logit(a.astype(float)) + (1 - w) * logit(b.astype(float)))
        return log_loss(p, label) + PRIOR / 2 * (w - 0.5) ** 2

    found = fit_weight(a, b, label)
    assert 0.5 < found < 1
    assert found == pytest.approx(minimize_scalar(loss, bounds=(0, 1), method="bounded").x, abs=1e-4)
    assert fit_weight(b, a, label) == pytest.approx(1 - found, abs=1e-9)
    assert log_loss(mixed(a, b, found), label) < min(log_loss(a, label), log_loss(b, label))


def test_a_weight_by_hand():
    # one impression, not clicked; log odds 1 and 0. The slope is expit(w) + PRIOR (w - 1/2) with one click beside it
    # whose log odds are 0 in both: it does not depend on w. The root, by hand: w = .5 - expit(w) / 4.
    a, b = expit(np.array([1.0, 0.0])).astype(np.float32), np.full(2, 0.5, np.float32)
    found = fit_weight(a, b, np.array([False, True]))
    assert found == pytest.approx(0.5 - expit(found) / PRIOR, abs=1e-6)
    assert found == pytest.approx(0.35315, abs=1e-5)


def test_weights_stay_between_0_and_1_and_are_even_without_both_labels():
    right, wrong = np.tile(np.float32([0.9, 0.1]), 50), np.tile(np.float32([0.1, 0.9]), 50)
    label = np.tile([True, False], 50)
    assert (fit_weight(right, wrong, label), fit_weight(wrong, right, label)) == (1.0, 0.0)
    assert fit_weight(right, wrong, np.zeros(100, bool)) == 0.5
    assert fit_weight(right[:0], wrong[:0], label[:0]) == 0.5


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_blend_of_a_row_with_itself_is_that_row(weight: float):
    p = np.float32([0.0, 1e-30, 0.003, 0.5, 0.9999999, 1.0, 1.7])
    np.testing.assert_array_equal(mixed(p, p, weight), p)


def test_a_weight_of_one_or_zero_is_a_part_and_a_half_is_the_mean_of_log_odds():
    a, b, _ = scores(1, 100)
    np.testing.assert_allclose(mixed(a, b, 1.0), a, rtol=1e-6)
    np.testing.assert_allclose(mixed(a, b, 0.0), b, rtol=1e-6)
    np.testing.assert_allclose(logit(mixed(a, b, 0.5).astype(float)), (logit(a) + logit(b)) / 2, rtol=1e-4, atol=1e-5)
    assert np.isfinite(mixed(np.float32([0, 1, 2]), np.float32([1, 0, 0.5]), 0.5)).all()


def test_pctr_is_fitted_on_all_impressions_pcvr_on_clicked_ones_and_pctcvr_is_their_product():
    a, b, click = scores(2)
    c, d, outcome = scores(3)
    conversion = click & outcome
    first, second = Outputs({"pctr": a, "pcvr": c}, reference_pctr=a), Outputs({"pctr": b, "pcvr": d})
    weights = BlendWeights.fit(first, second, click, conversion)
    assert weights.ctr == fit_weight(a, b, click)
    assert weights.cvr == fit_weight(c[click], d[click], conversion[click])
    moved = c.copy()
    moved[~click] = 0.123
    assert BlendWeights.fit(Outputs({"pctr": a, "pcvr": moved}), second, click, conversion) == weights
    blend = weights.of(first, second)
    np.testing.assert_array_equal(blend.pctcvr, blend.pctr * blend.pcvr)
    np.testing.assert_array_equal(blend.tasks["ctcvr"], a * blend.pcvr)


def test_a_part_without_a_pctr_has_that_of_the_reference():
    a, b, _ = scores(4, 50)
    base, other = Outputs({"pcvr": a}, reference_pctr=b), Outputs({"pctr": a, "pcvr": b}, reference_pctr=b)
    np.testing.assert_array_equal(BlendWeights(0.25, 0.5).of(base, other).pctr, mixed(b, a, 0.25))
    with pytest.raises(RunError, match="each part of a blend must give pCTR"):
        BlendWeights(0.5, 0.5).of(Outputs({"pcvr": a}), other)


def test_a_blend_is_named_by_its_parts():
    blend = BLEND(ESMM(), BLEND(LightGBM(), ESMM(share_embedding=False)))
    assert blend.label == "BLEND(ESMM, BLEND(LightGBM, ESMM-NS))"
    assert blend == BLEND(ESMM(), BLEND(LightGBM(), ESMM(share_embedding=False)))
    assert blend.spec()["parts"][0]["name"] == "ESMM"
