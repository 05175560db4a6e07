"""The outputs of a run for N impressions. This file alone decides which pCTR is multiplied by which pCVR.

pctr     for a bid: the method's own pCTR, or that of the reference CTR network if the method has none
pctcvr   for a bid: the method's own pCTCVR, or pctr (as above) x pCVR if the method has none (Eq. 1)
the paper's CTCVR task:  (pCTR of the reference CTR network) x pCVR, for every method (section 3.1, "Metric")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import expit

from ..core.calibrators import log_odds


@dataclass(frozen=True)
class Outputs:
    """The outputs of a run for N impressions. Shape: float32 (N,) each; None where there is no such output."""

    own: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The outputs of the method's own network, by the names that `Method.predict` gives: "pctr", "pcvr", "pctcvr"."""
    reference_pctr: np.ndarray | None = None
    """The pCTR of the reference CTR network, if it was computed."""

    def beside(self, reference_pctr: np.ndarray | None) -> Outputs:
        """The same outputs, with the pCTR of the reference CTR network. Shape: float32 (N,)."""
        return replace(self, reference_pctr=reference_pctr)

    @property
    def pctr(self) -> np.ndarray | None:
        """The method's own pCTR, or that of the reference CTR network if the method has none."""
        return self.own.get("pctr", self.reference_pctr)

    @property
    def pcvr(self) -> np.ndarray | None:
        """The method's pCVR."""
        return self.own.get("pcvr")

    @cached_property
    def pctcvr(self) -> np.ndarray | None:
        """The method's own pCTCVR, or `pctr` x `pcvr` if the method has none."""
        return self._own_pctcvr if self._own_pctcvr is not None else _product(self.pctr, self.pcvr)

    @cached_property
    def _own_pctcvr(self) -> np.ndarray | None:
        return self.own["pctcvr"] if "pctcvr" in self.own else _product(self.own.get("pctr"), self.pcvr)

    def bid(self) -> dict[str, np.ndarray]:
        """The probabilities to bid with, by "ctr", "cvr" and "ctcvr"; those that are None are left out."""
        return _known({"ctr": self.pctr, "cvr": self.pcvr, "ctcvr": self.pctcvr})

    @cached_property
    def tasks(self) -> dict[str, np.ndarray]:
        """The probabilities that the paper's protocol measures, by task; those that are None are left out."""
        return _known(
            {
                "ctr": self.own.get("pctr"),
                "ctr_reference": self.reference_pctr,
                "cvr": self.pcvr,
                "ctcvr": _product(self.reference_pctr, self.pcvr),
                "ctcvr_own": None if self.pcvr is None else self._own_pctcvr,
            }
        )


def average(many: Sequence[Outputs], divides: bool) -> Outputs:
    """The outputs of an ensemble, from those of its members. They share the reference CTR network.

    The log odds of pCTR and of pCVR are averaged, and pCTCVR is their product; or those of pCTR and of pCTCVR, and pCVR
    is their quotient. This is for scores that are kept. An ensemble that predicts averages its heads (`Ensemble`),
    which is exact also where float32 rounds a probability to 1.

    Args:
        divides: `Method.divides`.

    >>> p = [Outputs({"pcvr": np.array([pcvr], np.float32)}) for pcvr in (0.9, 0.1)]
    >>> average(p, divides=False).own["pcvr"].round(4)
    array([0.5], dtype=float32)
    """
    if len(many) == 1:
        return many[0]
    names = many[0].own.keys()
    derived = "pcvr" if divides else "pctcvr"
    if not {"pctr", "pcvr", "pctcvr"} <= names:
        derived = ""
    p = {name: _mean([one.own[name] for one in many]) for name in names if name != derived}
    if derived == "pctcvr":
        p[derived] = p["pctr"] * p["pcvr"]
    elif derived:
        p[derived] = p["pctcvr"] / p["pctr"]
    return Outputs({name: p[name].astype(np.float32) for name in names}, many[0].reference_pctr)


def _mean(many: Sequence[np.ndarray]) -> np.ndarray:
    """The probabilities whose log odds are the mean. Shape: float32 (N,) each -> float64 (N,)."""
    return expit(sum(log_odds(p.astype(np.float64)) for p in many) / len(many))


def _known(p: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    return {name: values for name, values in p.items() if values is not None}


def _product(pctr: np.ndarray | None, pcvr: np.ndarray | None) -> np.ndarray | None:
    """Eq. (1); None if a factor is None."""
    return None if pctr is None or pcvr is None else pctr * pcvr
