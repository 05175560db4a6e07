"""BLEND(A, B): the log odds of two rows of a comparison, averaged with a weight that is fitted on validation scores.

    log odds of p = w (log odds of p_A) + (1 - w) (log odds of p_B),      0 <= w <= 1

One w for pCTR, fitted on all impressions against y; one for pCVR, on the clicked ones against z. pCTCVR is the product
(Eq. 1). A single weight is what few conversions can choose: two weights and an intercept would also calibrate, which is
the business of calibrators, and need several times as many conversions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import expit

from ..core.calibrators import log_odds
from ..errors import RunError
from ..methods import Method
from ..runs.outputs import Outputs
from .lightgbm import Rival

PRIOR = 4.0
"""The loss of a weight, in nats, is PRIOR / 2 (w - 1/2)^2: as if w were drawn from a normal distribution around 1/2,
with a standard deviation of 1/2. It decides where there are next to no conversions, and hardly counts beside many."""
STEPS = 60  # halvings of the interval of w: it is then exact to the last bit


@dataclass(frozen=True)
class BLEND:
    """A blend of two rows of a comparison: methods, rivals or blends.

    >>> from ..methods import ESMM
    >>> from .lightgbm import LightGBM
    >>> BLEND(ESMM(), LightGBM()).label
    'BLEND(ESMM, LightGBM)'
    """

    first: Method | Rival | BLEND
    second: Method | Rival | BLEND

    name: ClassVar[str] = "BLEND"
    kind: ClassVar[Literal["blend"]] = "blend"

    @property
    def label(self) -> str:
        """The name with its two parts."""
        return f"{self.name}({self.first.label}, {self.second.label})"

    @property
    def parts(self) -> tuple[Method | Rival | BLEND, ...]:
        """What is blended."""
        return self.first, self.second

    def spec(self) -> dict[str, Any]:
        """The blend as plain values for JSON."""
        return {"name": self.name, "parts": [part.spec() for part in self.parts]}

    def settings(self) -> dict[str, Any]:
        """What its weights depend on beside the scores of its parts."""
        return {"prior": PRIOR}


@dataclass(frozen=True)
class BlendWeights:
    """The weights of the first part, from 0 to 1; the second part has the remainder.

    >>> even = BlendWeights(ctr=0.5, cvr=0.5)
    >>> a, b = (Outputs({"pctr": np.float32([p]), "pcvr": np.float32([p])}) for p in (0.5, 0.9))
    >>> even.of(a, b).pctr  # the odds are sqrt(1 * 9)
    array([0.75], dtype=float32)
    """

    ctr: float
    cvr: float

    def of(self, first: Outputs, second: Outputs) -> Outputs:
        """The blend of the outputs of its parts. A part without a pCTR has that of the reference CTR network."""
        a, b = _bids(first), _bids(second)
        return Outputs(
            {"pctr": mixed(a["ctr"], b["ctr"], self.ctr), "pcvr": mixed(a["cvr"], b["cvr"], self.cvr)},
            first.reference_pctr,
        )

    @staticmethod
    def fit(first: Outputs, second: Outputs, click: np.ndarray, conversion: np.ndarray) -> BlendWeights:
        """The weights with the lowest log loss.

        Args:
            first, second: the scores of the selection models for the validation part.
            click, conversion: its labels. Shape: bool (N,).
        """
        a, b, y = _bids(first), _bids(second), click
        return BlendWeights(fit_weight(a["ctr"], b["ctr"], y), fit_weight(a["cvr"][y], b["cvr"][y], conversion[y]))

    def as_dict(self) -> dict[str, float]:
        """Plain values for JSON, by head."""
        return {"ctr": self.ctr, "cvr": self.cvr}


def mixed(a: np.ndarray, b: np.ndarray, weight: float) -> np.ndarray:
    """Probabilities whose log odds are `weight` times those of `a`, and the remainder times those of `b`.

    Where both are equal, so is the result. A pCVR above 1 (DIVISION) counts as 1. Shape: float32 (N,).
    """
    x, y = _log_odds(a), _log_odds(b)
    return np.where(a == b, a, expit(y + weight * (x - y)).astype(np.float32))


def fit_weight(a: np.ndarray, b: np.ndarray, label: np.ndarray) -> float:
    """The weight of `a` in [0, 1] with the lowest sum of log losses and of the loss of `PRIOR`.

    That sum is strictly convex in the weight, so its slope is bisected. If a label does not occur it says nothing about
    which part ranks better, and the weight is 1/2. Shape: float32 (N,), label bool (N,).

    >>> fit_weight(np.float32([0.2, 0.2]), np.float32([0.2, 0.2]), np.array([True, False]))
    0.5
    """
    if not 0 < np.count_nonzero(label) < len(label):
        return 0.5
    base = _log_odds(b)
    gap = _log_odds(a) - base

    def slope(w: float) -> float:
        return float(gap @ (expit(base + w * gap) - label)) + PRIOR * (w - 0.5)

    low, high = 0.0, 1.0
    if slope(low) >= 0 or slope(high) <= 0:
        return low if slope(low) >= 0 else high
    for _ in range(STEPS):
        middle = (low + high) / 2
        if slope(middle) == 0:
            return middle
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


def _log_odds(p: np.ndarray) -> np.ndarray:
    return log_odds(np.minimum(p.astype(np.float64), 1))


def _bids(outputs: Outputs) -> Mapping[str, np.ndarray]:
    found = outputs.bid()
    for head in ("ctr", "cvr"):
        if head not in found:
            raise RunError(f"each part of a blend must give p{head.upper()}", "one of them does not")
    return found
