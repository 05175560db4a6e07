"""The numbers are those of `scipy.stats`, bit for bit, without its import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import chi2, poisson
from scipy.stats import t as student

from entirespace.metrics.distributions import (
    poisson_interval,
    poisson_p_value,
    student_p_value,
    student_quantile,
)

COUNTS = [0, 0.5, 1, 2.5, 30, 62, 1000, 1e6]


@pytest.mark.parametrize("freedom", [1, 2, 9, 29, 1e3, 1e6, np.inf])
def test_student(freedom: float) -> None:
    for level in (0.5, 0.9, 0.95, 0.99):
        assert student_quantile(level, freedom) == student.ppf((1 + level) / 2, freedom)
    for t in (0.0, -0.1, 2.26, -100.0, np.inf):
        assert student_p_value(t, freedom) == 2 * student.sf(abs(t), freedom)
    assert np.isnan(student_p_value(np.nan, freedom))


@pytest.mark.parametrize("observed", COUNTS)
def test_poisson(observed: float) -> None:
    for level in (0.5, 0.9, 0.95, 0.99):
        low, high = poisson_interval(observed, level)
        assert low == (chi2.ppf((1 - level) / 2, 2 * observed) / 2 if observed else 0)
        assert high == chi2.isf((1 - level) / 2, 2 * observed + 2) / 2
    for expected in (0.0, 1e-9, 0.5, 30, 62, 1e6):
        tails = poisson.cdf(observed, expected), poisson.sf(observed - 1, expected)
        assert poisson_p_value(observed, expected) == min(1.0, 2 * min(tails))


def test_metrics_do_not_import_scipy_stats() -> None:
    code = "import entirespace.metrics.distributions, sys; print('scipy.stats' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
