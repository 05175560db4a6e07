"""The MLP of section 3.1: ReLU layers, then two logits."""

from __future__ import annotations

import torch
from torch import Tensor

from ...config import MLPTowerConfig
from ..fields import Fields, FieldShape
from ..layers import Logits, ReLULayers
from ._tower import Tower


class MLPTower(Tower):
    """360 x 200 x 80 x 2 by default: the MLP of the paper's "Embedding&MLP". Shape: Fields -> (B, 2)."""

    def __init__(self, config: MLPTowerConfig, shape: FieldShape, intercept: float, generator: torch.Generator) -> None:
        super().__init__(config, shape, intercept, generator)
        # NOTE[UNSAID]: "360 x 200 x 80 x 2" may count its input; the authors' released code has hidden layers
        # of 200 and 80 only. Here all widths but the 2 are hidden layers.
        self.hidden = ReLULayers(shape.width, config.hidden, generator)
        self.logits = Logits((shape.width, *config.hidden)[-1], intercept, generator)

    def forward(self, fields: Fields) -> Tensor:
        return self.logits(self.hidden(fields)) if len(self.hidden) else self.logits.of(fields)
