"""A batch -> one probability per head: embedding, trunk, and one tower per head (Figure 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from scipy.special import logit
from torch import Tensor, nn

from ..batches.batch import Batch
from ..config import NetworkConfig
from .baseline import CTR, OFFSET, Baseline, RateLayers
from .embedding import TORCH, Embedding, Lookups
from .fields import BatchFields, Fields, FieldShape
from .probability import Heads, Prob
from .towers import make_tower
from .trunks import make_trunk

SHARED = "shared"
"""The name of the embedding, if all heads share it."""


class Network(nn.Module):
    """The network of every method (Figure 2; section 3.1): an embedding, a trunk on it, and a tower for each head.

    With the logistic baseline, a head's log odds are the sum of the baseline's and the tower's, which is 0 at first. So
    before training each head that the baseline knows equals it, but for `shifts`.

    The initial weights of each part depend only on the seed and the part's name, not on which other heads there are. So
    DIVISION's CTR network starts with exactly the weights of a CTR network that is trained alone.

    Args:
        heads: the names of the probabilities; each has a tower.
        offsets: the first embedding row of each of the F fields, which is the field's "unseen" row.
        rows: the number of embedding rows.
        config: sizes, and the kinds of towers and trunks.
        share_embedding: True: one embedding, "shared", for all heads. False: one per head, named like the head. Each
            embedding has its own trunk.
        base_rates: head -> the expected rate of its label, in (0, 1). The head's intercept starts at its logit.
        seed: the seed of the initial weights.
        names: the names of the F fields, for towers that read a field by name. Default: "0", "1", ...
        rates: R, the number of rates that the logistic baseline reads. None: there is no baseline.
        shifts: head -> what its intercept starts at beside the baseline: 0, or how much higher its label's log odds are
            in the method's samples than in the log.
        alone: there is nothing beside the baseline: no embedding, no tower and no layers on the rates.

    Without fields there are no embedding and no towers.
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
        names: Sequence[str] | None = None,
        rates: int | None = None,
        shifts: Mapping[str, float] | None = None,
        alone: bool = False,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.lookups: Lookups = TORCH
        self.baseline = None if rates is None else Baseline(rates)
        towered = heads if offsets and not alone else ()
        self.rate_layers = None
        if rates is not None and config.offset_hidden and not alone:
            some = [head for head in heads if head in OFFSET]
            self.rate_layers = RateLayers(rates, config.offset_hidden, some, generator(seed, "rates"))
        self.embedding_of = {head: SHARED if share_embedding else head for head in towered}
        size, std = config.embedding_size, config.embedding_std
        self.embeddings = nn.ModuleDict(
            {
                name: Embedding(offsets, rows, size, std, generator(seed, f"embedding {name}"))
                for name in dict.fromkeys(self.embedding_of.values())
            }
        )
        shape = FieldShape(tuple(names or map(str, range(len(offsets)))), size)
        readers = {name: tuple(h for h in towered if self.embedding_of[h] == name) for name in self.embeddings}
        trunks = {
            name: make_trunk(config.trunk, shape, some, generator(seed, f"trunk {name}"))
            for name, some in readers.items()
        }
        self.towers = nn.ModuleDict()
        for head in towered:
            read = trunks[self.embedding_of[head]].shape
            beside = self.baseline is not None and head in OFFSET
            intercept = (shifts or {}).get(head, 0.0) if beside else float(logit(base_rates[head]))
            tower = make_tower(config.tower, read, intercept, generator(seed, f"tower {head}"))
            if beside:
                tower.start_constant()
            self.towers[head] = tower
        self.trunks = nn.ModuleDict(trunks)

    def embedding(self, name: str) -> Embedding:
        """The embedding with this name: "shared", or a head."""
        found = self.embeddings[name]
        assert isinstance(found, Embedding)
        return found

    @property
    def device(self) -> torch.device:
        """The device of all its tensors."""
        return next(iter(self.state_dict().values())).device

    def forward(self, batch: Batch, gathered: Mapping[str, Tensor] | None = None) -> Heads:
        """The probabilities of a batch. Shape: each head (B,).

        Args:
            batch: the impressions.
            gathered: embedding -> its rows `batch.rows`, so that a trainer gets their gradients. Shape: (U, D).
                None: they are read from the embedding, which gets no gradient; for inference.
        """
        if gathered is None:
            gathered = {name: self.embedding(name).weight.index_select(0, batch.rows) for name in self.embeddings}
        fields = {name: BatchFields(gathered[name], batch, self.lookups) for name in self.embeddings}
        return self.heads_of(fields, batch.numbers)

    def heads_of(self, fields: Mapping[str, Fields], numbers: Tensor | None) -> Heads:
        """The probabilities of B impressions. Shape: each head (B,).

        Args:
            fields: embedding -> the fields as it reads them.
            numbers: the log odds of the history's rates, for the logistic baseline. Shape: float32 (B, R).
        """
        read = {}
        for name, trunk in self.trunks.items():
            read |= trunk(fields[name])
        logits = {head: tower(read[head]) for head, tower in self.towers.items()}
        if self.baseline is None:
            return Heads(**{head: Prob.of_logits(both) for head, both in logits.items()})
        odds = dict(self.baseline(numbers))
        if self.rate_layers is not None:
            assert numbers is not None  # otherwise the baseline has raised
            more = self.rate_layers(self.baseline.regression(CTR).standardised(numbers))
            odds |= {head: odds[head] + own for head, own in more.items()}
        for head, both in logits.items():
            own = both[..., 1] - both[..., 0]
            odds[head] = odds[head] + own if head in odds else own
        return Heads(**{head: Prob.of_logit(odds[head]) for head in self.heads})


def generator(seed: int, part: str) -> torch.Generator:
    """The random generator of one part of a network, which depends only on the seed and the part's name."""
    digest = hashlib.sha256(f"{seed} {part}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
