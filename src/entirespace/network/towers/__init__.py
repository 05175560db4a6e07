"""Towers: one kind, one file. `TOWERS` says which settings make which tower."""

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
    """The tower of these settings."""
    return TOWERS[type(config)](config, shape, intercept, generator)


__all__ = ["TOWERS", "MLPTower", "Tower", "make_tower"]
