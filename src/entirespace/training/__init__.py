"""Fit a method on a dataset; the reference CTR network; runs on disk."""

from .fit import fit
from .reference import reference_ctr
from .run import Predictions, Run

__all__ = ["Predictions", "Run", "fit", "reference_ctr"]
