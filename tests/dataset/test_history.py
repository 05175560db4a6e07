"""The rates of a prepared log, compared with plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from history_logs import HISTORY, prepared, random_log, slow_of


def same(slow, numbers) -> None:
    expected = np.array([slow.numbers(i) for i in range(len(slow.rows))])
    np.testing.assert_allclose(numbers, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("settings", "slow"),
    [
        ("", {}),
        ("prior = 3\nseed = 4\nfolds = 3", {}),
        ('half_life = 40\nrates = ["ctcvr", "click"]', {"half_life": 40, "rates": ("ctcvr", "click")}),
        ("delay = 21\ncounts = true", {"delay": 21, "with_counts": True}),
        ('cross_fit = "time"', {"cross_fit": "time"}),
        ('cross_fit = "time"\ndelay = 13\nprior = 5', {"cross_fit": "time", "delay": 13}),
        (
            'cross_fit = "time"\ndelay = 7\nhalf_life = 25\ncounts = true',
            {"cross_fit": "time", "delay": 7, "half_life": 25, "with_counts": True},
        ),
    ],
)
def test_rates_are_those_of_plain_python(tmp_path, settings, slow):
    rows = random_log(160, seed=3)
    data = prepared(tmp_path, rows, HISTORY + settings)
    same(*slow_of(data, rows, **slow))


@pytest.mark.parametrize(("click", "conversion"), [(1, 0.4), (0.5, 0), (0, 0), (1, 1)])
def test_logs_without_some_outcome(tmp_path, click, conversion):
    rows = random_log(60, click=click, conversion=conversion)
    same(*slow_of(prepared(tmp_path, rows), rows))
