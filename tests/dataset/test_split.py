"""The threshold on time: the radix select compared with sorting, and rows with equal times on one side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entirespace.dataset.split import kth, threshold

INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.integers(2**40, 2**40 + 70_000)


def pieces(values: list[int], cuts: list[int]) -> list[np.ndarray]:
    at = sorted(c % (len(values) + 1) for c in cuts)
    return [np.array(p, np.int64) for p in np.split(np.array(values, np.int64), at)]


@given(st.lists(INT64, min_size=1, max_size=60), st.lists(st.integers(0, 99), max_size=4), st.data())
def test_kth_equals_sorting(values, cuts, data):
    k = data.draw(st.integers(0, len(values) - 1))
    chunks = pieces(values, cuts)
    assert kth(lambda: chunks, k) == sorted(values)[k]


def test_kth_of_many_values_needs_few_passes(rng):
    values = rng.integers(-(2**63), 2**63 - 1, 200_000)
    passes = 0

    def chunks():
        nonlocal passes
        passes += 1
        return np.array_split(values, 7)

    for k in (0, 12_345, 100_000, 199_999):
        passes = 0
        assert kth(chunks, k) == np.sort(values)[k]
        assert passes <= 5


@pytest.mark.parametrize(
    ("times", "share", "first"),
    [
        ([1, 2, 3, 4], 0.5, 2),
        ([4, 2, 3, 1], 0.5, 2),  # out of order
        ([1, 2, 3, 4, 5], 0.5, 2),  # round(2.5) is 2
        ([1, 2, 3], 0.5, 2),  # round(1.5) is 2
        ([1, 2], 0.5, 1),
        ([1, 2, 3, 4], 0.99, 3),  # the second part is never empty
        ([1, 2, 2, 2], 0.5, 1),  # rows with equal times stay together, in the second part
        ([2, 2, 2, 3], 0.5, 0),
        ([5, 5, 5], 0.5, 0),
        ([-(2**63), 0, 2**63 - 1, 1], 0.5, 2),
    ],
)
def test_threshold(times, share, first):
    values = np.array(times, np.int64)
    end = threshold(lambda: [values], len(values), share)
    assert (values < end).sum() == first


@given(st.lists(INT64, min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_a_threshold_leaves_at_most_the_share_and_fewer_only_for_ties(times, share):
    values = np.array(times, np.int64)
    end = threshold(lambda: [values], len(values), share)
    first = int((values < end).sum())
    wanted = min(len(values) - 1, round(share * len(values)))
    assert first <= wanted
    assert first + int((values == end).sum()) > wanted
