"""What a run says of impressions: its own probabilities, and those that a bid is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """Probabilities of the impressions of a part, in its order.

    `pctr` is the run's own where the method has one, else the reference CTR network's. Shape: float32 (N,) each.
    """

    pctr: np.ndarray
    pcvr: np.ndarray
    pctcvr: np.ndarray


@dataclass(frozen=True)
class Outputs:
    """What the method itself says of the impressions of a part; None where it says nothing. Shape: float32 (N,)."""

    pctr: np.ndarray | None
    pcvr: np.ndarray | None
    pctcvr: np.ndarray | None
