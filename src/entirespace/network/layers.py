"""The layers of towers and trunks, and their initial weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fields import Fields


def linear(inputs: int, outputs: int, std: float, generator: torch.Generator) -> nn.Linear:
    """A linear layer with initial weights from N(0, std²) and biases 0. Shape: (B, inputs) -> (B, outputs)."""
    return _start(nn.Linear(inputs, outputs, device="meta"), std, generator)


class ReLULayers(nn.ModuleList):
    """ReLU layers of the given widths on the vectors of all fields side by side. Shape: Fields -> (B, widths[-1]).

    Args:
        inputs: F * D.
        widths: the width of each layer.
        generator: the source of the initial weights.

    >>> from .fields import VectorFields
    >>> ReLULayers(6, (5, 4), torch.Generator())(VectorFields(torch.ones(3, 2, 3))).shape
    torch.Size([3, 4])
    """

    def __init__(self, inputs: int, widths: Sequence[int], generator: torch.Generator) -> None:
        # NOTE[UNSAID]: the paper does not state how weights are initialised. He normal keeps the scale in ReLU layers.
        pairs = zip((inputs, *widths), widths, strict=False)
        super().__init__(linear(n, m, math.sqrt(2 / n), generator) for n, m in pairs)

    def forward(self, fields: Fields) -> Tensor:
        first, *others = self
        assert isinstance(first, nn.Linear)
        x = torch.relu_(fields.linear(first))
        for layer in others:
            x = torch.relu_(layer(x))
        return x


class Logits(nn.Linear):
    """The last layer of a tower: two logits, for "no" (column 0) and "yes" (column 1).

    The difference of the two biases starts at `intercept`, so every initial prediction is near the base rate. At a
    CTCVR of 2e-4 that is a logit of -8.5, which Adam with a learning rate of 0.001 would need thousands of steps to
    reach from 0.
    Shape: (B, inputs) -> (B, 2), in the dtype of the weight.

    Args:
        intercept: the logit of the base rate.
        generator: the source of the initial weights.
    """

    def __init__(self, inputs: int, intercept: float, generator: torch.Generator) -> None:
        super().__init__(inputs, 2, device="meta")
        _start(self, math.sqrt(1 / inputs), generator)  # half of He's variance, because no ReLU follows
        with torch.no_grad():
            self.bias.copy_(torch.tensor([-intercept / 2, intercept / 2]))

    def forward(self, input: Tensor) -> Tensor:
        # In bfloat16 a logit of -8.5 has an error of up to 3 % of the odds, so this layer never runs in bfloat16.
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.to(self.weight.dtype), self.weight, self.bias)

    def of(self, fields: Fields) -> Tensor:
        """This layer alone on the vectors of all fields: logistic regression. Shape: Fields of F * D -> (B, 2)."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return fields.linear(self)


def _start(layer: nn.Linear, std: float, generator: torch.Generator) -> nn.Linear:
    """Initialise a layer that was made on device "meta".

    There nn.Linear draws no initial weights; elsewhere it would draw them from the global generator. The parameters are
    not made by `to_empty`, which imports torch's symbolic shapes and sympy: half a second of every process.
    """
    layer.weight = nn.Parameter(torch.empty(layer.weight.shape).normal_(0.0, std, generator=generator))
    layer.bias = nn.Parameter(torch.zeros(layer.bias.shape))
    return layer
