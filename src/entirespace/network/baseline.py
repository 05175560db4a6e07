"""The logistic baseline: log odds of click and conversion, linear in the log odds of the history's rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .layers import linear
from .probability import Prob

CTR, CVR, CTCVR = "ctr", "cvr", "ctcvr"
FITTED = (CTR, CVR)
"""The heads that have a regression of their own: click on all impressions, and conversion on the clicked ones."""
OFFSET = (CTR, CVR, CTCVR)
"""The heads for which the baseline has log odds. A head of another name gets none."""


FAR = 4.0
"""The largest standardised rate that the layers on the rates see. A rate that differs more is one of few samples."""


class Regression(nn.Module):
    """One fitted regression: log odds = bias + sum_j weight_j (numbers_j - mean_j) / scale_j.

    Its tensors are buffers: it is solved before training (`training.rates`), and gets no gradient.
    Shape: mean, scale, weight float32 (R,); bias float32 (). scale 0 marks a constant column, whose weight is 0.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, rates: int) -> None:
        super().__init__()
        for name, value in (("mean", 0.0), ("scale", 1.0), ("weight", 0.0)):
            self.register_buffer(name, torch.full((rates,), value))
        self.register_buffer("bias", torch.zeros(()))

    def standardised(self, numbers: Tensor) -> Tensor:
        """(numbers_j - mean_j) / scale_j, at most `FAR` from 0; 0 for a constant column. Shape: float32 (B, R)."""
        z = (numbers.to(self.mean.dtype) - self.mean) / torch.where(self.scale > 0, self.scale, torch.inf)
        return z.clamp(-FAR, FAR)

    def forward(self, numbers: Tensor) -> Tensor:
        """Shape: (B, R) -> (B,)."""
        slope = torch.where(self.scale > 0, self.weight / self.scale, 0.0)
        # The mean is subtracted first: rates of 0.0001 have log odds of -9, and differ by much less.
        return (numbers.to(slope.dtype) - self.mean) @ slope + self.bias


class Baseline(nn.Module):
    """The log odds of the heads "ctr", "cvr" and "ctcvr", from the numbers of a batch.

    Args:
        rates: R.
    """

    def __init__(self, rates: int) -> None:
        super().__init__()
        self.regressions = nn.ModuleDict({head: Regression(rates) for head in FITTED})

    def regression(self, head: str) -> Regression:
        """The regression of "ctr" or of "cvr"."""
        found = self.regressions[head]
        assert isinstance(found, Regression)
        return found

    def forward(self, numbers: Tensor | None) -> Mapping[str, Tensor]:
        """The log odds by head. That of "ctcvr" is the logit of pCTR * pCVR, computed as `Prob` does.

        Shape: (B, R) -> (B,) each.
        """
        if numbers is None:
            came, do = "the batch has no numbers", "Add [history] to the schema, and prepare the log again"
            raise ConfigError("the logistic baseline reads the rates of the history", came, do=do)
        # In bfloat16 a log odds of -8.5 has an error of up to 3 % of the odds, so this never runs in bfloat16.
        with torch.autocast(numbers.device.type, enabled=False):
            ctr, cvr = (self.regression(head)(numbers) for head in FITTED)
            both = Prob.of_logit(ctr) * Prob.of_logit(cvr)
            return {CTR: ctr, CVR: cvr, CTCVR: both.log - both.log_not}


class RateLayers(nn.Module):
    """ReLU layers on the standardised rates: what the baseline, which is linear in them, leaves out.

    All heads share the layers. The last one starts at 0, so at first the baseline stands alone.
    Shape: standardised rates (B, R) -> head -> (B,).

    Args:
        rates: R.
        widths: the width of each ReLU layer.
        heads: the heads of `OFFSET` that the network has.
        generator: the source of the initial weights.
    """

    def __init__(self, rates: int, widths: Sequence[int], heads: Sequence[str], generator: torch.Generator) -> None:
        super().__init__()
        self.heads = tuple(heads)
        pairs = zip((rates, *widths), widths, strict=False)
        self.hidden = nn.ModuleList(linear(n, m, math.sqrt(2 / n), generator) for n, m in pairs)
        self.last = linear((rates, *widths)[-1], len(self.heads), 0.0, generator)

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        for layer in self.hidden:
            x = torch.relu_(layer(x))
        with torch.autocast(x.device.type, enabled=False):
            odds = self.last(x.to(self.last.weight.dtype))
        return dict(zip(self.heads, odds.unbind(-1), strict=True))
