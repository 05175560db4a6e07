"""Sums of predictions and labels by bin, and bins of equal mass: both read the columns without copying them.

    edge i of K bins = the value at position floor(i N / K) of the N sorted values;  bin of p = number of edges <= p

so equal values are in one bin. A clicked impression has weight 1, an un-clicked one `unclicked_weight`: 1 to use all
impressions, 0 to use the clicked ones alone, 1 / r if the log kept un-clicked ones at rate r.
The sums of p, label, squared error and cross entropy are defined as in `losses`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from .losses import add_cross_entropy
from .radix import order32
from .threads import each

HALF = 16  # bits: count the codes by their upper half, then those with an edge by their lower half
FEW = 1 << 16  # values: fewer are sorted, which is then faster than clearing the counts
SHARES = 4  # tables of counts at a time, which limits memory


def equal_mass(pieces: Sequence[np.ndarray], bins: int) -> np.ndarray:
    """The distinct edges of bins of equal mass, ascending. Shape: float32 (n,) each -> float32 (E,), E < bins."""
    n = sum(map(len, pieces))
    if not n:
        return np.zeros(0, np.float32)
    bits = [piece.view(np.uint32) for piece in pieces]
    places = np.arange(1, bins) * n // bins
    if n < FEW:
        return _from_order(np.unique(np.sort(_order(np.concatenate(bits)))[places]))
    shares = [bits[i::SHARES] for i in range(SHARES)]

    def counted(slot: np.ndarray, slots: int) -> np.ndarray:
        found = np.zeros((SHARES, slots, 1 << HALF), np.int64)

        def count(i: int) -> None:
            for piece in shares[i]:
                _count(piece, slot, found[i])

        each(count, SHARES)
        return found.sum(0)

    upper = np.cumsum(counted(np.zeros(0, np.int64), 1)[0])
    high = np.searchsorted(upper, places, side="right")  # the upper half of each edge
    known, which = np.unique(high, return_inverse=True)
    slot = np.full(1 << HALF, -1, np.int64)
    slot[known] = np.arange(len(known))
    lower = np.cumsum(counted(slot, len(known)), axis=1)
    below = places - np.where(high > 0, upper[high - 1], 0)
    low = np.array([np.searchsorted(lower[k], b, side="right") for k, b in zip(which, below, strict=True)], np.int64)
    order = np.unique((high << HALF | low) if bins > 1 else np.zeros(0, np.int64))
    return _from_order(order)


def _order(bits: np.ndarray) -> np.ndarray:
    """`order32` of float32 bits. Shape: uint32 (n,) -> int64 (n,)."""
    magnitude = (bits & 0x7FFFFFFF).astype(np.int64)
    return 0x80000000 + np.where(bits >> 31, -magnitude, magnitude)


def _from_order(order: np.ndarray) -> np.ndarray:
    """From the code (`order32`) back to the float: a sign and a magnitude. Shape: int64 (n,) -> float32 (n,)."""
    magnitude = np.abs(order - 0x80000000)
    return np.where(order < 0x80000000, magnitude | 0x80000000, magnitude).astype(np.uint32).view(np.float32)


@numba.njit(cache=True, nogil=True)
def _count(bits, slot, counts):
    """Count codes. Without slots: by upper half. With slots: by lower half, for codes whose upper half has a slot."""
    for b in bits:
        order = order32(b)
        if len(slot) == 0:
            counts[0, order >> 16] += 1
        elif slot[order >> 16] >= 0:
            counts[slot[order >> 16], order & 0xFFFF] += 1


@numba.njit(cache=True, nogil=True)
def bin_of(p: np.ndarray, edges: np.ndarray, out: np.ndarray) -> None:
    """How many edges are <= p. Shape: float32 (n,), (E,), E < 256 -> out uint8 (n,)."""
    for i in range(len(p)):
        low, high = 0, len(edges)
        while low < high:
            middle = (low + high) // 2
            if edges[middle] <= p[i]:
                low = middle + 1
            else:
                high = middle
        out[i] = low


@numba.njit(cache=True, nogil=True)
def sums_by(
    code: np.ndarray, p: np.ndarray, y: np.ndarray, click: np.ndarray, unclicked_weight: float, out: np.ndarray
) -> None:
    """Add to the row of each code: weight, weight * (p, y, squared error, loss), and how many p are above 1.

    Shape: code uint8 (n,), p float (n,), y bool or float (n,), click bool (n,), unclicked_weight () ->
    out float64 (K, 6).
    """
    for i in range(len(p)):
        w = 1.0 if click[i] else unclicked_weight
        if w == 0:
            continue
        q, t, row = np.float64(p[i]), np.float64(y[i]), out[code[i]]
        loss = 0.0
        if q > 1:
            row[5] += 1
        else:
            loss = add_cross_entropy(0.0, q, t)
        row[0] += w
        row[1] += w * q
        row[2] += w * t
        row[3] += w * (q - t) * (q - t)
        row[4] += w * loss
