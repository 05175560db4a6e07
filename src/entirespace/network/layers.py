"""The layers that towers and trunks are made of, and how they start."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fields import Fields


def linear(inputs: int, outputs: int, std: float, generator: torch.Generator) -> nn.Linear:
    """A linear layer whose weights start as N(0, std²) from the generator, and its biases at 0."""
    return _start(nn.Linear(inputs, outputs, device="meta"), std, generator)


class ReLULayers(nn.ModuleList):
    """ReLU layers of the given widths above all fields side by side. Shape: F * D columns -> (B, widths[-1]).

    >>> from .fields import VectorFields
    >>> ReLULayers(6, (5, 4), torch.Generator())(VectorFields(torch.ones(3, 2, 3))).shape
    torch.Size([3, 4])
    """

    def __init__(self, inputs: int, widths: Sequence[int], generator: torch.Generator) -> None:
        # NOTE[UNSAID]: the paper does not state how weights start. He normal keeps the scale through ReLU layers.
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
    """The last layer of a tower: two logits, of which the second is the event's.

    The difference of the two biases starts at `intercept`: the network starts as "everyone has the base rate" and
    spends no step on finding it. At a CTCVR of 2e-4 that is logit -8.5, which Adam at 0.001 takes thousands of steps
    to walk.
    Shape: (B, inputs) -> (B, 2), in the weight's dtype.
    """

    def __init__(self, inputs: int, intercept: float, generator: torch.Generator) -> None:
        super().__init__(inputs, 2, device="meta")
        _start(self, math.sqrt(1 / inputs), generator)  # no ReLU follows, hence half of He's variance
        with torch.no_grad():
            self.bias.copy_(torch.tensor([-intercept / 2, intercept / 2]))

    def forward(self, input: Tensor) -> Tensor:
        # A logit of -8.5 in bfloat16 is off by up to 3 % of the odds: the last layer is never rounded.
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.to(self.weight.dtype), self.weight, self.bias)

    def of(self, fields: Fields) -> Tensor:
        """The logits of all fields side by side: logistic regression. Shape: F * D columns -> (B, 2)."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return fields.linear(self)


def _start(layer: nn.Linear, std: float, generator: torch.Generator) -> nn.Linear:
    # The layer comes from "meta", where nothing is filled in: Linear's own start draws from the global generator.
    layer.to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.normal_(0.0, std, generator=generator)
        layer.bias.zero_()
    return layer
