"""DeLong's errors against hand-worked numbers, the definition over every pair, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entirespace.metrics.auc import auc
from entirespace.metrics.delong import Areas, Sample, delong, numbered
from entirespace.metrics.significance import Difference, Interval
from entirespace.metrics.values import Undefined


def by_pairs(scores: list[np.ndarray], label: np.ndarray, user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Obuchowski's sums, user by user, over psi of every pair."""
    m, n, k = int(label.sum()), int((~label).sum()), len(scores)
    psi = [np.sign(s[label, None].astype(float) - s[None, ~label]) / 2 + 0.5 for s in scores]
    area = np.array([p.mean() for p in psi])
    sums = np.zeros((3, k, k))
    for g in set(user):
        mine, theirs = user[label] == g, user[~label] == g
        d10 = np.array([p.mean(axis=1)[mine].sum() - mine.sum() * a for p, a in zip(psi, area, strict=True)])
        d01 = np.array([p.mean(axis=0)[theirs].sum() - theirs.sum() * a for p, a in zip(psi, area, strict=True)])
        sums += np.outer(d10, d10), np.outer(d01, d01), np.outer(d10, d01)
    i10, i01, i = (len(set(u)) for u in (user[label], user[~label], user))
    across = sums[2] + sums[2].T
    return area, sums[0] * i10 / (i10 - 1) / m**2 + sums[1] * i01 / (i01 - 1) / n**2 + across * i / (i - 1) / m / n


SCORES = st.sampled_from([0.0, -0.0, 0.25, 1.0, -1.0, np.inf, -np.inf, float(np.float32(1e-45))]) | st.floats(
    0, 1, width=32
)


@st.composite
def impressions(draw: st.DrawFn) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    n = draw(st.integers(4, 30))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    scores = [draw(hnp.arrays(dtype, n, elements=SCORES)) for _ in range(draw(st.integers(1, 3)))]
    return scores, draw(hnp.arrays(np.bool_, n)), draw(hnp.arrays(np.int32, n, elements=st.integers(0, 5)))


def finite(scores: np.ndarray) -> np.ndarray:
    """The same order, without infinities, which the definition above would subtract."""
    return np.unique(scores, return_inverse=True)[1]


@settings(deadline=None)  # the first call compiles
@given(impressions())
def test_is_the_definition(case: tuple[list[np.ndarray], np.ndarray, np.ndarray]) -> None:
    scores, label, user = case
    for clusters in (None, user):
        each = np.arange(len(label)) if clusters is None else clusters
        found = delong(scores, label, clusters)
        if min(len(set(each[label])), len(set(each[~label]))) < 2:
            assert isinstance(found, Undefined)
            continue
        assert isinstance(found, Areas)
        area, covariance = by_pairs([finite(s) for s in scores], label, each)
        assert list(found.auc) == [auc(s, label) for s in scores]
        np.testing.assert_allclose(found.auc, area, rtol=1e-12)
        np.testing.assert_allclose(found.covariance, covariance, rtol=1e-9, atol=1e-12)


def test_by_hand() -> None:
    """Positives 3, 1; negatives 0, 2. V10 = 1, 1/2 and V01 = 1, 1/2: AUC 3/4, variance 1/8 / 2 + 1/8 / 2 = 1/8."""
    scores, label = np.array([3.0, 1.0, 0.0, 2.0]), np.array([True, True, False, False])
    found = delong([scores], label)
    assert isinstance(found, Areas)
    assert found.auc[0] == 0.75
    assert found.covariance[0, 0] == 1 / 8
    assert found.error() == pytest.approx(8**-0.5)
    # users {3, 0} and {1, 2}: d10 = 1/4, -1/4 and d01 = 1/4, -1/4; 2 (1/8) / 4 + 2 (1/8) / 4 + 2 (2/8) / 4 = 1/4
    found = delong([scores], label, np.array([0, 1, 0, 1]))
    assert isinstance(found, Areas)
    assert found.covariance[0, 0] == 1 / 4
    assert found.sample == Sample(2, 2, 2, 2, "users")


def drawn(rng: np.random.Generator, n: int = 600) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    label, user = rng.random(n) < 0.1, rng.integers(0, n // 4, n)
    a = rng.normal(size=n) + label + rng.normal(size=n)[user]
    return [a, a + rng.normal(size=n)], label, user


@pytest.mark.parametrize("by_user", [False, True])
def test_what_must_not_change_it(by_user: bool) -> None:
    scores, label, user = drawn(np.random.default_rng(1))
    clusters = user if by_user else None
    plain = delong(scores, label, clusters)
    assert isinstance(plain, Areas)
    monotone = delong([np.exp(s) for s in scores], label, clusters)
    swapped = delong(scores, ~label, clusters)
    order = np.random.default_rng(2).permutation(len(label))
    shuffled = delong([s[order] for s in scores], label[order], None if clusters is None else 10 * clusters[order])
    assert isinstance(monotone, Areas)
    assert isinstance(swapped, Areas)
    assert isinstance(shuffled, Areas)
    np.testing.assert_allclose(swapped.auc, 1 - plain.auc)
    for other in (monotone, swapped, shuffled):
        np.testing.assert_allclose(other.covariance, plain.covariance, rtol=1e-9)


def test_every_user_with_one_impression_is_no_users() -> None:
    scores, label, _ = drawn(np.random.default_rng(3))
    alone, unknown = np.arange(len(label)), np.full(len(label), -1)
    expected = delong(scores, label)
    assert isinstance(expected, Areas)
    for clusters in (alone, unknown):
        found = delong(scores, label, clusters)
        assert isinstance(found, Areas)
        np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-12)


def test_copies_of_every_impression_tell_nothing_new() -> None:
    """Without users the error shrinks with the copies; users see through them."""
    scores, label, _ = drawn(np.random.default_rng(4))
    once, four = np.arange(len(label)), np.tile(np.arange(len(label)), 4)
    a = delong(scores, label, once)
    b = delong([np.tile(s, 4) for s in scores], np.tile(label, 4), four)
    naive = delong([np.tile(s, 4) for s in scores], np.tile(label, 4))
    assert isinstance(a, Areas)
    assert isinstance(b, Areas)
    assert isinstance(naive, Areas)
    np.testing.assert_allclose(b.covariance, a.covariance, rtol=1e-9)
    assert naive.error() == pytest.approx(a.error() / 2, rel=0.01)


def test_intervals_and_differences() -> None:
    """Error 0.1 at AUC 0.8: logit 1.3863 +- 2.0227 x 0.1 / 0.16, Student's with 39 degrees of freedom."""
    areas = Areas(np.array([0.8, 0.7]), np.array([[0.01, 0.004], [0.004, 0.01]]), Sample(40, 60, 40, 60, "impressions"))
    logit, plain = areas.interval(), areas.interval(scale="plain")
    assert isinstance(logit, Interval)
    assert isinstance(plain, Interval)
    assert (plain.low, plain.high) == pytest.approx((0.59773, 1.00227), abs=1e-4)
    assert (logit.low, logit.high) == pytest.approx((0.53051, 0.93404), abs=1e-4)
    found = areas.difference()
    assert isinstance(found, Difference)
    assert (found.difference, found.error) == pytest.approx((0.1, 0.012**0.5))
    assert found.p_value == pytest.approx(0.36691, abs=1e-4)  # t 0.9129
    assert areas.contrast([1, -1]) == found
    assert areas.difference(1, 0).difference == -found.difference  # pyright: ignore


def test_scores_that_rank_alike_are_not_tested() -> None:
    scores, label, user = drawn(np.random.default_rng(5))
    for clusters in (None, user):
        found = delong([scores[0], 3 * scores[0]], label, clusters)
        assert isinstance(found, Areas)
        difference = found.difference()
        assert isinstance(difference, Difference)
        assert (difference.low, difference.high) == (0, 0)
        assert isinstance(difference.p_value, Undefined)


def test_too_few_have_no_interval() -> None:
    scores, label, user = np.arange(40.0), np.arange(40) % 5 == 0, np.arange(40) // 10
    found = delong([scores, -scores], label)
    assert isinstance(found, Areas)
    why = Undefined("8 positive impressions are too few for an error of AUC, which needs 10")
    assert found.interval() == found.difference() == why
    by_user = delong([scores], label, user)
    assert isinstance(by_user, Areas)
    assert "4 users with a positive" in str(by_user.interval())
    assert delong([scores], np.arange(40) == 3) == Undefined(
        "1 positive impressions are too few for an error of AUC, which needs 2"
    )


def test_all_ranked_right_has_no_interval() -> None:
    scores = np.arange(40.0)
    found = delong([scores], scores >= 20)
    assert isinstance(found, Areas)
    assert found.interval() == Undefined("an AUC of 1 has no standard error on the logit scale")


@pytest.mark.parametrize(
    ("scores", "match"), [([np.array([0.1, np.nan, 0.2])], "NaN"), ([np.zeros(2)], "of the same length")]
)
def test_what_cannot_be_ranked_is_refused(scores: list[np.ndarray], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        delong(scores, np.array([True, False, False]))


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="of the same length"):
        delong([np.zeros(3)], np.array([True, False, False]), np.zeros(2, np.int32))


def test_users_by_number() -> None:
    code, users = numbered(np.array([2**31 - 1, -1, 4, 4, -7], np.int32))
    assert (list(code), users) == ([1, 2, 0, 0, 3], 4)
