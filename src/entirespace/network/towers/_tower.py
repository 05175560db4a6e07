"""The base class of towers. A tower is the network of one head above the embedding or trunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ..fields import Fields, FieldShape
from ..layers import Logits


class Tower(nn.Module, ABC):
    """All fields of a batch -> the two logits of one head.

    Args:
        config: the tower's settings, [network.tower] of the configuration.
        shape: the fields that it will read: those of the dataset, or the output of a trunk.
        intercept: the logit of the head's base rate. Pass it to `Logits`, so that initial predictions are near it.
        generator: the only source of initial weights, so that they depend only on the seed and the head's name.
    """

    @abstractmethod
    def __init__(self, config: Any, shape: FieldShape, intercept: float, generator: torch.Generator) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, fields: Fields) -> Tensor:
        """The logits of "no" (column 0) and "yes" (column 1) of each impression. Shape: float (B, 2)."""

    def start_constant(self) -> None:
        """Set the weights of the last layer to 0, so that the tower starts with its intercept for every impression.

        Raises: ConfigError if the tower has no layer of class `Logits`.
        """
        last = [layer for layer in self.modules() if isinstance(layer, Logits)]
        if not last:
            raise ConfigError(
                "a tower beside the logistic baseline must end with a layer of class Logits, which starts at 0",
                f"{type(self).__name__} has none",
                do='Use `entirespace.network.layers.Logits` in the tower, or set network.offset = "none"',
            )
        for layer in last:
            torch.nn.init.zeros_(layer.weight)
