"""The input of a tower or a trunk: all fields of a batch, in three forms.

    linear    the first layer of an MLP              rows that several impressions share are multiplied once
    vectors   one vector per field, (B, F, D)        for cross networks, factorisation machines
    bag       the separate ids of one field          for attention over a history, such as DIN

A form is computed when it is first read.
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
"""If a batch has at most this many rows of a side table per impression, the rows are multiplied by the first layer
before they are copied to the impressions. With more rows, copying the products costs more than it saves."""


@dataclass(frozen=True)
class FieldShape:
    """The fields that a tower or a trunk will read, from which it takes the sizes of its layers.

    >>> FieldShape(("user", "item", "price"), size=18).width
    54
    """

    names: tuple[str, ...]  # F
    size: int  # D

    @property
    def width(self) -> int:
        """F * D, the width of the vectors of all fields side by side."""
        return len(self.names) * self.size

    def index(self, name: str) -> int:
        """The index of a field. Raises: ConfigError that suggests the nearest name, if there is no such field."""
        if name not in self.names:
            raise ConfigError("a field that a tower reads must exist", f"'{name}'", do=nearest(name, self.names))
        return self.names.index(name)


@dataclass(frozen=True)
class Bag:
    """The embeddings of the ids of one field, not pooled, for m rows.

    Bag b is `values[offsets[b]:offsets[b + 1]]`; it may be empty. The pooled vectors would be
    `zeros(m, D).index_add(0, bag.owner, weights[:, None] * values)`.
    """

    values: Tensor  # float (n, D): the embedding of each id
    offsets: Tensor  # int64 (m + 1,), offsets[0] == 0
    weights: Tensor | None  # float (n,); None: every weight is 1
    expand: Tensor | None = None  # int64 (B,): the bag of each impression; None: m == B, bag i is impression i

    @property
    def owner(self) -> Tensor:
        """The bag of each id. Shape: int64 (n,).

        >>> Bag(torch.zeros(3, 1), torch.tensor([0, 2, 2, 3]), None).owner
        tensor([0, 0, 2])
        """
        lengths = self.offsets.diff()
        return torch.repeat_interleave(torch.arange(lengths.shape[0], device=lengths.device), lengths)

    def by_impression(self) -> Bag:
        """The same with one bag per impression, for attention that depends on the impression. Shape: m == B."""
        if self.expand is None:
            return self
        starts, lengths = self.offsets[:-1][self.expand], self.offsets.diff()[self.expand]
        offsets = F.pad(lengths.cumsum(0), (1, 0))
        owner = torch.repeat_interleave(torch.arange(lengths.shape[0], device=lengths.device), lengths)
        ids = torch.arange(owner.shape[0], device=lengths.device) + (starts - offsets[:-1])[owner]
        weights = None if self.weights is None else self.weights[ids]
        return Bag(self.values.index_select(0, ids), offsets, weights)


class Fields(ABC):
    """All fields of a batch of B impressions, to be read by a tower or a trunk."""

    @abstractmethod
    def linear(self, layer: nn.Linear) -> Tensor:
        """The layer applied to the vectors of all fields side by side, in the order of the fields.

        Shape: layer with F * D inputs -> (B, layer.out_features).
        """

    @abstractmethod
    def vectors(self) -> Tensor:
        """One vector per field: the weighted sum of its ids' embeddings. Shape: (B, F, D)."""

    @abstractmethod
    def bag(self, field: int) -> Bag:
        """The ids of the field with this index, not pooled.

        A field with one id per row gives bags of one, and a number that is interpolated bags of two, with weights.

        Raises: ConfigError if there are only vectors, because a trunk made these fields.
        """


class VectorFields(Fields):
    """Fields that have only vectors, no ids: the output of a trunk. Shape: vectors (B, F, D).

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
            "a tower that reads separate ids must be directly on the embedding",
            "it is on a trunk, which gives vectors only",
            do='Set network.trunk.kind = "none", or choose another tower',
        )


@dataclass(frozen=True)
class Input:
    """The vectors of some fields side by side, either per impression or per row of a side table."""

    fields: tuple[int, ...]  # the indices of F_i fields
    x: Tensor  # (m, F_i * D)
    expand: Tensor | None = None  # int64 (B,): the row of each impression; None: m == B, row i is impression i


class InputFields(Fields):
    """Fields that are given as a few inputs, of which some belong to rows that several impressions share.

    Args:
        size: D.
        lookups: the operations to use.
    """

    def __init__(self, size: int, lookups: Lookups = TORCH) -> None:
        self._size, self._lookups = size, lookups

    @abstractmethod
    def make_inputs(self) -> tuple[Input, ...]:
        """The inputs of the first layer, which together have every field once."""

    @functools.cached_property
    def inputs(self) -> tuple[Input, ...]:
        return self.make_inputs()

    def linear(self, layer: nn.Linear) -> Tensor:
        """A side-table row that several impressions share is multiplied once.

            x W' + b = sum over inputs i of expand_i(x_i W_i') + b,     W_i: the columns of W for the fields of input i

        In the backward pass, the gradients of a shared row are summed over its impressions before the multiplication.
        """
        inputs, size = self.inputs, self._size
        z, bias = None, layer.bias
        for i in inputs:
            weight = _of_fields(layer.weight, i.fields, size)
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
        return _join(parts)[1].unflatten(1, (-1, self._size))


class BatchFields(InputFields):
    """The fields of a batch, read from one embedding.

    Args:
        rows: the embedding rows of the batch, `weight[batch.rows]`. Shape: (U, D).
        batch: the ids.
        lookups: the operations to use.
    """

    def __init__(self, rows: Tensor, batch: Batch, lookups: Lookups = TORCH) -> None:
        super().__init__(rows.shape[1], lookups)
        self._rows, self._batch = rows, batch

    def make_inputs(self) -> tuple[Input, ...]:
        """Each side table with few rows in the batch is an input of its own; see `MAX_ROWS_AN_IMPRESSION`. All other
        fields together are one input, the last.
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

    def bag(self, field: int) -> Bag:
        group = next(group for group in self._batch.groups if field in group.fields)
        k, m = group.fields.index(field), group.size
        if group.offsets is None:  # row-major
            each = 2 if group.pairs else 1
            offsets = torch.arange(0, each * m + 1, each, device=group.position.device)
            shape = m, len(group.fields), each
            position = group.position.view(shape)[:, k].flatten()
            weights = None if group.weights is None else group.weights.view(shape)[:, k].flatten()
        else:  # field-major
            offsets = group.offsets[k * m : (k + 1) * m + 1]
            here = slice(int(offsets[0]), int(offsets[-1]))
            offsets = offsets - offsets[0]
            position = group.position[here]
            weights = None if group.weights is None else group.weights[here]
        values = self._lookups.lookup(self._rows, position.contiguous())
        return Bag(values, offsets, None if weights is None else weights.to(values.dtype), group.expand)


def _of_fields(weight: Tensor, fields: tuple[int, ...], size: int) -> Tensor:
    """The columns of a weight for these fields: all in order are the weight itself, and consecutive ones a view of it.

    Shape: (n, F_i * D).
    """
    columns = _columns(fields, size)
    if isinstance(columns, slice):
        return weight if columns == slice(0, weight.shape[1]) else weight[:, columns]
    return weight[:, torch.from_numpy(columns).to(weight.device)]


@functools.cache
def _columns(fields: tuple[int, ...], size: int) -> slice | np.ndarray:
    """The indices of the columns of these fields, `size` per field; a slice if the fields are consecutive.

    The cache holds arrays, never tensors, because a tensor belongs to a device, and a tensor made under inference_mode
    cannot be used in a later backward pass.

    >>> _columns((2, 3), 4), _columns((0, 2), 2)
    (slice(8, 16, None), array([0, 1, 4, 5]))
    """
    if fields == tuple(range(fields[0], fields[-1] + 1)):
        return slice(fields[0] * size, (fields[-1] + 1) * size)
    return (np.array(fields)[:, None] * size + np.arange(size)).ravel()


def _join(parts: list[tuple[tuple[int, ...], Tensor]]) -> tuple[tuple[int, ...], Tensor]:
    """(fields in ascending order, their vectors side by side). Shape: (m, F_g * D) each -> (m, sum of F_g * D)."""
    if len(parts) == 1 and list(parts[0][0]) == sorted(parts[0][0]):
        return parts[0]
    columns = sorted((field, i, k) for i, (fields, _) in enumerate(parts) for k, field in enumerate(fields))
    width = parts[0][1].shape[1] // len(parts[0][0])  # D
    runs: list[Tensor] = []
    start = 0
    for at in range(1, len(columns) + 1):  # consecutive fields of one part are copied together
        if at < len(columns) and columns[at][1:] == (columns[at - 1][1], columns[at - 1][2] + 1):
            continue
        _, i, k = columns[start]
        runs.append(parts[i][1].narrow(1, k * width, (at - start) * width))
        start = at
    return tuple(field for field, _, _ in columns), torch.cat(runs, dim=1)
