"""A base rate that moved between the training and the validation part is named."""

from __future__ import annotations

import pytest
from scipy.stats import chi2_contingency

from entirespace.core.labels import Counts
from entirespace.dataset.moved import LEVEL, differ, moved_rates


def counts(impressions: int, click: int, conversion: int) -> Counts:
    return Counts(impressions, {"click": click, "conversion": conversion})


def test_which_rate_moved_is_said_with_both_rates() -> None:
    train = counts(100_000, 10_000, 1_000)
    assert moved_rates(train, counts(10_000, 1_000, 100)) == ()
    (ctr,) = moved_rates(train, counts(10_000, 1_200, 120))
    assert "the CTR is 10 % in the training part and 12 % in the validation part. Calibrators follow" in ctr
    assert "CVR" not in ctr
    (cvr,) = moved_rates(train, counts(10_000, 1_000, 60))
    assert "the CVR of clicks is 10 % in the training part and 6 % in the validation part" in cvr
    assert "CTR" not in cvr
    (both,) = moved_rates(train, counts(10_000, 800, 160))
    assert "the CTR is" in both
    assert ", and the CVR of clicks is" in both


def test_a_change_by_chance_or_a_small_one_is_not_named() -> None:
    train = counts(100_000, 10_000, 1_000)
    assert moved_rates(train, counts(100, 12, 2)) == (), "by chance"
    assert moved_rates(counts(10**8, 10**7, 10**6), counts(10**7, 1_040_000, 104_000)) == (), "4 %, beyond chance"
    assert moved_rates(counts(10**8, 10**7, 10**6), counts(10**7, 1_060_000, 106_000)), "6 %"
    for other in (counts(0, 0, 0), counts(50, 0, 0), counts(20, 20, 20)):
        moved_rates(train, other)
        moved_rates(other, train)
    assert moved_rates(counts(20, 20, 20), counts(30, 30, 30)) == ()


@pytest.mark.parametrize("now", range(60, 140, 7))
def test_chance_is_that_of_the_chi_square_test(now: int) -> None:
    table = [[1_000, 9_000], [now, 1_000 - now]]
    p = chi2_contingency(table, correction=False).pvalue
    assert differ(1_000, 10_000, now, 1_000, least=0.0) == (p < LEVEL)
