"""ESMM: pCVR is learned as the factor between pCTR and pCTCVR, over the entire space (section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from torch import Tensor

from ..batches.batch import Batch
from ..core.labels import Counts, Labels
from ..errors import ConfigError
from ..network.probability import Heads, bce
from ._method import Method, Predicted, base_rate, once


@final
@dataclass(frozen=True)
class ESMM(Method):
    """Eq. (3): l(y, pCTR) + l(y & z, pCTR * pCVR) over S. pCVR has no loss of its own.

    The CVR network shares its embedding dictionary with the CTR network, so its embedding also learns from un-clicked
    impressions. ESMM-NS is ESMM(share_embedding=False).
    Expected loss at step 0: the entropy of the CTR plus that of the CTCVR (0.04, 2e-4: 0.168 + 0.0019).

    >>> ESMM(share_embedding=False).name
    'ESMM-NS'
    """

    share_embedding: bool = True

    heads: ClassVar = ("ctr", "cvr")
    equation: ClassVar[str] = "l(y, pCTR) + l(y&z, pCTR * pCVR)"
    reading: ClassVar[str] = "pCVR"

    def __post_init__(self) -> None:
        if type(self.share_embedding) is not bool:
            raise ConfigError("ESMM's share_embedding must be true or false", repr(self.share_embedding))

    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray:
        return once(labels)

    def loss(self, p: Heads, batch: Batch) -> Tensor:
        y, yz = batch.click, batch.conversion  # y & z
        return bce(y, p.ctr, batch.weight) + bce(yz, p.ctr * p.cvr, batch.weight)  # Eq. (3)

    def base_rates(self, counts: Counts) -> dict[str, float]:
        return {
            "ctr": base_rate(counts["click"], counts.impressions),
            "cvr": base_rate(counts["conversion"], counts["click"]),
        }

    def predict(self, p: Heads) -> Predicted:
        return {"pctr": p.ctr, "pcvr": p.cvr, "pctcvr": p.ctr * p.cvr}  # Eq. (1)

    @property
    def name(self) -> str:
        return "ESMM" if self.share_embedding else "ESMM-NS"

    @property
    def label(self) -> str:
        return self.name
