"""The shared bottom of multi-task learning (Caruana 1997): ReLU layers that all towers read."""

from __future__ import annotations

import torch

from ...config import MLPTrunkConfig
from ..fields import Fields, FieldShape, VectorFields
from ..layers import ReLULayers
from ._trunk import Trunk


class MLPTrunk(Trunk):
    """ReLU layers on all fields side by side; every tower reads the output of the last.

    Shape: Fields -> vectors (B, 1, hidden[-1]), one field named "trunk".
    """

    def __init__(
        self, config: MLPTrunkConfig, shape: FieldShape, heads: tuple[str, ...], generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, heads, generator)
        self.hidden = ReLULayers(shape.width, config.hidden, generator)
        self.shape = FieldShape(("trunk",), config.hidden[-1])

    def forward(self, fields: Fields) -> dict[str, Fields]:
        return dict.fromkeys(self.heads, VectorFields(self.hidden(fields).unsqueeze(1)))
