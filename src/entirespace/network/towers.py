"""A batch -> one probability per head: a tower a head, over one shared embedding or one embedding a head."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..batches.batch import Batch
from ..config import NetworkConfig
from .embedding import TORCH, Embedding, Lookups, inputs
from .mlp import MLP
from .probability import Prob

SHARED = "shared"
"""The name of the one embedding that all heads share."""


class Heads:
    """What a network returns: a named probability a head, read as an attribute. Shape: each (B,).

    Raises: AttributeError that names the heads there are.

    >>> Heads(ctr=Prob.of_logit(torch.tensor(0.0))).ctr.value
    tensor(0.5000)
    """

    def __init__(self, **probs: Prob) -> None:
        self._probs = probs

    def __getattr__(self, name: str) -> Prob:
        if name.startswith("_") or name not in self._probs:  # "_": never look for _probs through itself
            known = ", ".join(self.__dict__.get("_probs", {}))
            raise AttributeError(f"a network's head must be one of {known}, however: '{name}'")
        return self._probs[name]

    def __iter__(self):
        return iter(self._probs)

    def __repr__(self) -> str:
        return f"Heads({', '.join(self._probs)})"


class Network(nn.Module):
    """The embedding and MLP network of every method (Figure 2; section 3.1).

    Each part starts from the seed and its own name alone: a head's initial weights do not depend on which
    other heads there are, so DIVISION's CTR network starts bit for bit as the CTR network trained alone.

    Args:
        heads: names of the probabilities, each with its tower.
        offsets: first embedding row of each field, F of them; that row is the field's "unseen".
        rows: embedding rows in all.
        config: sizes.
        share_embedding: one embedding ("shared") for all heads, or one a head, named as the head.
        base_rates: for each head the expected rate of its label, in (0, 1), where its intercept starts.
        seed: of the initial weights.
    """

    def __init__(
        self,
        heads: tuple[str, ...],
        offsets: tuple[int, ...],
        rows: int,
        config: NetworkConfig,
        *,
        share_embedding: bool,
        base_rates: Mapping[str, float],
        seed: int,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.lookups: Lookups = TORCH
        self.embedding_of = {head: SHARED if share_embedding else head for head in heads}
        size, std = config.embedding_size, config.embedding_std
        self.embeddings = nn.ModuleDict(
            {
                name: Embedding(offsets, rows, size, std, generator(seed, f"embedding {name}"))
                for name in dict.fromkeys(self.embedding_of.values())
            }
        )
        width = len(offsets) * size  # F * D
        self.towers = nn.ModuleDict(
            {
                head: MLP(width, config.hidden, logit(base_rates[head]), generator(seed, f"tower {head}"))
                for head in heads
            }
        )

    def embedding(self, name: str) -> Embedding:
        """The embedding of a name: "shared", or a head."""
        found = self.embeddings[name]
        assert isinstance(found, Embedding)
        return found

    def forward(self, batch: Batch, gathered: Mapping[str, Tensor] | None = None) -> Heads:
        """The probabilities of a batch. Without `gathered` the embedding gets no gradient: inference."""
        if gathered is None:
            gathered = {name: self.embedding(name).weight.index_select(0, batch.rows) for name in self.embeddings}
        x = {name: inputs(rows, batch, self.lookups) for name, rows in gathered.items()}
        return Heads(
            **{
                head: Prob.of_logits(tower(x[self.embedding_of[head]], self.lookups))
                for head, tower in self.towers.items()
            }
        )


def generator(seed: int, part: str) -> torch.Generator:
    """The random generator of one part of a network, from the seed and the part's name alone."""
    digest = hashlib.sha256(f"{seed} {part}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def logit(rate: float) -> float:
    """log(rate / (1 - rate)), for a rate inside (0, 1).

    >>> round(logit(0.04), 3)
    -3.178
    """
    return math.log(rate) - math.log1p(-rate)
