"""The order of floats as whole numbers, and the sort of words, against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entirespace.kernels.radix import order32, order64, sort

WORDS = st.integers(0, 2**64 - 1) | st.integers(0, 3) | st.integers(2**40, 2**40 + 9999)
EDGES = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    float(np.finfo(np.float32).max),
    float(np.float32(1e-45)),
    -float(np.float32(1e-45)),
]


@pytest.mark.parametrize(("width", "order"), [(32, order32), (64, order64)])
@settings(deadline=None)
@given(data=st.data())
def test_order_is_that_of_the_floats(width, order, data):
    a, b = (data.draw(st.floats(width=width, allow_nan=False) | st.sampled_from(EDGES)) for _ in range(2))
    x, y = (int(order(np.array([v], f"f{width // 8}").view(f"u{width // 8}")[0])) for v in (a, b))
    assert (x < y, x == y) == (a < b, a == b)
    assert 0 <= x < 2**width


@settings(deadline=None)
@given(st.lists(hnp.arrays(np.uint64, st.integers(0, 20), elements=WORDS), max_size=5))
def test_sort_of_pieces(pieces):
    everything = np.concatenate([np.empty(0, np.uint64), *pieces])
    assert sort(pieces.__getitem__, len(pieces)).tolist() == sorted(everything.tolist())


def test_sort_of_many(rng):
    for words in (rng.integers(0, 2**64 - 1, 200_000, np.uint64), np.full(200_000, 7, np.uint64)):
        pieces = np.array_split(words, 31)
        assert (sort(pieces.__getitem__, 31) == np.sort(words)).all()
