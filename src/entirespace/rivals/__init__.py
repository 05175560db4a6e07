"""Rivals of the methods, which are no methods: LightGBM on the same columns, and blends of two rows of a comparison."""

from .blend import BLEND, BlendWeights
from .lightgbm import LightGBM, Rival, Trees

__all__ = ["BLEND", "BlendWeights", "LightGBM", "Rival", "Trees"]
