"""Counting and coding bags, against the same with Python's own loops."""

from __future__ import annotations

import numpy as np
import pytest

from entirespace.core.rows import Ragged
from entirespace.kernels.recode import count, recode, refer


@pytest.mark.parametrize("single", [False, True])
def test_each_id_counts_as_often_as_its_row(rng, single):
    n, codes = 200, 30
    lengths = np.ones(n, np.int64) if single else rng.integers(0, 5, n)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    values = rng.integers(0, codes, offsets[-1]).astype(np.int32)
    bags = Ragged(values, None if single else offsets)
    times, rows = rng.integers(0, 3, (2, n)), rng.integers(0, 4, codes).astype(np.int32)
    counts, totals = np.zeros(codes, np.int64), np.zeros((2, 2), np.int64)
    for i in range(n):
        for value in values[offsets[i] : offsets[i + 1]]:
            counts[value] += times[0, i]
            totals[:, 0] += times[:, i]
            totals[:, 1] += times[:, i] * (rows[value] == 0)
    got = np.zeros(codes, np.int64)
    count(bags, times[0], got)
    assert got.tolist() == counts.tolist()
    count(bags, times[0] > 0, got)  # bool: once, or not at all
    assert got.sum() == counts.sum() + lengths[times[0] > 0].sum()
    coded, found = recode(bags, rows, times)
    assert coded.values.tolist() == rows[values].tolist()
    assert found.tolist() == totals.tolist()


def test_references_are_counted_by_part_and_no_row_for_what_was_dropped():
    links = np.zeros((3, 4), np.int64)
    refer(np.array([0, 1, 1, 3, 3], np.int32), np.array([0, 0, 2, 1, 3], np.uint8), links)
    assert links.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
