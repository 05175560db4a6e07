"""Adam for embedding tables: the results of dense Adam at the cost of the rows that a batch uses.

Dense Adam updates every row at every step, also a row without a gradient, as long as its m is not 0. An Adam that skips
those rows ("lazy", such as torch.optim.SparseAdam) is a different optimizer, with different AUCs. `RowAdam` also
updates only the rows of the batch, but first applies the steps that these rows missed. `coasting` has the derivation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...kernels.threads import slices
from . import adam_kernels, adam_torch
from .coasting import ROOM, Coasting

CHUNK = 1 << 18  # rows that `finish` brings up to date at a time


class RowAdam:
    """torch.optim.Adam on one embedding table, at the cost of the rows used.

    One training step: `x = adam.gather(rows)`, forward and backward on x, `adam.step(rows, x.grad)`.
    Before anything else reads the table (an evaluation, a checkpoint): `adam.finish()`.

    Args:
        weight: float32 or float64 (V, D), contiguous; changed in place, so it must not be moved while training.
        lr: the learning rate of steps that do not give another one.
        lazy: do not apply missed steps. Half the cost, but a different optimizer.
        kernels: use the compiled CPU kernels; by default if the weight is on the CPU.

    Memory: 2 D + 1 words of the weight's precision per row, and 48 bytes per step since the last `finish`.

    Raises: ValueError as `Coasting`.

    >>> weight = torch.zeros(4, 2)
    >>> adam = RowAdam(weight, lr=0.1)
    >>> rows = torch.tensor([1, 3])
    >>> adam.gather(rows).shape
    torch.Size([2, 2])
    >>> adam.step(rows, torch.ones(2, 2))
    >>> adam.step(torch.tensor([0]), torch.ones(1, 2))  # moves rows 1 and 3 too:
    >>> adam.finish()  # 0.1 + 0.1 * 0.09/(1 - 0.9^2) / sqrt(0.000999/(1 - 0.999^2)) = 0.167
    >>> [round(w, 3) for w in weight[:, 0].tolist()]
    [-0.074, -0.167, 0.0, -0.167]
    """

    def __init__(
        self,
        weight: Tensor,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        lazy: bool = False,
        kernels: bool | None = None,
    ) -> None:
        rows, width = weight.shape
        self.weight, self.lr, self.lazy = weight.detach(), lr, lazy
        self.clock = Coasting(betas, eps, weight.device)
        self.packed = torch.zeros(rows, 2 * width + 1, dtype=weight.dtype, device=weight.device)
        # `last` is the last word of each row's state, viewed as an integer, so one memory access reads all of it
        self.last = self.packed.view(torch.int32 if weight.dtype == torch.float32 else torch.int64)[:, -1]
        self._fast = weight.device.type == "cpu" if kernels is None else kernels
        if self._fast:
            self._catch_up, self._step = adam_kernels.kernels(width, str(weight.dtype).removeprefix("torch."))
            self._arrays = self.weight.numpy(), self.packed.numpy(), self.last.numpy()

    def catch_up(self, rows: Tensor) -> None:
        """Bring weight, m and v of these rows up to the current step. Shape: rows int64 (U,), distinct."""
        if not self.lazy:
            self._caught_up(rows, self.weight.new_empty(0, self.weight.shape[1]))

    def gather(self, rows: Tensor) -> Tensor:
        """`catch_up(rows)`, then a copy of `weight[rows]`. Shape: int64 (U,), distinct -> (U, D)."""
        if self.lazy:
            return self.weight[rows]
        return self._caught_up(rows, self.weight.new_empty(len(rows), self.weight.shape[1]))

    def _caught_up(self, rows: Tensor, out: Tensor) -> Tensor:
        clock = self.clock
        if not self._fast:
            return adam_torch.catch_up(rows, self.weight, self.packed, self.last, clock)
        tables = clock.history.numpy(), clock.powers.numpy()
        times = clock.base, clock.now, clock.late, clock.early, math.log(clock.betas[1])
        slices(self._catch_up, len(rows), rows.numpy(), *self._arrays, *tables, *times, out.numpy())
        return out

    def step(self, rows: Tensor, grad: Tensor, lr: float | None = None) -> None:
        """One step of Adam: these rows with their gradient, all others with gradient zero.

        Shape: rows int64 (U,), distinct and up to date (`gather`); grad (U, D), summed over all uses of a row in the
        batch.
        """
        clock, lr = self.clock, self.lr if lr is None else lr
        clock.tick()
        if not self._fast:
            adam_torch.step(rows, grad, self.weight, self.packed, self.last, clock, lr)
            clock.advance(lr)
            return
        c, e = clock.coefficients(lr, clock.now)
        grads = grad.detach().contiguous().numpy()
        slices(self._step, len(rows), rows.numpy(), *self._arrays, grads, *clock.betas, c, e, clock.now)
        if not self.lazy:
            tables = clock.history.numpy(), clock.sums.numpy(), clock.powers.numpy()
            adam_kernels.advance(*tables, clock.base, clock.now, clock.late, clock.early, c, e)

    def finish(self) -> None:
        """Bring all rows up to date: the table then equals dense Adam's, and the history is emptied."""
        rows, device = len(self.weight), self.weight.device
        for start in range(0, 0 if self.lazy else rows, CHUNK):
            self.catch_up(torch.arange(start, min(start + CHUNK, rows), device=device))
        self.clock.restart()

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint. With the weight, they are all that is needed to resume bit for bit.

        They are not copies. rows (V, 2 D + 1) is m, v and the step of the last use. history is small after `finish`.
        """
        clock = self.clock
        return {
            "rows": self.packed,
            "clock": torch.tensor([clock.base, clock.now]),
            "history": clock.history[: clock.now - clock.base + 1].clone(),
            "sums": clock.sums,
            "constants": torch.tensor([*clock.betas, clock.eps], dtype=torch.float64),
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore the `state()` of another RowAdam; the caller restores the weight.

        Raises: ValueError if its shape, precision, betas or eps differ.
        """
        clock, rows, kept = self.clock, state["rows"], state["history"]
        constants = tuple(state["constants"].tolist())
        mine = self.packed.dtype, tuple(self.packed.shape), (*clock.betas, clock.eps)
        if (rows.dtype, tuple(rows.shape), constants) != mine:
            raise ValueError(
                f"Adam's state must be {mine[0]} {mine[1]} with betas and eps {mine[2]}, "
                f"however: {rows.dtype} {tuple(rows.shape)} with {constants}"
            )
        self.packed.copy_(rows)
        clock.base, clock.now = (int(x) for x in state["clock"])
        clock.history = clock.room(ROOM * math.ceil(len(kept) / ROOM))
        clock.history[: len(kept)] = kept
        clock.sums.copy_(state["sums"])
