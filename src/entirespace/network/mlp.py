"""The MLP of section 3.1: ReLU layers, then two logits."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .embedding import TORCH, Input, Lookups


class MLP(nn.Module):
    """Embedding&MLP's second half: `hidden` ReLU layers and a linear layer of two logits.

    The difference of the two output biases starts at `intercept`: the network starts as "everyone has the
    base rate" and spends no step on finding it. At a CTCVR of 2e-4 that is logit -8.5, which Adam at 0.001
    takes thousands of steps to walk.
    Shape: inputs of F * D columns in all -> (B, 2).
    """

    def __init__(self, width: int, hidden: tuple[int, ...], intercept: float, generator: torch.Generator):
        super().__init__()
        widths = (width, *hidden)
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

    def forward(self, inputs: Sequence[Input], lookups: Lookups = TORCH) -> Tensor:
        first, *others = [*self.hidden, self.logits]
        x = first_layer(first, inputs, lookups)
        for layer in others[:-1]:
            x = layer(torch.relu_(x))
        if not others:  # no hidden layer
            return x
        # A logit of -8.5 in bfloat16 is off by up to 3 % of the odds: the last layer is never rounded.
        with torch.autocast(x.device.type, enabled=False):
            return others[-1](torch.relu_(x).to(others[-1].weight.dtype))


def first_layer(layer: nn.Linear, inputs: Sequence[Input], lookups: Lookups = TORCH) -> Tensor:
    """A linear layer of inputs that stand apart, so that a row which many impressions share is multiplied once.

        x W' + b = sum over inputs i of expand_i(x_i W_i') + b,     W_i: the columns of W that belong to i's fields

    Backward likewise: what comes back to a shared row is summed over its impressions before it is multiplied.
    Shape: -> (B, layer.out_features).
    """
    size = inputs[0].x.shape[1] // len(inputs[0].fields)  # D
    z, bias = None, layer.bias
    for i in inputs:
        weight = layer.weight if len(inputs) == 1 else layer.weight[:, _columns(i.fields, size)]
        if i.expand is None:
            z = F.linear(i.x, weight, bias) if z is None else torch.addmm(z, i.x, weight.t())
        else:
            part = lookups.lookup(F.linear(i.x, weight, bias).to(i.x.dtype), i.expand)
            z, bias = part if z is None else z + part, None
    assert z is not None
    return z


@functools.cache
def _columns(fields: tuple[int, ...], size: int) -> slice | Tensor:
    """The columns of these fields, `size` each: a slice (no copy) where they are neighbours.

    >>> _columns((2, 3), 4), _columns((0, 2), 2)
    (slice(8, 16, None), tensor([0, 1, 4, 5]))
    """
    if fields == tuple(range(fields[0], fields[-1] + 1)):
        return slice(fields[0] * size, (fields[-1] + 1) * size)
    return (torch.tensor(fields)[:, None] * size + torch.arange(size)).flatten()


def _linear(inputs: int, outputs: int, std: float, generator: torch.Generator) -> nn.Linear:
    # On "meta" nothing is filled in: Linear's own start would draw from the global generator.
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.normal_(0.0, std, generator=generator)
        layer.bias.zero_()
    return layer
