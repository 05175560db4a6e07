"""UNBIAS [10]: BASE, with each clicked impression weighted by 1 / pCTR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor

from ..batches.batch import Batch
from ..core.labels import Counts, Labels
from ..errors import ConfigError
from ..network.probability import Heads, cross_entropy, mean
from ._method import Method, Predicted, base_rate, is_number


@final
@dataclass(frozen=True)
class UNBIAS(Method):
    """l(z, pCVR) / pCTR over the clicked impressions: an unbiased estimate of the loss over the entire space.

    pCTR is that of the reference CTR network, but at least `floor`, against the "numerical instability when weighting
    samples by division of rejection probability" (section 1). The training log has the effective sample size of each
    batch, (sum w)^2 / sum w^2, as a share of B. If pCTR is a constant c, the loss is that of BASE, divided by c.
    Expected loss at step 0: about (entropy of the CVR) / (mean pCTR) (0.005, 0.04: 0.79).
    Raises: ConfigError for a floor outside (0, 1].
    """

    # NOTE[UNSAID]: the paper mentions no floor. With 0.01 the weight of a sample is at most 100.
    floor: float = 0.01

    heads: ClassVar = ("cvr",)
    reads: ClassVar = ("reference_pctr",)
    sampled: ClassVar[str] = "S_c: clicked once"
    equation: ClassVar[str] = "l(z, pCVR) / max(reference pCTR, floor)"
    reading: ClassVar[str] = "pCVR"

    # NOTE[DIFF]: section 3.1 uses rejection sampling, with pCTR as the rejection probability. A weight of
    # 1 / pCTR has the same expectation, discards no sample, and is what section 1 describes.

    def __post_init__(self) -> None:
        if not (is_number(self.floor) and 0 < self.floor <= 1):
            raise ConfigError("UNBIAS's floor must be a probability above 0", repr(self.floor))
        object.__setattr__(self, "floor", float(self.floor))

    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray:
        return labels.click.astype(np.int64)

    def loss(self, p: Heads, batch: Batch) -> Tensor:
        return mean(self.weight(batch) * cross_entropy(batch.conversion, p.cvr), batch.weight)

    def weight(self, batch: Batch) -> Tensor:
        """1 / max(pCTR, floor). Shape: (B,)."""
        return 1 / batch.given["reference_pctr"].clamp(min=self.floor)

    def base_rates(self, counts: Counts) -> dict[str, float]:
        # the rate among clicked impressions, unweighted: the weights are not known yet
        return {"cvr": base_rate(counts["conversion"], counts["click"])}

    def predict(self, p: Heads) -> Predicted:
        return {"pcvr": p.cvr}

    def log(self, p: Heads, batch: Batch) -> dict[str, float]:
        w = self.weight(batch)
        return {"effective_sample_share": float(w.sum() ** 2 / (len(batch) * w.square().sum()))}
