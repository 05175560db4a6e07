"""Fitting: a method on a training part (`fit`), from several seeds (`fit_ensemble`), and the reference CTR network
(`reference_ctr`)."""

from ..runs.run import Run
from ..scoring.predictions import Predictions
from .ensemble import fit_ensemble
from .fit import fit
from .reference import reference_ctr

__all__ = ["Predictions", "Run", "fit", "fit_ensemble", "reference_ctr"]
