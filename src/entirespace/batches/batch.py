"""A batch: what a network reads of B impressions. Each distinct embedding row that they use is listed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..core.labels import stage_of


@dataclass(frozen=True)
class Group:
    """F_g fields of m rows of one table: all its fields of one of three kinds.

    One id per row: n = m * F_g positions, row-major. Those of row i are `position[i * F_g:(i + 1) * F_g]`.
    Pairs: numbers, if network.numbers is "interpolate". As before, but two ids in place of one, so n = 2 * m * F_g: a
    number at k + t reads the rows k and k + 1 with weights 1 - t and t.
    Bags: field-major. The bag of field f and row i is `position[offsets[b]:offsets[b + 1]]` with b = f * m + i; it may
    be empty.
    """

    fields: tuple[int, ...]  # F_g indices into the fields that the network reads
    position: Tensor  # int64 (n,): for each id, the index of its embedding row in Batch.rows
    offsets: Tensor | None  # int64 (F_g * m + 1,), offsets[0] == 0; None: one id per row, or pairs
    weights: Tensor | None  # float32 (n,); None: every weight is 1
    expand: Tensor | None  # int64 (B,): which of the m rows each impression has; None: m == B, row i is impression i
    size: int  # m
    table: str  # the table's name; all groups of one side table have equal `expand`
    pairs: bool = False  # each row has two ids of a field

    def to(self, device: torch.device | str) -> Group:
        """The same group on a device."""
        return replace(
            self,
            position=self.position.to(device, non_blocking=True),
            offsets=_to(self.offsets, device),
            weights=_to(self.weights, device),
            expand=_to(self.expand, device),
        )


@dataclass(frozen=True)
class Batch:
    """B impressions. All fields share one embedding table, in which each field has its own range of rows.

    A stage is also an attribute: `batch.click` is y, `batch.conversion` is y & z. An unknown stage raises an
    AttributeError that lists the known ones.
    """

    size: int  # B
    rows: Tensor  # int64 (U,): the distinct embedding rows that this batch uses
    groups: tuple[Group, ...]
    labels: Mapping[str, Tensor] = field(default_factory=dict)  # stage -> bool (B,); empty if outcomes are not known
    times: Mapping[str, Tensor] = field(default_factory=dict)  # stage -> int64 (B,), in the log's unit of time
    observed_until: int | None = None  # the time up to which outcomes are known, in the same unit
    weight: Tensor | None = None  # float32 (B,); None: every impression weighs 1
    given: Mapping[str, Tensor] = field(default_factory=dict)  # name in Method.reads -> float32 (B,)
    numbers: Tensor | None = None  # float32 (B, R): log odds of the history's rates; None: there is no history

    def __len__(self) -> int:
        return self.size

    def __getattr__(self, stage: str) -> Tensor:
        return stage_of(self.__dict__.get("labels", {}), stage)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return replace(
            self,
            rows=self.rows.to(device, non_blocking=True),
            groups=tuple(group.to(device) for group in self.groups),
            labels={stage: label.to(device, non_blocking=True) for stage, label in self.labels.items()},
            times={stage: time.to(device, non_blocking=True) for stage, time in self.times.items()},
            weight=_to(self.weight, device),
            given={name: tensor.to(device, non_blocking=True) for name, tensor in self.given.items()},
            numbers=_to(self.numbers, device),
        )


def _to(tensor: Tensor | None, device: torch.device | str) -> Tensor | None:
    return None if tensor is None else tensor.to(device, non_blocking=True)
