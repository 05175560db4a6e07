"""OVERSAMPLING [11]: BASE, with each converting impression used several times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor

from ..batches.batch import Batch
from ..core.labels import Counts, Labels
from ..errors import ConfigError
from ..network.probability import Heads, bce
from ._method import Method, Predicted, base_rate, is_whole


@final
@dataclass(frozen=True)
class OVERSAMPLING(Method):
    """l(z, pCVR) over the clicked impressions, where each impression with a conversion occurs `copies` times.

    With unlimited data its odds are `copies` times those of pCVR. So the order of impressions, and AUC, are the same,
    but predictions are too high. copies=1 is BASE.
    Expected loss at step 0: the entropy of copies * conversions / (clicks + (copies - 1) * conversions).
    Raises: ConfigError if copies is not a whole number of at least 1.

    >>> OVERSAMPLING(copies=5).base_rates(Counts(9_999, {"click": 391, "conversion": 2}))
    {'cvr': 0.02625}
    """

    copies: int = 2

    heads: ClassVar = ("cvr",)
    searched: ClassVar = {"copies": (2, 3, 5, 10)}  # section 3.1
    sampled: ClassVar[str] = "S_c: clicked once, converting `copies` times"
    equation: ClassVar[str] = "l(z, pCVR)"
    reading: ClassVar[str] = "pCVR"

    # NOTE[UNSAID]: whether the paper corrects the odds before pCTR * pCVR. Here the output is used uncorrected.

    def __post_init__(self) -> None:
        if not is_whole(self.copies) or self.copies < 1:
            raise ConfigError("OVERSAMPLING's copies must be a whole number of at least 1", repr(self.copies))

    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray:
        return np.where(labels.conversion, self.copies, labels.click)

    def loss(self, p: Heads, batch: Batch) -> Tensor:
        return bce(batch.conversion, p.cvr, batch.weight)

    def base_rates(self, counts: Counts) -> dict[str, float]:
        copied = self.copies * counts["conversion"]
        return {"cvr": base_rate(copied, counts["click"] - counts["conversion"] + copied)}

    def predict(self, p: Heads) -> Predicted:
        return {"pcvr": p.cvr}
