"""CTR: the "same independently trained CTR network" that gives every method its pCTR (section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor

from ..batches.batch import Batch
from ..core.labels import Counts, Labels
from ..network.probability import Heads, bce
from ._method import Method, Predicted, base_rate, once


@final
@dataclass(frozen=True)
class CTR(Method):
    """l(y, pCTR) over S: the reference CTR network. It has the structure of BASE, and predicts no pCVR.

    Expected loss at step 0: the entropy of the CTR (0.04: 0.168).

    >>> CTR().base_rates(Counts(9_999, {"click": 400, "conversion": 2}))
    {'ctr': 0.04005}
    """

    heads: ClassVar = ("ctr",)
    equation: ClassVar[str] = "l(y, pCTR)"
    reading: ClassVar[str] = "none"

    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray:
        return once(labels)

    def loss(self, p: Heads, batch: Batch) -> Tensor:
        return bce(batch.click, p.ctr, batch.weight)

    def base_rates(self, counts: Counts) -> dict[str, float]:
        return {"ctr": base_rate(counts["click"], counts.impressions)}

    def predict(self, p: Heads) -> Predicted:
        return {"pctr": p.ctr}
