"""The embedding layer of Figure 2: ids -> rows of one table, pooled to one vector a field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batches.batch import Batch, Group


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


@dataclass(frozen=True)
class Input:
    """Some fields of a batch: their vectors side by side, for each impression or for the rows that many share."""

    fields: tuple[int, ...]  # F_i indices into Dataset.fields, ascending
    x: Tensor  # (m, F_i * D)
    expand: Tensor | None = None  # int64 (B,): the row of each impression; None: m == B, in order


SHARED = 0.75
"""A side table's rows stay as they are where the batch has at most this many of them an impression. Above it, what
the first layer saves by reading each row once is less than what it costs to hand its sums out to the impressions."""


def inputs(rows: Tensor, batch: Batch, lookups: Lookups = TORCH) -> tuple[Input, ...]:
    """What the first layer reads: every field once, in as few inputs as sharing rows allows.

    Side tables of which the batch has few rows give an input each. All other fields give one, which comes last.
    Shape: rows (U, D).
    """
    few: dict[int, list[tuple[Group, Tensor]]] = {}
    rest: list[tuple[tuple[int, ...], Tensor]] = []
    for group in batch.groups:
        pooled = pool(rows, group, lookups)
        if group.expand is None:
            rest.append((group.fields, pooled))
        elif group.size <= SHARED * len(batch):
            few.setdefault(id(group.expand), []).append((group, pooled))  # the groups of a table share it
        else:
            rest.append((group.fields, lookups.lookup(pooled, group.expand)))
    made = [Input(*_join([(g.fields, x) for g, x in groups]), groups[0][0].expand) for groups in few.values()]
    return (*made, Input(*_join(rest))) if rest else tuple(made)


def _join(parts: list[tuple[tuple[int, ...], Tensor]]) -> tuple[tuple[int, ...], Tensor]:
    """Groups of fields side by side, in the dataset's order. Shape: (m, F_g * D) each -> (m, sum F_g * D)."""
    if len(parts) == 1 and list(parts[0][0]) == sorted(parts[0][0]):
        return parts[0]
    columns = sorted((field, i, k) for i, (fields, _) in enumerate(parts) for k, field in enumerate(fields))
    width = parts[0][1].shape[1] // len(parts[0][0])  # D
    runs: list[Tensor] = []
    start = 0
    for at in range(1, len(columns) + 1):  # neighbours in one group are copied in one go
        if at < len(columns) and columns[at][1:] == (columns[at - 1][1], columns[at - 1][2] + 1):
            continue
        _, i, k = columns[start]
        runs.append(parts[i][1].narrow(1, k * width, (at - start) * width))
        start = at
    return tuple(field for field, _, _ in columns), torch.cat(runs, dim=1)
