"""The paired test against a hand-worked case and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from entirespace.evaluation.metrics import Undefined
from entirespace.evaluation.significance import paired


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


def test_one_seed_has_no_p_value() -> None:
    found = paired([0.7], [0.6])
    assert found.difference == pytest.approx(0.1)
    assert found.std is None
    assert found.t == found.p_value == Undefined("one seed has no deviation")


@pytest.mark.parametrize("shift", [0.0, 0.02, -0.1])
def test_differences_alike_have_no_p_value(shift: float) -> None:
    """0.62 - 0.60 and 0.66 - 0.64 differ by rounding alone, which must not become p = 1e-15."""
    b = [0.60, 0.64, 0.655, 0.7]
    found = paired([x + shift for x in b], b)
    assert found.difference == pytest.approx(shift)
    assert found.p_value == found.t == Undefined("the difference is the same for every seed")


@pytest.mark.parametrize(("a", "b"), [([], []), ([0.6, 0.7], [0.6])])
def test_what_is_not_paired_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="one to one"):
        paired(a, b)
