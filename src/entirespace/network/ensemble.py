"""Several networks that predict as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..batches.batch import Batch
from .baseline import Baseline
from .network import Network
from .probability import Heads, Prob


class Ensemble(nn.Module):
    """Networks of one method, whose log odds are averaged for each head.

    So Eq. (1) and Eq. (2) hold for an ensemble as for one network: the pCTCVR of ESMM is the product of the averaged
    pCTR and pCVR, and the pCVR of DIVISION is the averaged pCTCVR over the averaged pCTR.

    Args:
        members: at least one, all with the same heads. One member gives its own probabilities, bit for bit.
    """

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self._members = tuple(members)

    @property
    def baseline(self) -> Baseline | None:
        """The logistic baseline, which is the same in all members, because it is solved and depends on no seed."""
        return self._members[0].baseline

    @property
    def device(self) -> torch.device:
        """The device of all its tensors."""
        return self._members[0].device

    def forward(self, batch: Batch) -> Heads:
        """The probabilities of a batch. Shape: each head (B,)."""
        return self.average([member(batch) for member in self._members])

    def average(self, found: Sequence[Heads]) -> Heads:
        """The probabilities of the ensemble, from those of its members. Shape: each head (B,)."""
        return Heads(**{head: Prob.average([getattr(p, head) for p in found]) for head in self._members[0].heads})
