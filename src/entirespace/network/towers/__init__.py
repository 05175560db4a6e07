"""Towers, one kind per file. `TOWERS` maps the class of the settings to the class of the tower."""

from __future__ import annotations

import torch

from ...config import MLPTowerConfig, Model
from ..fields import FieldShape
from ._tower import Tower
from .mlp import MLPTower

TOWERS: dict[type[Model], type[Tower]] = {
    MLPTowerConfig: MLPTower,
}


def make_tower(config: Model, shape: FieldShape, intercept: float, generator: torch.Generator) -> Tower:
    """Make the tower with these settings; the arguments are those of `Tower`."""
    return TOWERS[type(config)](config, shape, intercept, generator)


__all__ = ["TOWERS", "MLPTower", "Tower", "make_tower"]
