"""The embedding layer of Figure 2: ids -> rows of one table, pooled to one vector per field."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batches.batch import Group


class Embedding(nn.Module):
    """The embedding dictionary: one table for all fields, in which each field has its own range of rows.

    `weight` is a buffer, not a parameter: a batch uses few of its rows, and a row-sparse optimizer updates them.
    Row 0 of each field, "unseen", starts at zero, so an unknown id adds nothing until it is trained.
    Shape: weight float32 (rows, D).

    Args:
        offsets: the first row of each field.
        rows: the number of rows.
        size: D.
        std: the standard deviation of the initial weights.
        generator: the source of the initial weights.
    """

    weight: Tensor

    def __init__(self, offsets: tuple[int, ...], rows: int, size: int, std: float, generator: torch.Generator) -> None:
        super().__init__()
        # NOTE[UNSAID]: the paper does not state how embeddings are initialised.
        weight = torch.randn(rows, size, generator=generator) * std
        weight[list(offsets)] = 0.0
        self.register_buffer("weight", weight)


class Lookups(Protocol):
    """The two operations of an embedding layer. A trainer may replace them by faster ones with the same results."""

    def lookup(self, rows: Tensor, position: Tensor) -> Tensor:
        """rows[position]. Shape: (U, D), int64 (n,) -> (n, D)."""
        ...

    def pool(self, rows: Tensor, position: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
        """The weighted sum of each bag; zeros for an empty bag. Shape: (U, D), (n,), (bags + 1,), (n,) -> (bags, D)."""
        ...


class TorchLookups:
    """`Lookups` with operations of torch, for any device."""

    def lookup(self, rows: Tensor, position: Tensor) -> Tensor:
        return F.embedding(position, rows)

    def pool(self, rows: Tensor, position: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
        return F.embedding_bag(
            position, rows, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
        )


TORCH = TorchLookups()


def pool(rows: Tensor, group: Group, lookups: Lookups = TORCH) -> Tensor:
    """The vector of each field of a group: the weighted sum of its ids' embedding rows; zeros for an empty bag.

    Shape: rows (U, D) -> (m, F_g * D), fields in the order of `group.fields`.
    """
    width = len(group.fields) * rows.shape[1]
    weights = None if group.weights is None else group.weights.to(rows.dtype)
    if group.pairs:  # bags of two ids: as fast as one gather of torch's
        twos = torch.arange(0, len(group.position) + 1, 2, device=group.position.device)
        return lookups.pool(rows, group.position, twos, weights).view(group.size, width)
    if group.offsets is None:
        values = lookups.lookup(rows, group.position)  # (m * F_g, D)
        if weights is not None:
            values = values * weights.unsqueeze(1)
        return values.view(group.size, width)
    # NOTE[UNSAID]: Figure 2 says "pooling". A sum depends on how many ids there are and on their weights.
    bags = lookups.pool(rows, group.position, group.offsets, weights)  # (F_g * m, D), field-major
    return bags.view(len(group.fields), group.size, rows.shape[1]).transpose(0, 1).reshape(group.size, width)
