"""Adam for the parameters that every batch uses, such as the weights of towers."""

# pyright: reportPrivateImportUsage=false
# (torch.optim.Adam calls the same two operations)
from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

STEP, MEAN, SQUARES = "step", "exp_avg", "exp_avg_sq"  # the names of torch.optim.Adam


class DenseAdam:
    """torch.optim.Adam(fused=True), bit for bit: one compiled operation makes the step of all parameters.

    That class itself imports torch's compiler when it is first made, which takes a second of every process. With weight
    decay it is AdamW (Loshchilov and Hutter 2019): w <- (1 - lr * decay) w, and then Adam's step.

    Args:
        parameters: changed in place. One without a gradient is not moved, and has no state.
        weight_decay: of parameters with two or more dimensions; biases do not decay.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self._parameters = tuple(parameters)
        self._lr, self._betas, self._eps, self._decay = lr, betas, eps, weight_decay
        self._state: dict[int, dict[str, Tensor]] = {}  # place of a parameter -> its step and moments

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters by their gradients."""
        moved = {i: p.grad for i, p in enumerate(self._parameters) if p.grad is not None}
        if not moved:
            return
        for i in moved.keys() - self._state.keys():
            p = self._parameters[i]
            self._state[i] = {
                STEP: torch.zeros((), dtype=torch.float32, device=p.device),
                MEAN: torch.zeros_like(p, memory_format=torch.preserve_format),
                SQUARES: torch.zeros_like(p, memory_format=torch.preserve_format),
            }
        steps, means, squares = ([self._state[i][name] for i in moved] for name in (STEP, MEAN, SQUARES))
        torch._foreach_add_(steps, 1)
        if self._decay and (layers := [self._parameters[i] for i in moved if self._parameters[i].ndim > 1]):
            torch._foreach_mul_(layers, 1 - self._lr * self._decay)
        torch._fused_adam_(
            [self._parameters[i] for i in moved],
            list(moved.values()),
            means,
            squares,
            [],
            steps,
            lr=self._lr,
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=0.0,
            eps=self._eps,
            amsgrad=False,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """The steps and moments by name, "PLACE.exp_avg", for a checkpoint."""
        return {f"{i}.{name}": tensor for i, held in sorted(self._state.items()) for name, tensor in held.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the `state()` of another one with the same parameters."""
        self._state = {}
        for key, tensor in tensors.items():
            place, _, name = key.partition(".")
            i = int(place)
            device = self._parameters[i].device
            self._state.setdefault(i, {})[name] = tensor.to(device, copy=True)
