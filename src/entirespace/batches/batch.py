"""What a network reads: B impressions, with each distinct embedding row they touch named once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..core.labels import stage_of


@dataclass(frozen=True)
class Group:
    """Some fields of one table, for m rows of it: single-valued fields together, bags of ids together.

    Single-valued: n = m * F_g positions, row-major: those of row i are `position[i * F_g:(i + 1) * F_g]`.
    Bags: field-major, bag b = f * m + i is `position[offsets[b]:offsets[b + 1]]`; it may be empty.
    """

    fields: tuple[int, ...]  # F_g indices into Dataset.fields
    position: Tensor  # int64 (n,): index into Batch.rows, one an id
    offsets: Tensor | None  # int64 (F_g * m + 1,), offsets[0] == 0; None: single-valued
    weights: Tensor | None  # float32 (n,); None: every weight is 1
    expand: Tensor | None  # int64 (B,): the group's row of each impression; None: m == B, in order
    size: int  # m
    table: str  # the table's name; groups of one side table have the same `expand`

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
    """B impressions. All fields share one table of embedding rows, in which each field has its own range.

    A stage is also an attribute: `batch.click` is y, `batch.conversion` is y & z.
    """

    size: int  # B
    rows: Tensor  # int64 (U,): the distinct embedding rows that this batch touches
    groups: tuple[Group, ...]
    labels: Mapping[str, Tensor] = field(default_factory=dict)  # stage -> bool (B,); empty where outcomes are unknown
    times: Mapping[str, Tensor] = field(default_factory=dict)  # stage -> int64 (B,), in the log's unit of time
    observed_until: int | None = None  # the time up to which outcomes are known, in the same unit
    weight: Tensor | None = None  # float32 (B,); None: every impression weighs 1
    given: Mapping[str, Tensor] = field(default_factory=dict)  # float32 (B,): what the method reads beside labels

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
        )


def _to(tensor: Tensor | None, device: torch.device | str) -> Tensor | None:
    return None if tensor is None else tensor.to(device, non_blocking=True)
