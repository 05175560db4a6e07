"""The base class of trunks. A trunk is the layers that the towers of one embedding share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from ..fields import Fields, FieldShape


class Trunk(nn.Module, ABC):
    """All fields of a batch -> the input of each head's tower.

    There is one trunk per embedding, so heads with separate embeddings (DIVISION, ESMM-NS) do not share a trunk.

    Args:
        config: the trunk's settings, [network.trunk] of the configuration.
        shape: the fields of the dataset.
        heads: the heads whose towers read this trunk.
        generator: the only source of initial weights.
    """

    shape: FieldShape
    """The shape of each tower's input; a subclass sets it in __init__."""

    @abstractmethod
    def __init__(self, config: Any, shape: FieldShape, heads: tuple[str, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads

    @abstractmethod
    def forward(self, fields: Fields) -> dict[str, Fields]:
        """Head -> the input of its tower: the same for all heads, or as in MMoE another for each."""
