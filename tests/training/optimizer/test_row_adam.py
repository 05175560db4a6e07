"""RowAdam against torch.optim.Adam on the whole table, and its kernels against torch operations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from entirespace.kernels.threads import threads, use_threads
from entirespace.training.optimizer.row_adam import RowAdam

SCHEDULES = {
    "constant": lambda t: 1e-2,
    "warm-up": lambda t: 1e-2 * min(1.0, t / 200),
    "cosine": lambda t: 5e-3 * (1 + math.cos(math.pi * t / 700)),
    "zero for a while": lambda t: 0.0 if 150 < t <= 420 else 1e-2,
    "zero at first": lambda t: 0.0 if t <= 40 else 1e-2,
}
BOTH = pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "torch"])


class Log:
    """A table's batches. Each row has its own chance of being touched, 1 to 1e-3, and scale of gradients.

    Scales go from 1 to 1e-12 (eps is 1e-8), every seventh row gets zeros, and in the second half only rows
    below 40 appear, so that the others miss hundreds of steps.
    """

    def __init__(self, rows: int = 120, width: int = 5, steps: int = 700, dtype: torch.dtype = torch.float64) -> None:
        self.generator = torch.Generator().manual_seed(7)
        self.start = 0.1 * torch.randn(rows, width, generator=self.generator, dtype=dtype)
        chance = torch.logspace(0, -3, rows)[torch.randperm(rows, generator=self.generator)]
        scale = torch.logspace(0, -12, rows, dtype=dtype)[torch.randperm(rows, generator=self.generator)]
        scale[::7] = 0
        self.batches = [self._batch(t, chance, scale) for t in range(1, steps + 1)]
        self.batches[30] = (torch.arange(rows), self._noise(rows) * scale[:, None])  # all rows once

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.start.shape[1], generator=self.generator, dtype=self.start.dtype)

    def _batch(self, t: int, chance: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        taken = torch.rand(len(chance), generator=self.generator) < chance
        taken[40 if t > 300 else len(taken) :] = False
        rows = torch.nonzero(taken).flatten()
        rows = rows[torch.randperm(len(rows), generator=self.generator)]
        return rows, self._noise(len(rows)) * scale[rows, None]

    def dense(self, schedule, dtype: torch.dtype = torch.float64, **options) -> list[Tensor]:
        """The table before each step and at the end, by torch.optim.Adam."""
        weight = torch.nn.Parameter(self.start.to(dtype, copy=True))
        adam = torch.optim.Adam([weight], **options)
        tables = [weight.detach().clone()]
        for t, (rows, grad) in enumerate(self.batches, 1):
            weight.grad = torch.zeros_like(weight)
            weight.grad[rows] = grad.to(dtype)
            adam.param_groups[0]["lr"] = schedule(t)
            adam.step()
            tables.append(weight.detach().clone())
        return tables

    def caught_up(self, schedule, tables: list[Tensor], **options) -> tuple[float, Tensor]:
        """RowAdam on the same batches: worst difference from `tables` as training reads, and its end."""
        weight = self.start.clone()
        adam = RowAdam(weight, lr=math.nan, **options)
        worst = 0.0
        for t, (rows, grad) in enumerate(self.batches, 1):
            gathered = adam.gather(rows)
            assert torch.equal(gathered, weight[rows])
            worst = max(worst, _distance(gathered, tables[t - 1][rows]))
            adam.step(rows, grad, schedule(t))
        adam.finish()
        return max(worst, _distance(weight, tables[-1])), weight


def _distance(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item() if a.numel() else 0.0


@pytest.fixture(scope="module")
def log() -> Log:
    return Log()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_700_steps_give_dense_adams_table(log: Log, schedule: str) -> None:
    tables = log.dense(SCHEDULES[schedule])
    assert _distance(tables[0], tables[-1]) > 0.3
    # a learning rate of 1e-2 times the rule's error of 6e-6
    assert log.caught_up(SCHEDULES[schedule], tables)[0] < 6e-8


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.5, 0.999), (0.0, 0.999), (0.95, 0.999), (0.9, 0.9), (0.5, 0.5)])
def test_other_betas(log: Log, betas: tuple[float, float]) -> None:
    tables = log.dense(SCHEDULES["constant"], betas=betas)
    assert log.caught_up(SCHEDULES["constant"], tables, betas=betas)[0] < 3e-7


@pytest.mark.parametrize("eps", [1e-3, 1e-15])
def test_other_eps(log: Log, eps: float) -> None:
    tables = log.dense(SCHEDULES["constant"], eps=eps)
    assert log.caught_up(SCHEDULES["constant"], tables, eps=eps)[0] < 6e-8


def test_float32_is_as_near_the_truth_as_torchs_float32(log: Log) -> None:
    """Both are compared with the same steps in float64: their rounding errors are of the same size."""
    schedule = SCHEDULES["constant"]
    truth = log.dense(schedule)[-1]
    torchs = _distance(log.dense(schedule, torch.float32)[-1], truth)
    weight = log.start.float()
    adam = RowAdam(weight, lr=1e-2)
    for rows, grad in log.batches:
        adam.catch_up(rows)
        adam.step(rows, grad.float())
    adam.finish()
    assert _distance(weight, truth) < 2 * torchs + 1e-7


@BOTH
def test_a_state_saved_half_way_resumes_bit_for_bit(log: Log, kernels: bool) -> None:
    schedule = SCHEDULES["warm-up"]
    whole = log.caught_up(schedule, log.dense(schedule), kernels=kernels)[1]
    weight = log.start.clone()
    adam = RowAdam(weight, lr=math.nan, kernels=kernels)
    for t, (rows, grad) in enumerate(log.batches, 1):
        if t == 350:  # in the middle of gaps
            saved = {name: tensor.clone() for name, tensor in adam.state().items()}
            weight = weight.clone()
            adam = RowAdam(weight, lr=math.nan, kernels=kernels)
            adam.load(saved)
        adam.catch_up(rows)
        adam.step(rows, grad, schedule(t))
    adam.finish()
    assert torch.equal(weight, whole)


def test_saved_after_many_steps_and_loaded() -> None:
    """More steps than history has rows at first, with and without `finish` before."""
    for finish in (False, True):
        a, b = torch.ones(3, 2), torch.ones(3, 2)
        one, other = RowAdam(a, lr=0.01), RowAdam(b, lr=0.01)
        for t in range(2100):
            rows = torch.tensor([t % 2])
            one.catch_up(rows)
            one.step(rows, torch.full((1, 2), 0.5))
        if finish:
            one.finish()
        b.copy_(a)
        other.load(one.state())
        assert len(one.state()["history"]) == (1 if finish else 2101)
        for adam in (one, other):
            adam.catch_up(torch.tensor([0, 2]))
            adam.step(torch.tensor([0, 2]), torch.ones(2, 2))
            adam.finish()
        assert torch.equal(a, b)


def test_state_of_another_table_is_refused() -> None:
    state = RowAdam(torch.zeros(4, 3), lr=0.1).state()
    for other in (
        RowAdam(torch.zeros(5, 3), lr=0.1),
        RowAdam(torch.zeros(4, 3), lr=0.1, betas=(0.8, 0.999)),
        RowAdam(torch.zeros(4, 3, dtype=torch.float64), lr=0.1),
    ):
        with pytest.raises(ValueError, match="Adam's state must be"):
            other.load(state)


def test_frequent_finish_changes_only_the_rounding(log: Log) -> None:
    """`finish` ends all gaps and empties the history; a second `catch_up` changes nothing."""
    schedule = SCHEDULES["cosine"]
    whole = log.caught_up(schedule, log.dense(schedule))[1]
    weight = log.start.clone()
    adam = RowAdam(weight, lr=math.nan)
    for t, (rows, grad) in enumerate(log.batches, 1):
        adam.catch_up(rows)
        adam.catch_up(rows)
        adam.step(rows, grad, schedule(t))
        if t % 111 == 0:
            adam.finish()
            assert len(adam.state()["history"]) == 1
    adam.finish()
    assert _distance(weight, whole) < 6e-8


@pytest.mark.parametrize("schedule", ["constant", "zero for a while"])
def test_kernels_agree_with_torch_operations(log: Log, schedule: str) -> None:
    tables = log.dense(SCHEDULES[schedule])
    _, fast = log.caught_up(SCHEDULES[schedule], tables, kernels=True)
    apart, slow = log.caught_up(SCHEDULES[schedule], tables, kernels=False)
    assert apart < 6e-8
    assert _distance(fast, slow) < 1e-13


@pytest.mark.parametrize("width", [1, 4, 18, 33])
def test_widths_and_threads(width: int) -> None:
    """Slices change nothing: 5,000 rows of any width, with one thread and with three."""
    generator = torch.Generator().manual_seed(width)
    start = torch.randn(6000, width, generator=generator)
    rows = torch.randperm(6000, generator=generator)[:5000]
    grad = torch.randn(5000, width, generator=generator)
    ends = []
    many = threads()
    for count in (1, 3):
        use_threads(count)
        weight = start.clone()
        adam = RowAdam(weight, lr=0.1)
        for part in (rows, rows[:3000], rows):
            adam.catch_up(part)
            adam.step(part, grad[: len(part)])
        adam.finish()
        ends.append(weight)
    use_threads(many)
    assert torch.equal(*ends)
    assert (ends[0] - start).abs().max() > 0.25


@BOTH
def test_no_rows(kernels: bool) -> None:
    """A step without rows still moves the rows of earlier steps."""
    weight = torch.zeros(2, 3)
    adam = RowAdam(weight, lr=0.1, kernels=kernels)
    none = torch.zeros(0, dtype=torch.int64)
    adam.step(torch.tensor([1]), torch.ones(1, 3))
    assert adam.gather(none).shape == (0, 3)
    adam.step(none, torch.zeros(0, 3))
    adam.finish()
    assert weight[1].tolist() == pytest.approx([-0.167] * 3, abs=1e-3)
    assert weight[0].tolist() == [0, 0, 0]


@BOTH
def test_lazy_freezes_rows_between_touches(log: Log, kernels: bool) -> None:
    """torch's SparseAdam, whose eps is not scaled: with a small one the two are the same."""
    weight = log.start.clone()
    lazy = RowAdam(weight, lr=1e-2, eps=1e-30, lazy=True, kernels=kernels)
    theirs = torch.nn.Parameter(log.start.clone())
    sparse = torch.optim.SparseAdam([theirs], lr=1e-2, eps=1e-30)
    for rows, grad in log.batches[:200]:
        keep = grad.abs().sum(1) > 0  # 0 / (0 + 1e-30) is 0 for both, but SparseAdam drops nothing: keep it simple
        rows, grad = rows[keep], grad[keep]
        before = weight.clone()
        lazy.catch_up(rows)
        assert torch.equal(lazy.gather(rows), before[rows])
        lazy.step(rows, grad)
        untouched = torch.ones(len(weight), dtype=torch.bool)
        untouched[rows] = False
        assert torch.equal(weight[untouched], before[untouched])
        theirs.grad = torch.sparse_coo_tensor(rows[None], grad, theirs.shape, check_invariants=False)
        sparse.step()
    lazy.finish()
    torch.testing.assert_close(weight, theirs.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("betas", "eps"), [((1.0, 0.999), 1e-8), ((0.9, 0.5), 1e-8), ((0.9, 1.0), 1e-8), ((0.9, 0.999), 0.0)]
)
def test_betas_whose_missed_updates_may_not_decay_are_refused(betas: tuple[float, float], eps: float) -> None:
    with pytest.raises(ValueError, match="Adam needs"):
        RowAdam(torch.zeros(1, 1), lr=0.1, betas=betas, eps=eps)
