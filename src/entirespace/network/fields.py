"""What a tower or a trunk reads: all fields of a batch, each in the form that it asks for.

    linear    the first layer of an MLP            rows that many impressions share are multiplied once
    vectors   one vector a field, (B, F, D)        cross networks, factorisation machines
    bag       the single ids of one field          attention over a history, such as DIN

Each form is made when it is first read, and not at all where nobody reads it.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batches.batch import Batch, Group
from ..config import nearest
from ..errors import ConfigError
from .embedding import TORCH, Lookups, pool

MAX_ROWS_AN_IMPRESSION = 0.75
"""A side table's rows are multiplied before they are copied onto the impressions where the batch has at most this many
of them an impression. Above it, copying the products costs more than the multiplications that it saves."""


@dataclass(frozen=True)
class FieldShape:
    """The fields that a tower or a trunk will read: what its layers are sized by.

    >>> FieldShape(("user", "item", "price"), size=18).width
    54
    """

    names: tuple[str, ...]  # F
    size: int  # D

    @property
    def width(self) -> int:
        """F * D: the columns of all vectors side by side."""
        return len(self.names) * self.size

    def index(self, name: str) -> int:
        """The place of a field. Raises: ConfigError that names the nearest field."""
        if name not in self.names:
            raise ConfigError("a field that a tower reads must be there", f"'{name}'", do=nearest(name, self.names))
        return self.names.index(name)


@dataclass(frozen=True)
class Bag:
    """The ids of one field, not pooled, for m rows. Bag b is `values[offsets[b]:offsets[b + 1]]`; it may be empty.

    Pooled by hand: `zeros(m, D).index_add(0, bag.owner, weights * values)`.
    """

    values: Tensor  # float (n, D): the embedding of each id
    offsets: Tensor  # int64 (m + 1,), offsets[0] == 0
    weights: Tensor | None  # float (n,); None: every weight is 1
    expand: Tensor | None = None  # int64 (B,): the bag of each impression; None: m == B, in order

    @property
    def owner(self) -> Tensor:
        """The bag of each id. Shape: int64 (n,).

        >>> Bag(torch.zeros(3, 1), torch.tensor([0, 2, 2, 3]), None).owner
        tensor([0, 0, 2])
        """
        lengths = self.offsets.diff()
        return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)

    def by_impression(self) -> Bag:
        """A bag for each impression, in order: for attention that depends on the impression. Shape: m == B."""
        if self.expand is None:
            return self
        starts, lengths = self.offsets[:-1][self.expand], self.offsets.diff()[self.expand]
        offsets = F.pad(lengths.cumsum(0), (1, 0))
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
        ids = torch.arange(len(owner), device=lengths.device) + (starts - offsets[:-1])[owner]
        weights = None if self.weights is None else self.weights[ids]
        return Bag(self.values.index_select(0, ids), offsets, weights)


class Fields(ABC):
    """All fields of a batch of B impressions, as a tower or a trunk reads them."""

    @abstractmethod
    def linear(self, layer: nn.Linear) -> Tensor:
        """A linear layer of all vectors side by side, in the order of the fields.

        Shape: layer of F * D inputs -> (B, layer.out_features).
        """

    @abstractmethod
    def vectors(self) -> Tensor:
        """One vector a field: the weighted sum of its ids' embeddings. Shape: (B, F, D)."""

    @abstractmethod
    def bag(self, field: int) -> Bag:
        """The ids of one field, not pooled. A field of single ids gives bags of one.

        Raises: ConfigError where there are no ids, above a trunk.
        """


class VectorFields(Fields):
    """Fields of which only the vectors are there: what a trunk gives to a tower. Shape: vectors (B, F, D).

    >>> VectorFields(torch.ones(4, 2, 3)).linear(nn.Linear(6, 5)).shape
    torch.Size([4, 5])
    """

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors

    def linear(self, layer: nn.Linear) -> Tensor:
        return layer(self._vectors.flatten(1))

    def vectors(self) -> Tensor:
        return self._vectors

    def bag(self, field: int) -> Bag:
        raise ConfigError(
            "a tower that reads single ids must stand on the embedding",
            "it stands on a trunk, which gives vectors",
            do='Take network.trunk.kind = "none", or another tower',
        )


@dataclass(frozen=True)
class Input:
    """Some fields of a batch: their vectors side by side, for each impression or for the rows that many share."""

    fields: tuple[int, ...]  # F_i places of fields, ascending
    x: Tensor  # (m, F_i * D)
    expand: Tensor | None = None  # int64 (B,): the row of each impression; None: m == B, in order


class BatchFields(Fields):
    """The fields of a batch above one embedding. Shape: rows (U, D), the embedding's rows `batch.rows`."""

    def __init__(self, rows: Tensor, batch: Batch, lookups: Lookups = TORCH) -> None:
        self._rows, self._batch, self._lookups = rows, batch, lookups

    @functools.cached_property
    def inputs(self) -> tuple[Input, ...]:
        """What the first layer reads: every field once, in as few inputs as sharing rows allows.

        Side tables of which the batch has few rows give an input each. All other fields give one, which comes last.
        """
        few: dict[str, list[tuple[Group, Tensor]]] = {}
        others: list[tuple[tuple[int, ...], Tensor]] = []
        for group in self._batch.groups:
            pooled = pool(self._rows, group, self._lookups)
            if group.expand is None:
                others.append((group.fields, pooled))
            elif group.size <= MAX_ROWS_AN_IMPRESSION * len(self._batch):
                few.setdefault(group.table, []).append((group, pooled))
            else:
                others.append((group.fields, self._lookups.lookup(pooled, group.expand)))
        made = [Input(*_join([(g.fields, x) for g, x in groups]), groups[0][0].expand) for groups in few.values()]
        return (*made, Input(*_join(others))) if others else tuple(made)

    def linear(self, layer: nn.Linear) -> Tensor:
        """A row which many impressions share is multiplied once.

            x W' + b = sum over inputs i of expand_i(x_i W_i') + b,     W_i: the columns of W that belong to i's fields

        Backward likewise: what comes back to a shared row is summed over its impressions before it is multiplied.
        """
        inputs, size = self.inputs, self._rows.shape[1]
        z, bias = None, layer.bias
        for i in inputs:
            weight = layer.weight if len(inputs) == 1 else _of_fields(layer.weight, i.fields, size)
            if i.expand is None:
                z = F.linear(i.x, weight, bias) if z is None else torch.addmm(z, i.x, weight.t())
            else:
                part = self._lookups.lookup(F.linear(i.x, weight, bias).to(i.x.dtype), i.expand)
                z, bias = part if z is None else z + part, None
        assert z is not None
        return z

    def vectors(self) -> Tensor:
        return self._vectors

    @functools.cached_property
    def _vectors(self) -> Tensor:
        parts = [(i.fields, i.x if i.expand is None else self._lookups.lookup(i.x, i.expand)) for i in self.inputs]
        return _join(parts)[1].unflatten(1, (-1, self._rows.shape[1]))

    def bag(self, field: int) -> Bag:
        group = next(group for group in self._batch.groups if field in group.fields)
        k, m = group.fields.index(field), group.size
        if group.offsets is None:  # row-major
            here = slice(k, None, len(group.fields))
            offsets = torch.arange(m + 1, device=group.position.device)
        else:  # field-major
            offsets = group.offsets[k * m : (k + 1) * m + 1]
            here = slice(int(offsets[0]), int(offsets[-1]))
            offsets = offsets - offsets[0]
        values = self._lookups.lookup(self._rows, group.position[here].contiguous())
        weights = None if group.weights is None else group.weights[here].to(values.dtype)
        return Bag(values, offsets, weights, group.expand)


def _of_fields(weight: Tensor, fields: tuple[int, ...], size: int) -> Tensor:
    """The columns of a weight that belong to these fields: a view where they are neighbours. Shape: (n, F_i * D)."""
    at = _columns(fields, size)
    return weight[:, at if isinstance(at, slice) else torch.from_numpy(at).to(weight.device)]


@functools.cache
def _columns(fields: tuple[int, ...], size: int) -> slice | np.ndarray:
    """The columns of these fields, `size` each: a slice where they are neighbours.

    The cache holds arrays, never tensors: a tensor belongs to a device, and one that is made under inference_mode may
    not be saved for a later backward pass.

    >>> _columns((2, 3), 4), _columns((0, 2), 2)
    (slice(8, 16, None), array([0, 1, 4, 5]))
    """
    if fields == tuple(range(fields[0], fields[-1] + 1)):
        return slice(fields[0] * size, (fields[-1] + 1) * size)
    return (np.array(fields)[:, None] * size + np.arange(size)).ravel()


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
