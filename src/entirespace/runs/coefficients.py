"""The coefficients of a run's logistic baseline, by name of the rate, in a form to be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..config import Model
from ..network import Ensemble, Network
from ..network.baseline import FITTED
from ..records import save_json
from .record import COEFFICIENTS


class Coefficients(Model):
    """One regression: log odds = intercept + sum of weight x (log odds of the rate - mean) / scale."""

    intercept: float
    """The log odds where every rate has its mean."""
    weights: dict[str, float]
    """Rate -> its weight per unit of the scale, the largest first, whatever their signs."""
    mean: dict[str, float]
    """Rate -> the mean of its log odds in the samples that the regression learned from."""
    scale: dict[str, float]
    """Rate -> their standard deviation, or 0.3 if that is smaller; 0 if they are constant."""


def coefficients(network: Network | Ensemble, rates: Sequence[str]) -> dict[str, Coefficients]:
    """The coefficients by head, "ctr" and "cvr"; empty for a network without a baseline.

    Args:
        rates: the names of the R rates.
    """
    if network.baseline is None:
        return {}
    found: dict[str, Coefficients] = {}
    for head in FITTED:
        regression = network.baseline.regression(head)
        weight, mean, scale = (
            dict(zip(rates, tensor.tolist(), strict=True))
            for tensor in (regression.weight, regression.mean, regression.scale)
        )
        found[head] = Coefficients(
            intercept=regression.bias.item(),
            weights=dict(sorted(weight.items(), key=lambda pair: -abs(pair[1]))),
            mean=mean,
            scale=scale,
        )
    return found


def save_coefficients(folder: Path, network: Network | Ensemble, rates: Sequence[str]) -> None:
    """Write coefficients.json into a run's folder, if its network has a baseline."""
    if found := coefficients(network, rates):
        save_json(folder / COEFFICIENTS, {head: one.model_dump() for head, one in found.items()})
