"""No trunk, as in the paper: towers share the embedding and nothing above it (Figure 2)."""

from __future__ import annotations

import torch

from ...config import NoTrunkConfig
from ..fields import Fields, FieldShape
from ._trunk import Trunk


class NoTrunk(Trunk):
    """Passes the fields of the batch to every tower unchanged."""

    def __init__(
        self, config: NoTrunkConfig, shape: FieldShape, heads: tuple[str, ...], generator: torch.Generator
    ) -> None:
        super().__init__(config, shape, heads, generator)
        self.shape = shape

    def forward(self, fields: Fields) -> dict[str, Fields]:
        return dict.fromkeys(self.heads, fields)
