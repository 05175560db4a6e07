"""Fitting: a method on a training part (`fit`), and the reference CTR network (`reference_ctr`)."""

from ..runs.outputs import Predictions
from ..runs.run import Run
from .fit import fit
from .reference import reference_ctr

__all__ = ["Predictions", "Run", "fit", "reference_ctr"]
