"""Batches from plain lists, and the slow way to pool them. conftest.py hands this module out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from entirespace.batches.batch import Batch, Group
from entirespace.core.labels import Labels
from entirespace.network import Network

Bag = list[tuple[int, float]]  # (id, weight), the id counted within its field


@dataclass(frozen=True)
class Table:
    """Some fields of one table: `bags[f][i]` is field f's bag of row i; `expand`, each impression's row."""

    fields: tuple[int, ...]
    bags: list[list[Bag]]
    single: bool = False  # every bag holds exactly one id
    expand: list[int] | None = None
    name: str | None = None  # None: a table of its own


def ids(*columns: list[int], fields: tuple[int, ...]) -> Table:
    """Single-valued fields of the impressions themselves."""
    return Table(fields, [[[(i, 1.0)] for i in column] for column in columns], single=True)


def make_batch(
    tables: list[Table],
    offsets: tuple[int, ...],
    click: list[bool],
    conversion: list[bool],
    reference_pctr: list[float] | None = None,
    all_rows: int | None = None,
) -> Batch:
    """A batch; `all_rows`: Batch.rows names that many rows, used or not: the whole table."""
    used = {
        offsets[f] + i for t in tables for f, bags in zip(t.fields, t.bags, strict=True) for bag in bags for i, _ in bag
    }
    rows = sorted(used) if all_rows is None else list(range(all_rows))
    place = {row: i for i, row in enumerate(rows)}
    groups = []
    for number, table in enumerate(tables):
        size = len(table.bags[0])
        flat = [(f, bag) for f, bags in zip(table.fields, table.bags, strict=True) for bag in bags]  # field-major
        if table.single:  # row-major
            flat = [(f, bags[i]) for i in range(size) for f, bags in zip(table.fields, table.bags, strict=True)]
        offset = torch.tensor([0, *(len(bag) for _, bag in flat)]).cumsum(0)
        weights = [w for _, bag in flat for _, w in bag]
        groups.append(
            Group(
                fields=table.fields,
                position=torch.tensor([place[offsets[f] + i] for f, bag in flat for i, _ in bag], dtype=torch.int64),
                offsets=None if table.single else offset,
                weights=None if all(w == 1 for w in weights) else torch.tensor(weights),
                expand=None if table.expand is None else torch.tensor(table.expand),
                size=size,
                table=table.name or f"table {number}",
            )
        )
    given = {} if reference_pctr is None else {"reference_pctr": torch.tensor(reference_pctr)}
    labels = {"click": torch.tensor(click), "conversion": torch.tensor(conversion)}
    return Batch(len(click), torch.tensor(rows), tuple(groups), labels, given=given)


def slow_concatenate(weight: Tensor, tables: list[Table], offsets: tuple[int, ...], size: int) -> Tensor:
    """(B, F * D): one impression, one field, one id at a time."""
    out = []
    for b in range(size):
        vectors = {}
        for table in tables:
            row = b if table.expand is None else table.expand[b]
            for f, bags in zip(table.fields, table.bags, strict=True):
                vectors[f] = sum((w * weight[offsets[f] + i] for i, w in bags[row]), torch.zeros(weight.shape[1]))
        out.append(torch.cat([vectors[f] for f in sorted(vectors)]))
    return torch.stack(out)


def labels_only(click: list[bool], conversion: list[bool], reference_pctr: list[float] | None = None) -> Batch:
    """A batch for a loss, which reads labels and not ids."""
    return make_batch([], (), click, conversion, reference_pctr)


def labels(click: np.ndarray, conversion: np.ndarray) -> Labels:
    """Labels of the paper's two stages. Shape: bool (n,) each."""
    return Labels.of({"click": click, "conversion": conversion})


def gather(network: Network, batch: Batch) -> dict[str, Tensor]:
    """For each embedding the rows that a batch touches: leaves that collect a gradient. Shape: (U, D)."""
    return {name: network.embedding(name).weight[batch.rows].requires_grad_() for name in network.embeddings}
