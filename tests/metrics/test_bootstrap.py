"""Resampled AUCs against impressions truly copied, and the bootstrap's errors against DeLong's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entirespace.metrics import bootstrap as room
from entirespace.metrics.auc import auc
from entirespace.metrics.bootstrap import Replicates, bootstrap
from entirespace.metrics.delong import Areas, Sample, delong
from entirespace.metrics.significance import Difference, Interval
from entirespace.metrics.values import Undefined


def by_copies(
    scores: np.ndarray, label: np.ndarray, code: np.ndarray, users: int, replicates: int, seed: int
) -> list[float]:
    """Each user's impressions as often as it is drawn."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(replicates):
        times = np.bincount(rng.integers(users, size=users), minlength=users)[code]
        area = auc(np.repeat(scores, times), np.repeat(label, times))
        if not isinstance(area, Undefined):
            found.append(area)
    return found


@st.composite
def impressions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(4, 30))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    values = st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, -1.0, np.inf])
    users = hnp.arrays(np.int32, n, elements=st.integers(0, 6))
    return draw(hnp.arrays(dtype, n, elements=values)), draw(hnp.arrays(np.bool_, n)), draw(users)


@settings(deadline=None)  # the first call compiles
@given(impressions())
def test_is_the_auc_of_copies(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, label, user = case
    found = bootstrap([scores], label, user, replicates=10, rng=np.random.default_rng(7))
    if min(len(set(user[label])), len(set(user[~label]))) < 2:
        assert isinstance(found, Undefined)
        return
    assert isinstance(found, Replicates)
    names, code = np.unique(user, return_inverse=True)
    assert found.auc[0] == auc(scores, label)
    assert list(found.replicates[0]) == by_copies(scores, label, code, len(names), 10, 7)  # exact: sums of halves


def drawn(rng: np.random.Generator, users: int = 400) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    user = np.repeat(np.arange(users), 5)
    label = rng.random(len(user)) < 0.1
    a = rng.normal(size=len(user)) + label + rng.normal(size=users)[user]
    return [a, a + rng.normal(size=len(user))], label, user


@pytest.mark.parametrize("by_user", [False, True])
def test_errors_are_near_delongs(by_user: bool) -> None:
    rng = np.random.default_rng(1)
    scores, label, user = drawn(rng)
    clusters = user if by_user else np.arange(len(label))
    found, formula = bootstrap(scores, label, clusters, rng=rng), delong(scores, label, clusters)
    assert isinstance(found, Replicates)
    assert isinstance(formula, Areas)
    for which in (0, 1):  # of 1000 replicates a deviation is known to 2 %
        assert found.error(which) == pytest.approx(formula.error(which), rel=0.08)
        interval = found.interval(which)
        assert isinstance(interval, Interval)
        quantiles = np.quantile(found.replicates[which], [0.025, 0.975])
        assert (interval.low, interval.high) == pytest.approx(tuple(quantiles), abs=0.01)
    one, other = found.difference(), formula.difference()
    assert isinstance(one, Difference)
    assert isinstance(other, Difference)
    assert one.difference == other.difference
    assert one.error == pytest.approx(other.error, rel=0.08)


def test_chunks_of_replicates_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, label, user = drawn(np.random.default_rng(2), users=50)
    whole = bootstrap(scores, label, user, replicates=20, rng=np.random.default_rng(0))
    monkeypatch.setattr(room, "CELLS", 600)
    parts = bootstrap(scores, label, user, replicates=20, rng=np.random.default_rng(0))
    assert isinstance(whole, Replicates)
    assert isinstance(parts, Replicates)
    assert whole.replicates.shape == (2, 20)
    np.testing.assert_array_equal(whole.replicates, parts.replicates)


def test_too_few_users_have_no_interval() -> None:
    scores, label, user = np.arange(40.0), np.arange(40) % 5 == 0, np.arange(40) // 10
    found = bootstrap([scores, -scores], label, user, replicates=50, rng=np.random.default_rng(0))
    assert isinstance(found, Replicates)
    assert found.sample == Sample(8, 32, 4, 4, "users")
    why = Undefined("4 users with a positive impression are too few for an error of AUC, which needs 10")
    assert found.interval() == found.difference() == why


def test_a_replicate_of_one_class_is_left_out() -> None:
    """Positives are two users of three: one replicate in 27 has none of them."""
    label, user = np.array([True, True, False, False, False]), np.array([0, 1, 0, 1, 2])
    found = bootstrap([np.arange(5.0)], label, user, replicates=500, rng=np.random.default_rng(0))
    assert isinstance(found, Replicates)
    assert 460 < found.replicates.shape[1] < 500
    assert not np.isnan(found.replicates).any()


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        bootstrap([np.array([0.1, np.nan])], np.array([True, False]), np.arange(2), rng=np.random.default_rng(0))
