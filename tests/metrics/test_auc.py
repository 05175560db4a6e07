"""Exact AUC against hand-worked numbers, a comparison of every pair, and scikit-learn."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from entirespace.kernels import pairs
from entirespace.metrics import pieces
from entirespace.metrics.auc import GroupedAUC, auc, grouped_auc
from entirespace.metrics.values import Undefined


def by_pairs(scores: np.ndarray, label: np.ndarray) -> Fraction:
    """The definition: every positive against every negative."""
    above, below = scores[label, None], scores[None, ~label]
    twice = 2 * int((above > below).sum()) + int((above == below).sum())
    return Fraction(twice, 2 * above.size * below.size)


def grouped_by_pairs(scores: np.ndarray, label: np.ndarray, group: np.ndarray) -> GroupedAUC | None:
    total, weight, groups = Fraction(0), 0, 0
    for g in np.unique(group[group >= 0]):
        s, y = scores[group == g], label[group == g]
        if y.any() and not y.all():
            total, weight, groups = total + len(y) * by_pairs(s, y), weight + len(y), groups + 1
    return GroupedAUC(float(total / weight), weight / len(scores), groups) if groups else None


# a tie at every turn, both zeros, both ends of float32, denormals
EDGES = [0.0, -0.0, 1.0, 0.5, float(np.float32(1e-45)), -float(np.float32(1e-45)), 3.4e38, -1.0, np.inf, -np.inf]
SCORES = st.sampled_from([float(np.float32(x)) for x in EDGES]) | st.floats(0, 1, width=32)


@st.composite
def impressions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = draw(st.integers(0, 40))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return (
        draw(hnp.arrays(dtype, n, elements=SCORES)),
        draw(hnp.arrays(np.bool_, n)),
        draw(hnp.arrays(np.int32, n, elements=st.sampled_from([-1, 0, 1, 2, 7, 2**31 - 1]))),
    )


@settings(deadline=None)  # the first call compiles
@given(impressions())
def test_auc_is_the_comparison_of_every_pair(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, label, _ = case
    found = auc(scores, label)
    if label.any() and not label.all():
        assert found == float(by_pairs(scores, label))
        assert isinstance(found, float)
    else:
        missing = "negatives" if label.any() else "positives"
        assert found == Undefined(f"no {missing} among {len(label)} impressions")


@settings(deadline=None)  # the first call compiles
@given(impressions())
def test_grouped_auc_is_the_comparison_of_every_pair(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    found, expected = grouped_auc(*case), grouped_by_pairs(*case)
    if expected is None:
        known = (case[2] >= 0).any()
        assert found == Undefined(
            "no user has both positives and negatives" if known else "no impression has a known user"
        )
    else:
        assert isinstance(found, GroupedAUC)
        assert found.value == pytest.approx(expected.value, rel=1e-14)
        assert (found.share, found.groups) == (expected.share, expected.groups)


def test_by_hand() -> None:
    """Positives 0.8 and 0.4, negatives 0.4 and 0.1: three of the four pairs are in order, and one is a tie."""
    scores, label = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    assert auc(scores, label) == 3.5 / 4
    assert auc(-scores, label) == 0.5 / 4
    assert auc(np.zeros(4), label) == 0.5


def test_grouped_by_hand() -> None:
    """User 5: 1 of 2 pairs, 3 impressions. User 9: its pair, 2 impressions. User 1 never clicks, one is unknown."""
    label = np.array([1, 0, 0, 0, 1, 0, 1], bool)
    scores = np.array([0.5, 0.4, 0.6, 0.1, 0.9, 0.2, 0.3], np.float32)
    user = np.array([5, 5, 5, 9, 9, 1, -1], np.int32)
    assert grouped_auc(scores, label, user) == GroupedAUC((3 * 0.5 + 2 * 1) / 5, 5 / 7, 2)


@pytest.mark.parametrize("share", [0.5, 0.04, 0.97, 2e-4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_auc_is_scikit_learns(share: float, dtype: type) -> None:
    """More scores than a look-up takes, heavy ties, either class the rarer."""
    rng = np.random.default_rng(0)
    label = rng.random(100_000) < share
    for scores in (rng.random(100_000) + 0.2 * label, np.round(rng.random(100_000) ** 5 + 0.1 * label, 2)):
        scores = scores.astype(dtype)
        found = auc(scores, label)
        assert isinstance(found, float)
        assert found == pytest.approx(roc_auc_score(label, scores), abs=1e-12)
        assert found + auc(-scores, label) == pytest.approx(1, abs=1e-15)  # pyright: ignore[reportOperatorIssue]


@pytest.mark.parametrize("codes", ["dense", "sparse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_grouped_auc_over_many_pieces(monkeypatch: pytest.MonkeyPatch, codes: str, dtype: type) -> None:
    """Groups that span pieces and threads' slices, and user codes far apart."""
    monkeypatch.setattr(pieces, "PIECE", 257)
    rng = np.random.default_rng(1)
    n = 6000
    user = (60 * rng.random(n) ** 3).astype(np.int32) - 1
    if codes == "sparse":
        user = np.where(user >= 0, user * 30_000_000, -1).astype(np.int32)
    scores = np.round(rng.random(n), 2).astype(dtype)
    label = rng.random(n) < 0.1
    found, expected = grouped_auc(scores, label, user), grouped_by_pairs(scores, label, user)
    assert isinstance(found, GroupedAUC)
    assert expected is not None
    assert found.value == pytest.approx(expected.value, rel=1e-15)
    assert (found.share, found.groups) == (expected.share, expected.groups)


def test_one_group_is_the_auc_of_all() -> None:
    """It is longer than any thread's slice of the impressions."""
    rng = np.random.default_rng(2)
    scores, label = rng.random(20_000, np.float32), rng.random(20_000) < 0.3
    found = grouped_auc(scores, label, np.full(20_000, 2**31 - 1))
    assert isinstance(found, GroupedAUC)
    assert found.value == auc(scores, label)


@settings(deadline=None)
@given(impressions(), st.lists(st.integers(0, 40), max_size=4))
def test_chunks_are_one_array(case: tuple[np.ndarray, np.ndarray, np.ndarray], cuts: list[int]) -> None:
    scores, label, group = (np.split(column, sorted(cuts)) for column in case)
    assert auc(scores, label) == auc(*case[:2])
    assert grouped_auc(scores, label, group) == grouped_auc(*case)


def test_small_rates_keep_their_digits() -> None:
    """A positive below 999,999 of a million negatives and tied with one: 0.5e-6, not 1 - 0.9999995."""
    scores = np.arange(1_000_001, dtype=np.float32)
    label = np.zeros(1_000_001, bool)
    label[-1] = True
    scores[-1] = 0
    assert auc(scores, label) == 0.5e-6
    assert auc(-scores, ~label) == 0.5e-6


SPREADS = {
    "a bin of many": lambda rng, n: (np.float32(0.5) + rng.integers(0, 3000, n) * 2.0**-24).astype(np.float32),
    "bins of few": lambda rng, n: rng.integers(0, 0x7F800001, n, dtype=np.uint32).view(np.float32),
    "both signs": lambda rng, n: (rng.normal(size=n) ** 5).astype(np.float32),
    "denormals": lambda rng, n: rng.integers(0, 1 << 18, n, dtype=np.uint32).view(np.float32),
    "all level": lambda rng, n: np.full(n, -np.inf, np.float32),
    "two blocks": lambda rng, n: rng.integers(0, 2, n).astype(np.float32),
}


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("spread", SPREADS)
def test_bins_count_what_sorting_does(spread: str, share: float) -> None:
    """However scores lie in the bins, against numpy's look-up of each positive among the sorted negatives."""
    rng = np.random.default_rng(3)
    scores, label = SPREADS[spread](rng, 70_000), rng.random(70_000) < share
    negatives, positives = np.sort(scores[~label]), scores[label]
    twice = sum(int(np.searchsorted(negatives, positives, side).sum()) for side in ("left", "right"))
    expected = twice, len(positives), len(negatives)
    assert pairs.twice_above([scores], [label]) == expected
    assert pairs.twice_above([scores.astype(np.float64)], [label]) == expected


def test_input_is_left_alone_and_labels_may_be_numbers() -> None:
    scores, label = np.array([3, 1, 2], np.float32), np.array([1, 0, 0], np.int8)
    assert auc(scores, label) == 1.0
    assert grouped_auc(scores, label, np.zeros(3, np.int32)) == GroupedAUC(1.0, 1.0, 1)
    assert scores.tolist() == [3, 1, 2]


@pytest.mark.parametrize("n", [0, 1])
def test_too_few(n: int) -> None:
    assert auc(np.zeros(n), np.ones(n, bool)) == Undefined(
        f"no {'negatives' if n else 'positives'} among {n} impressions"
    )
    assert isinstance(grouped_auc(np.zeros(n), np.ones(n, bool), np.zeros(n, np.int32)), Undefined)


def test_nan_is_refused() -> None:
    scores, label = np.array([0.1, np.nan, np.nan]), np.array([True, False, False])
    with pytest.raises(ValueError, match="2 of 3 are NaN"):
        auc(scores, label)
    with pytest.raises(ValueError, match="2 of 3 are NaN"):
        grouped_auc(scores, label, np.zeros(3, np.int32))


def test_columns_of_different_lengths_and_wide_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="same length, chunk by chunk, however: scores 3 in 1, label 2 in 1 chunks"):
        auc(np.zeros(3), np.ones(2, bool))
    with pytest.raises(ValueError, match="of the same length"):
        auc([np.zeros(2), np.zeros(1)], [np.zeros(1, bool), np.zeros(2, bool)])
    with pytest.raises(ValueError, match="flat"):
        auc(np.zeros((3, 1)), np.ones((3, 1), bool))
    with pytest.raises(ValueError, match="must fit into int32, however: 2,147,483,648"):
        grouped_auc(np.zeros(2), np.ones(2, bool), np.array([0, 2**31]))


def test_columns_may_be_strided_and_read_only() -> None:
    rng = np.random.default_rng(4)
    table, label = rng.random((100, 2), np.float32), rng.random(100) < 0.5
    label.flags.writeable = False
    assert auc(table[:, 1], label) == auc(table[:, 1].copy(), label) == float(by_pairs(table[:, 1], label))


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 50), elements=SCORES))
def test_auc_knows_only_the_order(scores: np.ndarray) -> None:
    """A monotone change of scores leaves it as it was: here, their dense ranks."""
    label = np.arange(len(scores)) % 3 == 0
    ranks = np.unique(scores, return_inverse=True)[1].astype(np.float32)
    assert auc(scores, label) == auc(ranks, label)
