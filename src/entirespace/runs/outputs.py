"""What a run says of N impressions, and which pCTR multiplies which pCVR: this file decides it, and no other does.

pctr     for a bid: the method's own; where it has none, the reference CTR network's
pctcvr   for a bid: the method's own; where it has none, the pctr above x pCVR (Eq. 1)
the paper's CTCVR task:  (pCTR of the reference CTR network) x pCVR, for every method (section 3.1, "Metric")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..features.frames import Unseen
from ..tables import text_table


@dataclass(frozen=True)
class Predictions:
    """Probabilities of N impressions, in their order; `str()` says how many ids were unseen.

    `pctr` is the run's own where the method has one, else the reference CTR network's. Shape: float32 (N,) each.
    """

    pctr: np.ndarray
    pcvr: np.ndarray
    pctcvr: np.ndarray
    unseen: Mapping[str, Unseen] = field(default_factory=dict)  # field -> its ids, and how many the run never saw

    def __str__(self) -> str:
        return f"{len(self.pcvr):,} impressions\n{unseen_text(self.unseen)}"


@dataclass(frozen=True)
class Outputs:
    """What a run says of N impressions. Shape: float32 (N,) each; None where it says nothing."""

    own: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the method's own network says, by the names of `Method.predict`."""
    reference_pctr: np.ndarray | None = None
    """What the reference CTR network says, where it was asked."""

    def beside(self, reference_pctr: np.ndarray | None) -> Outputs:
        """The same, with the pCTR of the reference CTR network. Shape: float32 (N,)."""
        return replace(self, reference_pctr=reference_pctr)

    @property
    def pctr(self) -> np.ndarray | None:
        return self.own.get("pctr", self.reference_pctr)

    @property
    def pcvr(self) -> np.ndarray | None:
        return self.own.get("pcvr")

    @cached_property
    def pctcvr(self) -> np.ndarray | None:
        return self._own_pctcvr if self._own_pctcvr is not None else _product(self.pctr, self.pcvr)

    @cached_property
    def _own_pctcvr(self) -> np.ndarray | None:
        return self.own["pctcvr"] if "pctcvr" in self.own else _product(self.own.get("pctr"), self.pcvr)

    def bid(self) -> dict[str, np.ndarray]:
        """The probabilities that a bid is made of, by what they are of."""
        return _known({"ctr": self.pctr, "cvr": self.pcvr, "ctcvr": self.pctcvr})

    @cached_property
    def tasks(self) -> dict[str, np.ndarray]:
        """The probabilities that the paper's protocol measures, by task."""
        return _known(
            {
                "ctr": self.own.get("pctr"),
                "ctr_reference": self.reference_pctr,
                "cvr": self.pcvr,
                "ctcvr": _product(self.reference_pctr, self.pcvr),
                "ctcvr_own": None if self.pcvr is None else self._own_pctcvr,
            }
        )


def unseen_text(unseen: Mapping[str, Unseen]) -> str:
    """A table of the ids that a run never saw, by field."""
    rows = [
        [name, f"{u.ids:,}", f"{u.unseen:,}", f"{100 * u.unseen / u.ids:.2f}" if u.ids else "-"]
        for name, u in unseen.items()
    ]
    return text_table(["field", "ids", "unseen", "unseen %"], rows)


def _known(p: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    return {name: values for name, values in p.items() if values is not None}


def _product(pctr: np.ndarray | None, pcvr: np.ndarray | None) -> np.ndarray | None:
    """Eq. (1), where both factors are known."""
    return None if pctr is None or pcvr is None else pctr * pcvr
