"""The embedding layer of Figure 2: ids -> rows of one table, pooled to one vector a field."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batches.batch import Group


class Embedding(nn.Module):
    """The embedding dictionary: one table of rows for all fields, in which each field has its own range.

    `weight` is a buffer, not a parameter: a batch touches few rows, and the row-sparse optimizer owns it.
    Row 0 of each field, "unseen", starts at zero: an unknown id adds nothing until training says otherwise.
    Shape: weight float32 (rows, D).
    """

    weight: Tensor

    def __init__(self, offsets: tuple[int, ...], rows: int, size: int, std: float, generator: torch.Generator) -> None:
        super().__init__()
        # NOTE[UNSAID]: the paper does not state how embeddings start.
        weight = torch.randn(rows, size, generator=generator) * std
        weight[list(offsets)] = 0.0
        self.register_buffer("weight", weight)


class Lookups(Protocol):
    """What an embedding layer does to rows; the trainer may put in faster ones, with the same numbers."""

    def lookup(self, rows: Tensor, position: Tensor) -> Tensor:
        """rows[position]. Shape: (U, D), int64 (n,) -> (n, D)."""
        ...

    def pool(self, rows: Tensor, position: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
        """Weighted sums of bags; zeros for an empty one. Shape: (U, D), (n,), (bags + 1,), (n,) -> (bags, D)."""
        ...


class TorchLookups:
    """`Lookups` by torch's own operations, on any device."""

    def lookup(self, rows: Tensor, position: Tensor) -> Tensor:
        return F.embedding(position, rows)

    def pool(self, rows: Tensor, position: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
        return F.embedding_bag(
            position, rows, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
        )


TORCH = TorchLookups()


def pool(rows: Tensor, group: Group, lookups: Lookups = TORCH) -> Tensor:
    """The vector of each field of a group: the weighted sum of its ids' rows; zeros for an empty bag.

    Shape: rows (U, D) -> (m, F_g * D), fields in the order of `group.fields`.
    """
    width = len(group.fields) * rows.shape[1]
    weights = None if group.weights is None else group.weights.to(rows.dtype)
    if group.offsets is None:
        values = lookups.lookup(rows, group.position)  # (m * F_g, D)
        if weights is not None:
            values = values * weights.unsqueeze(1)
        return values.view(group.size, width)
    # NOTE[UNSAID]: Figure 2 says "pooling". A sum keeps how many ids there are and what each weighs.
    bags = lookups.pool(rows, group.position, group.offsets, weights)  # (F_g * m, D), field-major
    return bags.view(len(group.fields), group.size, -1).transpose(0, 1).reshape(group.size, width)
