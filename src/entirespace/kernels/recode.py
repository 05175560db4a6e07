"""Loops over bags of codes: count how often each code occurs, and replace it by its row of the embedding."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..core.rows import Ragged

_jit = njit(cache=True, nogil=True, error_model="numpy")
_NONE = np.zeros(0, np.int64)


def count(bags: Ragged, times: np.ndarray, counts: np.ndarray) -> None:
    """Count codes; row i counts `times[i]` times. Shape: times int64 or bool (rows,), counts int64 (C,)."""
    _count(bags.values, _NONE if bags.offsets is None else bags.offsets, times, counts)


def recode(bags: Ragged, rows: np.ndarray, times: np.ndarray) -> tuple[Ragged, np.ndarray]:
    """The bags with each code replaced by its row, and the number of ids and unseen ids (row 0) in each part.

    Shape: rows int32 (C,), times int64 (parts, rows): how often each bag occurs in each part ->
    int64 (parts, 2): ids, unseen.
    """
    out, totals = np.empty(len(bags.values), np.int32), np.zeros((len(times), 2), np.int64)
    _recode(bags.values, _NONE if bags.offsets is None else bags.offsets, rows, times, out, totals)
    return Ragged(out, bags.offsets, bags.weights), totals


@_jit
def refer(rows, part, links):
    """Count how often each row is referred to, by part; other numbers of `part` are left out.

    Shape: rows int32 (n,), part uint8 (n,), links (parts, rows).
    """
    for i in range(rows.shape[0]):
        if part[i] < links.shape[0]:
            links[part[i], rows[i]] += 1


@_jit
def _count(values, offsets, times, counts):
    single = offsets.shape[0] == 0
    for i in range(times.shape[0]):
        if times[i]:
            for j in range(i if single else offsets[i], i + 1 if single else offsets[i + 1]):
                counts[values[j]] += times[i]


@_jit
def _recode(values, offsets, rows, times, out, totals):
    single = offsets.shape[0] == 0
    for i in range(times.shape[1]):
        low, high = (i, i + 1) if single else (offsets[i], offsets[i + 1])
        unseen = 0
        for j in range(low, high):
            row = rows[values[j]]
            out[j] = row
            unseen += row == 0
        for part in range(times.shape[0]):
            totals[part, 0] += (high - low) * times[part, i]
            totals[part, 1] += unseen * times[part, i]
