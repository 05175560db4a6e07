"""Trunks, one kind per file. `TRUNKS` maps the class of the settings to the class of the trunk."""

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
    """Make the trunk with these settings; the arguments are those of `Trunk`."""
    return TRUNKS[type(config)](config, shape, heads, generator)


__all__ = ["TRUNKS", "MLPTrunk", "NoTrunk", "Trunk", "make_trunk"]
