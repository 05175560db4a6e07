"""DIVISION: pCTR and pCTCVR from two separate networks, and pCVR by Eq. (2)."""

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
class DIVISION(Method):
    """l(y, pCTR) and l(y & z, pCTCVR), "individually trained" over S; pCVR = pCTCVR / pCTR, which may exceed 1.

    The two networks share no parameters, so minimising the sum of the losses trains each as if it were alone.
    Expected loss at step 0: the entropy of the CTR plus that of the CTCVR (0.04, 2e-4: 0.168 + 0.0019).

    >>> DIVISION().base_rates(Counts(9_999, {"click": 400, "conversion": 2}))
    {'ctr': 0.04005, 'ctcvr': 0.00025}
    """

    heads: ClassVar = ("ctr", "ctcvr")
    equation: ClassVar[str] = "l(y, pCTR) + l(y&z, pCTCVR)"
    reading: ClassVar[str] = "pCTCVR / pCTR"

    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray:
        return once(labels)

    def loss(self, p: Heads, batch: Batch) -> Tensor:
        return bce(batch.click, p.ctr, batch.weight) + bce(batch.conversion, p.ctcvr, batch.weight)

    def base_rates(self, counts: Counts) -> dict[str, float]:
        n = counts.impressions
        return {"ctr": base_rate(counts["click"], n), "ctcvr": base_rate(counts["conversion"], n)}

    def predict(self, p: Heads) -> Predicted:
        return {"pctr": p.ctr, "pcvr": p.ctcvr / p.ctr, "pctcvr": p.ctcvr}  # Eq. (2)
