"""What a tower is: the network of one head above the embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..fields import Fields, FieldShape


class Tower(nn.Module, ABC):
    """All fields of a batch -> the two logits of one head.

    Args:
        config: the tower's settings, [network.tower] of the configuration.
        shape: the fields that it will read: those of the dataset, or what a trunk gives.
        intercept: the logit of the head's base rate. Hand it to `Logits`, so that the tower starts there.
        generator: the only source of initial weights. A tower then starts from the seed and its head's name alone.
    """

    @abstractmethod
    def __init__(self, config: Any, shape: FieldShape, intercept: float, generator: torch.Generator) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, fields: Fields) -> Tensor:
        """The logits of "not" and "yes" of each impression. Shape: -> (B, 2)."""
