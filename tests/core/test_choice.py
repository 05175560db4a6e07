"""The rule that chooses a calibrator: on scores with a known distortion, on right ones, and where it cannot choose."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from entirespace.core.calibrators import ENOUGH, Platt, Temperature
from entirespace.core.choice import FOLDS, Choice, choose, folds


def drawn(seed: int, n: int = 5_000, rate: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Right log odds, and labels drawn from them. Shape: float64 (n,), bool (n,)."""
    rng = np.random.default_rng(seed)
    x = np.log(rate / (1 - rate)) + rng.normal(size=n)
    return x, rng.random(n) < 1 / (1 + np.exp(-x))


def p_of(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x))).astype(np.float32)


def chosen(x: np.ndarray, y: np.ndarray) -> tuple[Temperature | Platt | None, Choice]:
    return choose(p_of(x), y, folds(len(y)))


@pytest.mark.parametrize(("rate", "n", "draws"), [(0.1, 1_000, 100), (0.03, 8_000, 20)])
def test_right_scores_are_left_as_they_are(rate: float, n: int, draws: int) -> None:
    found = Counter(chosen(*drawn(seed, n, rate))[1].chosen for seed in range(draws))
    assert found["none"] >= 0.95 * draws, "about one in a hundred is calibrated by chance"


def test_a_known_distortion_is_found_and_undone() -> None:
    for seed in range(8):
        x, y = drawn(seed)
        steep, choice = chosen(1.6 * x, y)
        assert choice.chosen == "temperature"
        assert isinstance(steep, Temperature)
        assert steep.slope == pytest.approx(1 / 1.6, rel=0.1)
        assert choice.log_loss["temperature"] < choice.log_loss["none"]
        x, y = drawn(seed, 20_000)
        high, choice = chosen(1.6 * x + 2.5, y)
        assert choice.chosen == "platt"
        assert isinstance(high, Platt)
        assert [high.slope, high.intercept] == pytest.approx([1 / 1.6, -2.5 / 1.6], abs=0.15)
        assert choice.log_loss["platt"] < choice.log_loss["temperature"] < choice.log_loss["none"]


def test_the_log_loss_over_folds_is_that_of_impressions_that_were_not_fitted() -> None:
    """Against a slow way; and with labels that have nothing to do with the scores it is no lower than it was."""
    from entirespace.core.calibrators import fit_calibrator

    x, y = drawn(0, 600)
    p, fold = p_of(2 * x), folds(600)
    _, choice = choose(p, y, fold)
    total = 0.0
    for i in range(FOLDS):
        q = fit_calibrator("platt", p[fold != i], y[fold != i])(p[fold == i]).astype(float)
        total -= np.log(np.where(y[fold == i], q, 1 - q)).sum()
    assert choice.log_loss["platt"] == pytest.approx(total / 600, rel=1e-5)
    q = p.astype(float)
    assert choice.log_loss["none"] == pytest.approx(-np.log(np.where(y, q, 1 - q)).mean(), rel=1e-5)


def test_few_positives_choose_nothing() -> None:
    x, y = drawn(1, 3_000, 0.02)
    for count, kinds in ((0, []), (ENOUGH["temperature"] - 1, []), (ENOUGH["temperature"], ["temperature"])):
        few = np.zeros_like(y)
        few[np.flatnonzero(y)[:count]] = True
        for label, shown in ((few, 3 * x), (~few, -3 * x)):  # far off, but too few to say so
            calibrator, choice = chosen(shown, label)
            assert [kind for kind in choice.log_loss if kind != "none"] == kinds
            if not kinds:
                assert calibrator is None
                assert "needs 10 positives and 10 negatives" in str(choice)
    assert "needs 20 positives and 20 negatives" in choice.refused["platt"]
    empty = choose(np.zeros(0, np.float32), np.zeros(0, bool), folds(0))
    assert empty[0] is None
    assert str(empty[1]).startswith("0 positives of 0: ")


def test_ties_and_constant_scores() -> None:
    rng = np.random.default_rng(0)
    y = rng.random(4_000) < 0.1
    right, choice = choose(np.full(4_000, y.mean(), np.float32), y, folds(4_000))
    assert right is None, "the right constant"
    assert set(choice.log_loss) == {"none", "temperature", "platt"}
    high, choice = choose(np.full(4_000, 0.3, np.float32), y, folds(4_000))
    assert choice.chosen == "temperature"
    assert high is not None
    assert high(np.array([0.3], np.float32)) == pytest.approx(y.mean(), rel=0.01)
    half, choice = choose(np.full(4_000, 0.5, np.float32), y, folds(4_000))
    assert choice.chosen == "platt", "no temperature moves 1/2"
    assert half is not None
    assert half(np.array([0.5], np.float32)) == pytest.approx(y.mean(), rel=0.01)
    x, y = drawn(2)
    levels = np.round(x)  # ten distinct values
    assert chosen(2 * levels, y)[1].chosen != "none"
    certain = np.where(y, 1.0, 0.0).astype(np.float32)
    assert choose(certain, y, folds(len(y)))[0] is None, "certain and right"
    wrong = certain.copy()
    wrong[:500] = 1 - wrong[:500]
    found, choice = choose(wrong, y, folds(len(y)))
    assert found is not None
    assert choice.log_loss[choice.chosen] < choice.log_loss["none"]


def test_a_fold_without_positives_or_with_all_of_them() -> None:
    x, _ = drawn(3, 2_000)
    fold = folds(2_000)
    for where in (fold != 2, fold == 2):  # none in this fold; all in it, so the others have none
        label = np.zeros(2_000, bool)
        label[np.flatnonzero(where)[::10]] = True
        for shown in (label, ~label):
            calibrator, choice = chosen(x, shown)
            assert choice.positives == shown.sum()
            if where[fold == 2].all():
                assert calibrator is None
                assert "both classes must occur" in str(choice)


def test_what_has_no_log_odds_or_a_reversed_order_is_left_as_it_is() -> None:
    x, y = drawn(4)
    p = p_of(x)
    p[7] = 1.25  # DIVISION's pCVR
    calibrator, choice = choose(p, y, folds(len(y)))
    assert calibrator is None
    assert "1 of the predictions exceed 1" in str(choice)
    reversed_, choice = choose(p_of(0.5 - x), ~y, folds(len(y)))
    assert reversed_ is not None, "the labels are reversed, too"
    calibrator, choice = choose(p_of(2 - 2 * x), y, folds(len(y)))
    assert calibrator is None
    assert "must keep the order of predictions" in str(choice)


def test_folds_depend_on_the_position_only_and_are_even() -> None:
    fold = folds(10_000)
    assert (fold[:100] == folds(100)).all()
    assert np.bincount(fold) == pytest.approx(np.full(FOLDS, 2_000), rel=0.06)
    runs = np.bincount(fold[:-1] * FOLDS + fold[1:], minlength=FOLDS**2)
    assert runs == pytest.approx(np.full(FOLDS**2, 400), rel=0.2), "neighbours are in any two folds"
    x, y = drawn(5)
    order = np.argsort(~y, kind="stable")  # a log that is sorted by its labels
    assert chosen(1.6 * x[order], y[order])[1].chosen == "temperature"
    assert chosen(x[order], y[order])[1].chosen == "none"


def test_json_and_back() -> None:
    for x, y in (drawn(6), drawn(6, 60)):
        choice = chosen(2 * x, y)[1]
        assert Choice(**json.loads(json.dumps(choice.as_dict()))) == choice
