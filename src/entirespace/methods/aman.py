"""AMAN, "all missing as negative" [6]: BASE, with a random share of the un-clicked impressions as negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor

from ..batches.batch import Batch
from ..core.labels import Counts, Labels
from ..errors import ConfigError
from ..network.probability import Heads, bce
from ._method import Method, Predicted, base_rate, is_number


@final
@dataclass(frozen=True)
class AMAN(Method):
    """l(y & z, pCVR) over the clicked impressions and a share `rate` of the un-clicked, as negatives.

    With unlimited data it learns pCTR pCVR / (pCTR + rate (1 - pCTR)) instead of pCVR: the "consistently underestimated
    prediction" of section 1. rate=0 is BASE; rate=1 learns pCTCVR.
    Expected loss at step 0: the entropy of conversions / (clicks + rate * un-clicked).
    Raises: ConfigError for a rate outside [0, 1].

    >>> AMAN(rate=1.0).base_rates(Counts(9_999, {"click": 400, "conversion": 2}))
    {'cvr': 0.00025}
    """

    rate: float = 0.1

    heads: ClassVar = ("cvr",)
    searched: ClassVar = {"rate": (0.1, 0.2, 0.5, 1.0)}  # section 3.1
    sampled: ClassVar[str] = "S_c, and a share `rate` of the un-clicked as negatives"
    equation: ClassVar[str] = "l(y&z, pCVR)"
    reading: ClassVar[str] = "pCVR"

    def __post_init__(self) -> None:
        if not (is_number(self.rate) and 0 <= self.rate <= 1):
            raise ConfigError("AMAN's rate must be a share from 0 to 1", repr(self.rate))
        object.__setattr__(self, "rate", float(self.rate))

    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray:
        # NOTE[UNSAID]: whether the un-clicked are drawn once or in each epoch. Here: in each epoch.
        # random() is in [0, 1), so rate 0 always draws none and rate 1 always draws all.
        return (labels.click | (rng.random(len(labels)) < self.rate)).astype(np.int64)

    def loss(self, p: Heads, batch: Batch) -> Tensor:
        return bce(batch.conversion, p.cvr, batch.weight)  # y & z is false for un-clicked impressions: negatives

    def base_rates(self, counts: Counts) -> dict[str, float]:
        unclicked = counts.impressions - counts["click"]
        return {"cvr": base_rate(counts["conversion"], counts["click"] + self.rate * unclicked)}

    def predict(self, p: Heads) -> Predicted:
        return {"pcvr": p.cvr}
