"""Calibrators inside the program: the same maps as `core.calibrators`, in float64, as operations of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.calibrators import LEAST, Isotonic, Platt, Sampling, Temperature
from ..errors import BundleError
from ..runs.calibration import Calibration


@dataclass(frozen=True)
class ProgramCalibration(Calibration):
    """The calibration of a run for the tensors of a program."""

    def of(self, name: str, p: Any) -> Any:
        """Shape: float32 (N,) -> float32 (N,)."""
        calibrator = self.calibrators.get(name)
        if calibrator is not None:
            p = calibrated(calibrator, p)
        if name in ("pctr", "pctr_reference") and self.negatives_kept != 1:
            p = calibrated(Sampling(self.negatives_kept), p)
        return p

    @staticmethod
    def like(calibration: Calibration) -> ProgramCalibration:
        """The same calibration, for tensors. Raises: BundleError for a calibrator that a program cannot have."""
        for calibrator in calibration.calibrators.values():
            _map_of(calibrator)
        return ProgramCalibration(**vars(calibration))


def calibrated(calibrator: Any, p: Tensor) -> Tensor:
    """Apply a calibrator. Shape: float32 (N,) -> float32 (N,); computed in float64."""
    return _map_of(calibrator)(calibrator, p.double()).float()


def _map_of(calibrator: Any) -> Callable[[Any, Tensor], Tensor]:
    found = MAPS.get(type(calibrator))
    if found is None:
        known = ", ".join(kind.__name__ for kind in MAPS)
        came, do = (
            type(calibrator).__name__,
            "Calibrate the run in another way, or write its map in export/calibrators.py",
        )
        raise BundleError(f"a calibrator of a bundle must be one of {known}", came, do=do)
    return found


def log_odds(p: Tensor) -> Tensor:
    """As `core.calibrators.log_odds`. Shape: float64 (N,)."""
    return torch.log(p.clamp(min=LEAST[0])) - torch.log((1 - p).clamp(min=LEAST[1]))


def _on_log_odds(calibrator: Any, p: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-calibrator.odds(log_odds(p))))


def _isotonic(isotonic: Isotonic, p: Tensor) -> Tensor:
    """Linear between knots, as numpy.interp. The knot at or before each p is found by halving, for torch.bucketize has
    no correct form in ONNX."""
    count = len(isotonic.p)
    knots = torch.tensor(isotonic.p, dtype=torch.float64)
    values = torch.tensor(isotonic.value, dtype=torch.float64)
    if count == 1:
        return torch.zeros_like(p) + values[0]
    below = torch.zeros_like(p, dtype=torch.int64)  # how many knots are at most p
    step = 1 << (count.bit_length() - 1)
    while step:
        further = below + step
        reached = (further <= count) & (knots[(further - 1).clamp(max=count - 1)] <= p)
        below = torch.where(reached, further, below)
        step >>= 1
    left = (below - 1).clamp(min=0, max=count - 2)
    x0, x1, y0, y1 = knots[left], knots[left + 1], values[left], values[left + 1]
    between = (y1 - y0) / (x1 - x0) * (p - x0) + y0
    return torch.where(p <= knots[0], values[0], torch.where(p >= knots[-1], values[-1], between))


def _sampling(sampling: Sampling, p: Tensor) -> Tensor:
    return sampling.kept * p / (sampling.kept * p + (1 - p))


MAPS: dict[type, Callable[[Any, Tensor], Tensor]] = {
    Temperature: _on_log_odds,
    Platt: _on_log_odds,
    Isotonic: _isotonic,
    Sampling: _sampling,
}
"""Class of a calibrator -> its map of float64 tensors. A new kind of calibrator needs a line here."""
