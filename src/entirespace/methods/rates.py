"""RATES: logistic regression on the rates of the history; not in the paper. It is the line that networks must beat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from ..batches.batch import Batch
from ..core.labels import Counts, Labels
from ..errors import ConfigError
from ..network.probability import Heads, cross_entropy, mean
from ._method import Method, Penalty, Predicted, base_rate, is_number, once


@final
@dataclass(frozen=True)
class RATES(Method):
    """l(y, pCTR) over S and l(z, pCVR) over S_c, with a penalty: two logistic regressions, and no network.

    Both read the log odds of all rates of the history, standardised. They are solved exactly, so the seed changes
    nothing. A conversion rate learned on S_c alone has the sample selection bias of section 2.2, as BASE.
    Expected loss at step 0: the entropy of the CTR, plus CTR times that of the CVR (0.04, 0.005: 0.168 + 0.0013).
    Raises: ConfigError if c is neither a number above 0 nor "cv".

    >>> RATES().base_rates(Counts(9_999, {"click": 399, "conversion": 2}))
    {'ctr': 0.03995, 'cvr': 0.00625}
    """

    c: float | str = 0.01
    """The sum of the losses has the penalty ||weights||^2 / (2 c); "cv": chosen by five-fold cross-validation."""

    heads: ClassVar = ("ctr", "cvr")
    sampled: ClassVar[str] = "S for pCTR, S_c for pCVR"
    equation: ClassVar[str] = "l(y, pCTR) + y l(z, pCVR)"
    reading: ClassVar[str] = "pCVR"

    def __post_init__(self) -> None:
        if self.c != "cv":
            if not is_number(self.c) or not 0 < float(self.c) < math.inf:
                raise ConfigError('RATES\'s c must be a number above 0, or "cv"', repr(self.c))
            object.__setattr__(self, "c", float(self.c))

    @property
    def baseline(self) -> Penalty:
        return "cv" if isinstance(self.c, str) else self.c

    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray:
        return once(labels)

    def loss(self, p: Heads, batch: Batch) -> Tensor:
        y, z = batch.click, batch.conversion
        clicked = torch.where(y, cross_entropy(z, p.cvr), 0.0)
        return mean(cross_entropy(y, p.ctr) + clicked, batch.weight)

    def base_rates(self, counts: Counts) -> dict[str, float]:
        return {
            "ctr": base_rate(counts["click"], counts.impressions),
            "cvr": base_rate(counts["conversion"], counts["click"]),
        }

    def predict(self, p: Heads) -> Predicted:
        return {"pctr": p.ctr, "pcvr": p.cvr, "pctcvr": p.ctr * p.cvr}  # Eq. (1)
