"""The MLP of section 3.1: ReLU layers, then two logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Embedding&MLP's second half: `hidden` ReLU layers and a linear layer of two logits.

    The difference of the two output biases starts at `intercept`: the network starts as "everyone has the
    base rate" and spends no step on finding it. At a CTCVR of 2e-4 that is logit -8.5, which Adam at 0.001
    takes thousands of steps to walk.
    Shape: (B, inputs) -> (B, 2).
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...], intercept: float, generator: torch.Generator):
        super().__init__()
        widths = (inputs, *hidden)
        # NOTE[UNSAID]: "360 x 200 x 80 x 2" may count its input; the authors' released code has hidden layers
        # of 200 and 80 only. We read all but the 2 as hidden.
        # NOTE[UNSAID]: the paper does not state how weights start. He normal keeps the scale through ReLU
        # layers; no ReLU follows the logits, hence half that variance.
        self.hidden = nn.ModuleList(
            _linear(n, m, math.sqrt(2 / n), generator) for n, m in zip(widths, hidden, strict=False)
        )
        self.logits = _linear(widths[-1], 2, math.sqrt(1 / widths[-1]), generator)
        with torch.no_grad():
            self.logits.bias.copy_(torch.tensor([-intercept / 2, intercept / 2]))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.logits(x)


def _linear(inputs: int, outputs: int, std: float, generator: torch.Generator) -> nn.Linear:
    # On "meta" nothing is filled in: Linear's own start would draw from the global generator.
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.normal_(0.0, std, generator=generator)
        layer.bias.zero_()
    return layer
