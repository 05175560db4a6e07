"""Trunks: one kind, one file. `TRUNKS` says which settings make which trunk."""

from __future__ import annotations

import torch

from ...config import MLPTrunkConfig, Model, NoTrunkConfig
from ..fields import FieldShape
from ._trunk import Trunk
from .mlp import MLPTrunk
from .none import NoTrunk

TRUNKS: dict[type[Model], type[Trunk]] = {
    NoTrunkConfig: NoTrunk,
    MLPTrunkConfig: MLPTrunk,
}


def make_trunk(config: Model, shape: FieldShape, heads: tuple[str, ...], generator: torch.Generator) -> Trunk:
    """The trunk of these settings."""
    return TRUNKS[type(config)](config, shape, heads, generator)


__all__ = ["TRUNKS", "MLPTrunk", "NoTrunk", "Trunk", "make_trunk"]
