"""Errors of probabilities p against labels y, or against true probabilities: sums in float64, in one pass.

    cross entropy   -(y log p + (1 - y) log(1 - p)), in nats; 0 log 0 is 0
    squares         (p - y)^2

log(1 - p) is computed as log1p(-p), so small p keep their digits. Each block is summed on its own, so that the rounding
error does not grow with n.
"""

from __future__ import annotations

import math

import numba
import numpy as np

BLOCK = 256


@numba.njit(cache=True, nogil=True, inline="always")
def add_cross_entropy(loss: float, p: float, y: float) -> float:
    """A sum of cross entropies with one more added; infinite where p is 0 or 1 against y. Shape: float64, p in [0, 1].

    The sum so far is an argument, for the order of the two subtractions fixes how the sum is rounded.
    """
    if y > 0:
        loss -= y * math.log(p) if p > 0 else -math.inf
    if y < 1:
        loss -= (1 - y) * math.log1p(-p) if p < 1 else -math.inf
    return loss


@numba.njit(cache=True, nogil=True)
def sums(p: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float, int, int, int]:
    """The sums of p, y, squares and cross entropy; then how many p are NaN, negative and above 1.

    The cross entropy leaves such p out. Shape: p float (n,), y bool or float (n,), of the same n.
    """
    p_sum, y_sum, squares, loss = 0.0, 0.0, 0.0, 0.0
    nan, negative, above = 0, 0, 0
    for start in range(0, len(p), BLOCK):
        p_block, y_block, squares_block, loss_block = 0.0, 0.0, 0.0, 0.0
        for i in range(start, min(start + BLOCK, len(p))):
            q, t = np.float64(p[i]), np.float64(y[i])
            p_block += q
            y_block += t
            squares_block += (q - t) * (q - t)
            if 0 <= q <= 1:
                loss_block = add_cross_entropy(loss_block, q, t)
            elif q < 0:
                negative += 1
            elif q > 1:
                above += 1
            else:
                nan += 1
        p_sum += p_block
        y_sum += y_block
        squares += squares_block
        loss += loss_block
    return p_sum, y_sum, squares, loss, nan, negative, above
