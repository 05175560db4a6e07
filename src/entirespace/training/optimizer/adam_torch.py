"""The kernels of `RowAdam` in torch operations, for any device. Tests compare `adam_kernels` with them.

The state of a row is 2 D + 1 words: m (D), v (D) and, in the last word, `last`, the step of its last use, which is read
through an integer view of the same memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .coasting import A1, A2, H1, H2, C, Coasting, E


def catch_up(rows: Tensor, weight: Tensor, state: Tensor, last: Tensor, clock: Coasting) -> Tensor:
    """Apply the steps that rows missed, in place, and return their weights. Shape: rows int64 (U,) -> (U, D)."""
    width = weight.shape[1]
    w, mv = weight[rows], state[rows]
    m, v = mv[:, :width], mv[:, width:-1]
    root = v.sqrt()
    begun = last[rows].long()
    gap = torch.where(begun > 0, clock.now - begun, 0)  # a never used row has m = v = 0: no step moves it
    replays = torch.minimum(clock.replays(begun), gap)
    first = (begun - clock.base).clamp(min=0)

    def move(a: Tensor, h: Tensor, when: Tensor) -> None:
        a, h = a.to(w.dtype)[:, None], h.to(w.dtype)[:, None]
        w.sub_(torch.where(when[:, None], a * m / (root + h), 0))

    for j in range(1, int(replays.max()) + 1 if len(rows) else 0):
        missed = clock.history[(first + j).clamp(max=clock.now - clock.base)]
        move(missed[:, C] * clock.powers[j, 2], missed[:, E] * clock.powers[j, 3], j <= replays)
    nodes = clock.history[first]
    move(nodes[:, A1], nodes[:, H1], gap > replays)
    move(nodes[:, A2], nodes[:, H2], gap > replays)

    b1k = torch.where(gap <= clock.window, clock.powers[gap.clamp(max=clock.window), 0], 0)
    b2k = clock.betas[1] ** gap.double()
    m.mul_(b1k.to(w.dtype)[:, None])
    v.mul_(b2k.to(w.dtype)[:, None])
    weight[rows], state[rows] = w, mv
    last[rows] = clock.now
    return w


def step(rows: Tensor, grad: Tensor, weight: Tensor, state: Tensor, last: Tensor, clock: Coasting, lr: float) -> None:
    """Step `clock.now` of Adam for the rows with gradients, in place. Shape: rows int64 (U,), grad (U, D)."""
    width, (b1, b2) = weight.shape[1], clock.betas
    c, e = clock.coefficients(lr, clock.now)
    mv = state[rows]
    m, v = mv[:, :width], mv[:, width:-1]
    m.mul_(b1).add_((1 - b1) * grad)
    v.mul_(b2).add_((1 - b2) * grad**2)
    weight[rows] = weight[rows] - c * m / (v.sqrt() + e)
    state[rows] = mv
    last[rows] = clock.now
