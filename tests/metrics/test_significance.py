"""The paired test against a hand-worked case and scipy; Holm's correction, and intervals, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from entirespace.metrics.significance import Difference, Interval, holm, logit_interval, paired, significant
from entirespace.metrics.values import Undefined


def test_by_hand() -> None:
    """Differences 2, 1, 3: mean 2, deviation 1, t = 2 sqrt 3; two degrees of freedom, p = 1 - t / sqrt(2 + t^2)."""
    found = paired([62, 66, 67], [60, 65, 64])
    assert (found.difference, found.std, found.n) == (2, 1, 3)
    assert found.t == pytest.approx(2 * math.sqrt(3))
    assert found.p_value == pytest.approx(1 - math.sqrt(12 / 14))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_is_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.66, 0.01, n), rng.normal(0.65, 0.01, n)
    found, expected = paired(list(a), list(b)), ttest_rel(a, b)
    assert found.t == pytest.approx(expected.statistic, rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    back = paired(list(b), list(a))
    assert back.p_value == pytest.approx(found.p_value, rel=1e-9)
    assert back.difference == -found.difference
    interval, theirs = found.interval(0.9), expected.confidence_interval(0.9)
    assert isinstance(interval, Interval)
    assert (interval.low, interval.high, interval.level) == pytest.approx((theirs.low, theirs.high, 0.9))


def test_one_seed_has_no_p_value() -> None:
    found = paired([0.7], [0.6])
    assert found.difference == pytest.approx(0.1)
    assert found.std is None
    assert found.t == found.p_value == found.interval() == Undefined("one seed has no standard deviation")


@pytest.mark.parametrize("shift", [0.0, 0.02, -0.1])
def test_equal_differences_have_no_p_value(shift: float) -> None:
    """0.62 - 0.60 and 0.66 - 0.64 differ by rounding alone, which must not become p = 1e-15."""
    b = [0.60, 0.64, 0.655, 0.7]
    found = paired([x + shift for x in b], b)
    assert found.difference == pytest.approx(shift)
    assert found.p_value == found.t == Undefined("the difference is the same for every seed")


@pytest.mark.parametrize(("a", "b"), [([], []), ([0.6, 0.7], [0.6])])
def test_values_without_a_partner_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="the same length"):
        paired(a, b)


def test_holm_by_hand() -> None:
    """0.01 x 4 = 0.04; 0.02 x 3 = 0.06; 0.022 x 2 = 0.044, but not less than 0.06; 0.5 x 1."""
    assert holm([0.5, 0.022, 0.01, 0.02]) == pytest.approx([0.5, 0.06, 0.04, 0.06])
    assert holm([0.4, 0.9]) == [0.8, 0.9]
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested() -> None:
    why = Undefined("one seed has no standard deviation")
    found = holm([math.nan, 0.02, why, 0.03, None])
    assert math.isnan(found[0])  # pyright: ignore
    assert found[1:] == [0.04, why, 0.04, None]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_the_closed_test_by_bonferroni(p: list[float]) -> None:
    """Each against the smallest alpha at which the steps, taken one by one, reach it."""

    def rejected(alpha: float) -> set[int]:
        out: set[int] = set()
        for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            if p[i] * (len(p) - step) > alpha:
                break
            out.add(i)
        return out

    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.2, *(x for x in adjusted if isinstance(x, float) and x < 1)):
        assert rejected(alpha) == {i for i, x in enumerate(adjusted) if isinstance(x, float) and x <= alpha}


@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_holm_refuses_values_outside_0_and_1(wrong: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm([0.1, wrong])


def test_difference_by_hand() -> None:
    """Two degrees of freedom: t of 0.975 is 4.3027, and p = 1 - t / sqrt(2 + t^2)."""
    found = Difference.of(-0.03, 0.01, freedom=2)
    assert (found.low, found.high) == pytest.approx((-0.073027, 0.013027), abs=1e-6)
    assert found.t == pytest.approx(-3)
    assert found.p_value == pytest.approx(1 - 3 / math.sqrt(11))
    assert isinstance(Difference.of(0.0, 0.0, freedom=2).p_value, Undefined)


def test_logit_interval_stays_inside() -> None:
    found = logit_interval(0.999, 0.05, freedom=20)
    assert isinstance(found, Interval)
    assert 0 < found.low < 0.999 < found.high <= 1
    level = logit_interval(0.5, 0.0, 20)
    assert level == Interval(0.5, 0.5)
    assert isinstance(logit_interval(1.0, 0.0, 20), Undefined)


def test_which_are_significant_after_holms_correction() -> None:
    assert significant([]) == []
    assert significant([0.02, 0.04]) == [True, True]
    assert significant([0.03, 0.04]) == [False, False]
