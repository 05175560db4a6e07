"""The loop that a good user of torch would write: no DataLoader, rows taken by a random permutation, fused Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from worker import Data, Train


def plain_loops(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], adam: torch.optim.Optimizer, data: Data
) -> dict[str, Train]:
    """The loop around (ids, click, conversion) -> loss; in bf16, too, where the processor multiplies it."""
    ids, click, conversion = (torch.from_numpy(a) for a in (data.ids, data.click, data.conversion))

    def loop(precision: torch.dtype) -> Train:
        def train(batch: int, rows: slice) -> None:
            fuse(adam, True)
            order = rows.start + torch.randperm(rows.stop - rows.start)
            for which in order.split(batch):
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
                    value = loss(ids[which], click[which], conversion[which])
                adam.zero_grad()
                value.backward()
                adam.step()
                value.item()

        return train

    return {f"plain loop in {name}": loop(precision) for name, precision in precisions().items()}


def fuse(adam: torch.optim.Optimizer, whether: bool) -> None:
    """One pass over memory a step, or torch's default for the CPU, which the libraries take: one an operation."""
    for group in adam.param_groups:
        group["fused"] = whether


def precisions() -> dict[Literal["fp32", "bf16"], torch.dtype]:
    """What the hidden layers may multiply in on this processor."""
    has_units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return {"fp32": torch.float32, "bf16": torch.bfloat16} if has_units else {"fp32": torch.float32}


def float_bce(p: Tensor, y: Tensor) -> Tensor:
    """Mean cross entropy of probabilities in nats, in float32 whatever the layers multiplied in. Shape: (B,), (B,)."""
    with torch.autocast("cpu", enabled=False):
        return torch.nn.functional.binary_cross_entropy(p.float(), y)
