"""What the validation measures (`training.watch`), to stop training and to choose the best weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..batches.feed import Feed
from ..config import Config
from ..dataset.dataset import Part
from ..errors import ConfigError
from ..methods._method import Method
from ..network import Network
from ..network.probability import Prob, cross_entropy
from ..runs.run import PREDICT_ROWS, Run

Watched = Literal["own", "ctcvr", "cvr"]
NAMES: dict[Watched, str] = {"own": "validation", "ctcvr": "CTCVR validation loss", "cvr": "CVR validation loss"}
"""What is watched, for the lines of progress."""
BELOW_ONE = 1 - 2**-24
"""The largest float32 below 1. DIVISION's pCVR may exceed 1 (Eq. 2), and then counts as this one."""


def watched(method: Method, config: Config) -> Watched:
    """What the validation of a method measures: `training.watch`, or "own" if the method predicts no pCVR (CTR)."""
    watch = config.training.watch
    known = "pcvr" in method.predicts or (watch == "ctcvr" and "pctcvr" in method.predicts)
    return watch if known else "own"


def needs_reference(method: Method, config: Config) -> bool:
    """Whether the watched pCTCVR is the pCTR of the reference CTR network x the method's pCVR."""
    return watched(method, config) == "ctcvr" and not method.predicts & {"pctr", "pctcvr"}


class Watch:
    """The cross entropy of one probability on the validation part: that of pCTCVR or that of pCVR.

    It is computed as predictions are: of every impression once, in float32, and not with the method's samples.

    Args:
        what: "ctcvr": pCTCVR on all impressions. "cvr": pCVR on the clicked ones.
        feed: of the fields that the method's network reads.
        reference: the run of the reference CTR network, for a method that predicts no pCTR.

    Raises: ConfigError if the method predicts no pCTR and there is no reference.
    """

    def __init__(
        self, what: Literal["ctcvr", "cvr"], method: Method, validation: Part, feed: Feed, reference: Run | None
    ) -> None:
        self._what, self._method, self._validation, self._feed = what, method, validation, feed
        self._pctr: np.ndarray | None = None
        if what == "ctcvr" and not method.predicts & {"pctr", "pctcvr"}:
            if reference is None:
                must = f'with training.watch = "ctcvr", {method.label} needs the reference CTR network for its pCTR'
                do = "Train one with reference_ctr(...) and give it to fit as reference="
                raise ConfigError(must, "none was given", do=do)
            self._pctr = reference.validation_scores(validation).pctr

    @torch.inference_mode()
    def loss(self, network: Network) -> float:
        """The weighted mean of the cross entropy, in nats.

        NaN: all weights are 0. Inf: it is not finite.
        """
        total, weights, first = 0.0, 0.0, 0
        training = network.training
        network.eval()
        for batch in self._feed.in_order(self._validation.chunks(read=self._feed.read), PREDICT_ROWS):
            batch = batch.to(network.device)
            here = slice(first, first + len(batch))
            first += len(batch)
            p = self._probability(self._method.predict(network(batch)), here)
            weight = torch.ones(len(batch), device=network.device) if batch.weight is None else batch.weight
            if self._what == "cvr":
                weight = torch.where(batch.click, weight, 0.0)
            losses = torch.where(weight > 0, cross_entropy(batch.conversion, p), 0.0)
            total += (weight * losses).double().sum().item()
            weights += weight.double().sum().item()
        network.train(training)
        if not weights:
            return math.nan
        return total / weights if math.isfinite(total) else math.inf

    def _probability(self, predicted: Mapping[str, Prob | Tensor], rows: slice) -> Prob:
        """The watched probability of some impressions. Shape: (B,)."""
        if self._what == "cvr":
            return _prob(predicted["pcvr"])
        if "pctcvr" in predicted:
            return _prob(predicted["pctcvr"])
        pcvr = _prob(predicted["pcvr"])
        if self._pctr is None:
            return _prob(predicted["pctr"]) * pcvr
        return _prob(torch.from_numpy(self._pctr[rows]).to(pcvr.log.device)) * pcvr


def _prob(p: Prob | Tensor) -> Prob:
    """A prediction as a probability."""
    if isinstance(p, Prob):
        return p
    p = p.clamp(torch.finfo(p.dtype).tiny, BELOW_ONE)
    return Prob(p.log(), (-p).log1p())
