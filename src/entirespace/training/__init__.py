"""Fit a method on a dataset; the reference CTR network; runs on disk."""

from ..runs.outputs import Predictions
from ..runs.run import Run
from .fit import fit
from .reference import reference_ctr

__all__ = ["Predictions", "Run", "fit", "reference_ctr"]
