"""The CPU kernels of `RowAdam`, compiled for one embedding size and precision. `adam_torch` computes the same.

    catch_up   apply the k steps that a row missed: w -= m * sum over terms of A / (sqrt(v) + H), then m *= b1^k,
               v *= b2^k; the terms are the missed steps that are replayed, and the two nodes (see `coasting`)
    step       m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= c m / (sqrt(v) + e)
    advance    one step of the clock: adds a mass to each recent start, and updates its two nodes

The state of a row is one array of 2 D + 1 words: m (D), v (D) and, in the last word, `last`, the step of its last use.
`last` is read through an integer view of the same memory. Rows are used in random order, so row i + AHEAD is
prefetched while row i is computed, which is 2 to 3 times faster.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from ...kernels.prefetch import prefetch_to_write

AHEAD = 16  # rows; 8 and 32 are no faster


@functools.cache
def kernels(width: int, dtype: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """The compiled `catch_up` and `step` for rows of `width` numbers of dtype "float32" or "float64".

    The compiler knows the width and unrolls the loops: a row of 18 numbers in the cache takes 17 ns instead of 70 ns.
    """
    real: Any = np.float32 if dtype == "float32" else np.float64
    # "contract" allows fused multiply-add and does not reorder sums, so results do not depend on the slices
    compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})

    @compiled
    def catch_up(start, stop, rows, weight, state, last, history, powers, base, now, late, early, log_b2, out):
        window = len(powers) - 1
        root = np.empty(width, real)
        for i in range(start, stop):
            if i + AHEAD < stop:
                prefetch_to_write(weight, np.uint64(rows[i + AHEAD]))
                prefetch_to_write(state, np.uint64(rows[i + AHEAD]))
            row = np.uint64(rows[i])
            w, mv = weight[row], state[row]
            begun = np.int64(last[row])
            gap = now - begun
            last[row] = now
            if gap > 0 and begun > 0:  # a row that was never used has m = v = 0: no step moves it
                first = begun - base
                for d in range(width):
                    root[d] = np.sqrt(mv[width + d])
                replays = min(gap, late + max(0, early - begun) // 4)
                for j in range(1, replays + 1):
                    a = real(history[first + j, 0] * powers[j, 2])
                    h = real(history[first + j, 1] * powers[j, 3])
                    for d in range(width):
                        w[d] -= a * mv[d] / (root[d] + h)
                if gap > replays:
                    a1, h1 = real(history[first, 2]), real(history[first, 3])
                    a2, h2 = real(history[first, 4]), real(history[first, 5])
                    for d in range(width):
                        w[d] -= a1 * mv[d] / (root[d] + h1) + a2 * mv[d] / (root[d] + h2)
                # beyond the window m has decayed to 1e-17 of its value
                b1k = real(powers[gap, 0] if gap <= window else 0.0)
                b2k = real(powers[gap, 1] if gap <= window else math.exp(gap * log_b2))
                for d in range(width):
                    mv[d] *= b1k
                    mv[width + d] *= b2k
            if len(out):
                for d in range(width):
                    out[i, d] = w[d]

    @compiled
    def step(start, stop, rows, weight, state, last, grad, b1, b2, c, e, now):
        # 1 - b1 in double precision, as torch does: in float32 the relative error of 1 - 0.999 is 1e-5
        one_minus_b1, one_minus_b2 = real(1 - b1), real(1 - b2)
        b1, b2, c, e = real(b1), real(b2), real(c), real(e)
        for i in range(start, stop):
            if i + AHEAD < stop:
                prefetch_to_write(weight, np.uint64(rows[i + AHEAD]))
                prefetch_to_write(state, np.uint64(rows[i + AHEAD]))
            row = np.uint64(rows[i])
            w, mv, g = weight[row], state[row], grad[np.uint64(i)]
            last[row] = now
            for d in range(width):
                m = b1 * mv[d] + one_minus_b1 * g[d]
                v = b2 * mv[width + d] + one_minus_b2 * (g[d] * g[d])
                mv[d] = m
                mv[width + d] = v
                w[d] -= c * m / (np.sqrt(v) + e)

    return catch_up, step


@numba.njit(nogil=True, cache=True, error_model="numpy")
def advance(history, sums, powers, base, now, late, early, c, e):
    """Add the mass c r^j at e b2^(-j/2) of step `now` to each start j steps ago, as `Coasting.advance` does."""
    window = len(sums)
    history[now - base, 0], history[now - base, 1] = c, e
    for begun in range(max(base, now - window), now):
        j = now - begun
        replays = late + max(0, early - begun) // 4
        if j <= replays:
            continue
        a, h = c * powers[j, 2], e * powers[j, 3]
        s = sums[begun % window]
        if j == replays + 1:
            s[:4] = 0.0
            s[4] = h
        x = h / s[4] - 1
        s[0] += a
        s[1] += a * x
        s[2] += a * x * x
        s[3] += a * x * x * x
        total, origin, node = s[0], s[4], history[begun - base]
        if total == 0:  # the learning rate has been zero since the start
            node[2], node[3], node[4], node[5] = 0.0, origin, 0.0, origin
            continue
        mean, square, cube = s[1] / total, s[2] / total, s[3] / total
        variance = square - mean * mean
        if variance <= 1e-20:
            node[2], node[3], node[4], node[5] = total, origin * (1 + mean), 0.0, origin * (1 + mean)
            continue
        half = (cube - 3 * mean * square + 2 * mean * mean * mean) / (2 * variance)
        root = math.sqrt(half * half + variance)
        node[2] = total * (half + root) / (2 * root)
        node[3] = origin * (1 + mean + half - root)
        node[4] = total - node[2]
        node[5] = origin * (1 + mean + half + root)
