"""The calibration that ends a training, with training.calibrate."""

from __future__ import annotations

from collections.abc import Callable

from ..config import Config
from ..dataset.dataset import Dataset, Part
from ..runs.calibration import Calibration, calibrate
from ..runs.kept import Kept
from ..runs.outputs import Outputs


def reads_validation(config: Config) -> bool:
    """Whether training ends with scores of the validation part: for a refit, or for calibrators."""
    return config.training.refit or config.training.calibrate != "none"


def calibrated(
    config: Config, data: Dataset, validation: Part | Kept, outputs: Callable[[], Outputs]
) -> Calibration | None:
    """The calibration that a trained run gets; None without training.calibrate.

    Args:
        data: the dataset that it was trained on.
        validation: the validation part, or its kept scores.
        outputs: gives the uncalibrated scores of that part by a model that did not learn from it.
    """
    if config.training.calibrate == "none":
        return None
    return calibrate(Calibration(), outputs, validation, config.training.calibrate, trained_on=data.train.counts)
