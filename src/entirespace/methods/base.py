"""BASE: pCVR learned from clicked impressions alone (section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor

from ..batches.batch import Batch
from ..core.labels import Counts, Labels
from ..network.probability import Heads, bce
from ._method import Method, Predicted, base_rate


@final
@dataclass(frozen=True)
class BASE(Method):
    """l(z, pCVR) over S_c, the clicked impressions.

    It predicts for all impressions S, but learns from S_c only: the sample selection bias of section 2.2.

    Expected loss at step 0: the entropy of the CVR (CVR 0.005: 0.0315).

    >>> BASE().base_rates(Counts(9_999, {"click": 399, "conversion": 2}))
    {'cvr': 0.00625}
    """

    heads: ClassVar = ("cvr",)
    sampled: ClassVar[str] = "S_c: clicked once"
    equation: ClassVar[str] = "l(z, pCVR)"
    reading: ClassVar[str] = "pCVR"

    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray:
        return labels.click.astype(np.int64)

    def loss(self, p: Heads, batch: Batch) -> Tensor:
        return bce(batch.conversion, p.cvr, batch.weight)

    def base_rates(self, counts: Counts) -> dict[str, float]:
        return {"cvr": base_rate(counts["conversion"], counts["click"])}

    def predict(self, p: Heads) -> Predicted:
        return {"pcvr": p.cvr}
