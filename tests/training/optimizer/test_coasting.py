"""The two-node rule against the plain sum over all missed steps, also in extreme cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from entirespace.training.optimizer import adam_kernels
from entirespace.training.optimizer.coasting import Coasting, two_nodes

ROOTS = np.logspace(-4, 4, 41)[:, None]  # sqrt(v) in units of eps


def missed_moves(begun: int, gap: int, betas: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """a_j and h_j of the missed steps with lr = eps = 1, from their definition."""
    b1, b2 = betas
    j = np.arange(1, gap + 1)
    bias1, bias2 = 1 - b1 ** (begun + j), -np.expm1((begun + j) * math.log(b2))
    return np.sqrt(bias2) / bias1 * (b1 / math.sqrt(b2)) ** j, np.sqrt(bias2) * b2 ** (-j / 2)


def tick(clock: Coasting, lr: float) -> None:
    """One step of the clock by the compiled kernel."""
    clock.tick()
    tables = clock.history.numpy(), clock.sums.numpy(), clock.powers.numpy()
    c, e = clock.coefficients(lr, clock.now)
    adam_kernels.advance(*tables, clock.base, clock.now, clock.late, clock.early, c, e)


@pytest.mark.parametrize("begun", [1, 8, 50, 120, 130, 200, 300, 1000, 10_000, 1_000_000])
@pytest.mark.parametrize("gap", [1, 2, 3, 20, 100, 1000])
def test_error_of_the_rule(begun: int, gap: int) -> None:
    """Replayed steps and two nodes give the sum of all missed updates, with an error below 7e-6 lr."""
    betas = (0.9, 0.999)
    clock = Coasting(betas, eps=1.0)
    clock.now = clock.base = begun
    clock.restart()
    for _ in range(gap):
        tick(clock, lr=1.0)
    a, h = missed_moves(begun, gap, betas)
    replays = int(clock.replays(torch.tensor(begun)))
    moves = (a[:replays] / (ROOTS + h[:replays])).sum(1, keepdims=True)
    if gap > replays:
        a1, h1, a2, h2 = clock.history[0, 2:].tolist()
        moves += a1 / (ROOTS + h1) + a2 / (ROOTS + h2)
    error = np.abs(moves - (a / (ROOTS + h)).sum(1, keepdims=True)) * ROOTS * 0.1 / math.sqrt(0.001)
    assert error.max() < 7e-6
    assert gap > 2 or error.max() < 1e-12
    assert begun < 300 or error.max() < 1e-6
    assert begun < 5000 or error.max() < 1e-8


def test_two_nodes_have_the_moments_of_the_masses() -> None:
    generator = np.random.default_rng(0)
    a, h = generator.random(50), 3 + generator.random(50)
    x = h / h[0] - 1
    sums = torch.tensor([[*(float((a * x**i).sum()) for i in range(4)), h[0]]])
    (a1, h1, a2, h2) = two_nodes(sums)[0].tolist()
    for i in range(4):
        assert a1 * h1**i + a2 * h2**i == pytest.approx((a * h**i).sum(), rel=1e-6 if i == 3 else 1e-7)
    assert h.min() < h1 < h2 < h.max()


def test_nodes_without_mass_and_with_one() -> None:
    sums = torch.tensor([[0.0, 0, 0, 0, 2], [3, 0, 0, 0, 2], [3, 1.5, 0.75, 0.375, 2]], dtype=torch.float64)
    assert two_nodes(sums).tolist() == [[0, 2, 0, 2], [3, 2, 0, 2], [3, 3, 0, 3]]


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.99), (0.0, 0.9), (0.5, 0.9)])
def test_the_kernel_keeps_the_same_tables(betas: tuple[float, float]) -> None:
    slow, fast = Coasting(betas, 1e-8), Coasting(betas, 1e-8)
    generator = np.random.default_rng(1)
    for t in range(640):
        lr = 0.0 if t < 20 or 300 < t < 400 else generator.random()
        slow.tick()
        slow.advance(lr)
        tick(fast, lr)
        if t == 480:
            slow.restart()
            fast.restart()
    torch.testing.assert_close(fast.history, slow.history, rtol=1e-7, atol=0)


def test_the_tables_do_not_lose_digits_at_a_million_steps() -> None:
    """Late in training sqrt(1 - b2^t) is 1, so the nodes of a long gap do not depend on where it begins."""
    nodes = []
    for begun in (100_000, 1_000_000):
        clock = Coasting((0.9, 0.999), 1e-8)
        clock.now = begun
        clock.restart()
        for _ in range(400):
            tick(clock, lr=1e-3)
        nodes.append(clock.history[0, 2:])
    torch.testing.assert_close(nodes[0], nodes[1], rtol=1e-9, atol=0)
