"""What a trunk is: what the towers above one embedding share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from ..fields import Fields, FieldShape


class Trunk(nn.Module, ABC):
    """All fields of a batch -> for each head what its tower reads.

    One trunk stands on each embedding: heads with an embedding each (DIVISION, ESMM-NS) share no trunk either.

    Args:
        config: the trunk's settings, [network.trunk] of the configuration.
        shape: the fields of the dataset.
        heads: the heads whose towers stand on this trunk.
        generator: the only source of initial weights.
    """

    shape: FieldShape
    """What each tower will read."""

    @abstractmethod
    def __init__(self, config: Any, shape: FieldShape, heads: tuple[str, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads

    @abstractmethod
    def forward(self, fields: Fields) -> dict[str, Fields]:
        """What the tower of each head reads: the same for all, or as in MMoE one for each."""
