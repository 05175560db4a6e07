"""The fields of requests and candidates as tensors, inside the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..features.chosen import ChosenFields
from ..features.encoders import ONE_KNOT
from ..network.fields import Bag, Input, InputFields
from ..serving.inputs import REQUEST, REQUEST_OF, SIDES, ProgramInputs

Tensors = Mapping[str, Tensor]
"""The inputs of the program, by name."""


@dataclass(frozen=True)
class Read:
    """One field as a network reads it."""

    index: int  # among the fields of the network
    input: str  # of the program
    column: int  # of that input; 0 for a bag
    offset: int  # its first row in the embedding
    size: int  # its embedding rows
    weights: str | None = None  # the input of the weights of a bag


@dataclass(frozen=True)
class SideReads:
    """The fields of one side that a network reads, by how they are written."""

    ids: tuple[Read, ...]
    positions: tuple[Read, ...]
    bags: tuple[Read, ...]


@dataclass(frozen=True)
class Placed:
    """The embedding rows of F_i fields of m requests or candidates: K for each field, with weights.

    Shape: rows int32 (m, F_i, K); weights float32 (m, F_i, K), 0 where there is no id; None: K is 1, and they are 1.
    """

    fields: tuple[int, ...]
    rows: Tensor
    weights: Tensor | None = None
    there: Tensor | None = None  # of a bag: bool (m, K), which ids there are; None: all

    def pooled(self, embedding: Tensor) -> Tensor:
        """The vectors of the fields side by side. Shape: (rows, D) -> (m, F_i * D)."""
        values = F.embedding(self.rows, embedding)
        if self.weights is not None:
            # NOTE: padded ids, a gather and a sum; an EmbeddingBag becomes a slow loop in ONNX
            values = (values * self.weights.unsqueeze(3)).sum(2)
        return values.flatten(1)


@dataclass(frozen=True)
class Reading:
    """The fields that a network reads of the inputs of a program, by side."""

    sides: Mapping[str, SideReads]
    interpolate: bool
    rates: tuple[tuple[str, int], ...]  # for each rate of the baseline: its side and its column there

    @staticmethod
    def of(chosen: ChosenFields, inputs: ProgramInputs) -> Reading:
        """How a network with these fields reads the inputs."""
        index = {name: i for i, name in enumerate(chosen.names)}

        def read(field: str, input: str, column: int = 0, weights: str | None = None) -> list[Read]:
            i = index.get(field)
            return [] if i is None else [Read(i, input, column, chosen.offsets[i], chosen.sizes[i], weights)]

        sides: dict[str, SideReads] = {}
        for name in SIDES:
            side = inputs.side(name)
            ids = [one for i, f in enumerate(side.ids) for one in read(f, f"{name}.ids", i)]
            numbers = [one for i, f in enumerate(side.positions) for one in read(f, f"{name}.positions", i)]
            bags: list[Read] = []
            for bag in side.bags:
                weights = f"{name}.weights.{bag.field}" if bag.weighted else None
                bags += read(bag.field, f"{name}.bag.{bag.field}", weights=weights)
            sides[name] = SideReads(tuple(ids), tuple(numbers), tuple(bags))
        places = {rate: (name, i) for name in SIDES for i, rate in enumerate(inputs.side(name).rates)}
        return Reading(sides, chosen.numbers == "interpolate", tuple(places[rate] for rate in chosen.rates))

    def numbers(self, tensors: Tensors) -> Tensor | None:
        """The log odds of the rates, for the logistic baseline. Shape: float32 (N, R)."""
        if not self.rates:
            return None
        parts = {name: tensors[f"{name}.rates"] for name in dict.fromkeys(name for name, _ in self.rates)}
        if REQUEST in parts:
            parts[REQUEST] = parts[REQUEST].index_select(0, tensors[REQUEST_OF])
        starts, start = {}, 0
        for name, part in parts.items():
            starts[name], start = start, start + part.shape[1]
        return take(torch.cat(list(parts.values()), 1), [starts[name] + column for name, column in self.rates])

    def placed(self, tensors: Tensors) -> dict[str, list[Placed]]:
        """Side -> the embedding rows of its fields; those of one kind together."""
        found: dict[str, list[Placed]] = {}
        for name, reads in self.sides.items():
            found[name] = []
            single = reads.ids if self.interpolate else (*reads.ids, *reads.positions)
            if single:
                some = [_values(tensors, kind) for kind in (reads.ids, () if self.interpolate else reads.positions)]
                rows = torch.cat([values.int() for values in some if values is not None], 1) + _offsets(single)
                found[name].append(Placed(tuple(read.index for read in single), rows.unsqueeze(2)))
            if self.interpolate and reads.positions:
                found[name].append(_pairs(tensors, reads.positions))
            found[name] += [_bag(tensors, read) for read in reads.bags]
        return found


def _values(tensors: Tensors, reads: Sequence[Read]) -> Tensor | None:
    """The values of fields that are columns of one input. Shape: (m, F_i)."""
    return take(tensors[reads[0].input], [read.column for read in reads]) if reads else None


def _offsets(reads: Sequence[Read]) -> Tensor:
    return torch.tensor([read.offset for read in reads], dtype=torch.int32)


def _pairs(tensors: Tensors, reads: Sequence[Read]) -> Placed:
    """The two rows that each number lies between, as `features.encoders.pairs_of`."""
    positions = _values(tensors, reads)
    assert positions is not None
    low = positions.floor()
    interpolated = torch.tensor([read.size > ONE_KNOT for read in reads])
    share = torch.where(interpolated, positions - low, 0.0)
    first = low.int() + _offsets(reads)
    rows = torch.stack([first, first + (share > 0).int()], 2)
    return Placed(tuple(read.index for read in reads), rows, torch.stack([1 - share, share], 2))


def _bag(tensors: Tensors, read: Read) -> Placed:
    ids = tensors[read.input]
    there = ids >= 0
    weights = there.float() if read.weights is None else torch.where(there, tensors[read.weights], 0.0)
    return Placed((read.index,), (ids.clamp(min=0) + read.offset).unsqueeze(1), weights.unsqueeze(1), there)


class ProgramFields(InputFields):
    """The fields of N candidates of U requests, read from one embedding.

    Args:
        embedding: Shape: float32 (rows, D).
        placed: side -> its rows of the embedding.
        request_of: the request of each candidate; None if nothing belongs to a request. Shape: int32 (N,).
    """

    def __init__(self, embedding: Tensor, placed: Mapping[str, Sequence[Placed]], request_of: Tensor | None) -> None:
        super().__init__(embedding.shape[1])
        self._embedding, self._placed, self._request_of = embedding, placed, request_of

    def make_inputs(self) -> tuple[Input, ...]:
        """What belongs to the request, pooled for each of the U requests; and the same of the N candidates."""
        return tuple(
            Input(
                tuple(field for one in some for field in one.fields),
                torch.cat([one.pooled(self._embedding) for one in some], 1),
                self._request_of if name == REQUEST else None,
            )
            for name, some in self._placed.items()
            if some
        )

    def vectors(self) -> Tensor:
        parts = [(i.fields, i.x if i.expand is None else i.x.index_select(0, i.expand)) for i in self.inputs]
        fields = [field for some, _ in parts for field in some]
        found = torch.cat([x for _, x in parts], 1).unflatten(1, (-1, self._size))
        return take(found, [fields.index(field) for field in range(len(fields))])

    def bag(self, field: int) -> Bag:
        name, one = next((n, one) for n, some in self._placed.items() for one in some if field in one.fields)
        expand = self._request_of.long() if name == REQUEST and self._request_of is not None else None
        k = one.fields.index(field)
        rows, weights = one.rows[:, k], None if one.weights is None else one.weights[:, k]
        if one.there is None:
            offsets = torch.arange(rows.shape[0] + 1) * rows.shape[1]
            rows, weights = rows.flatten(), None if weights is None else weights.flatten()
        else:
            offsets = F.pad(one.there.sum(1).cumsum(0), (1, 0))
            rows, weights = rows[one.there], None if weights is None else weights[one.there]
        return Bag(F.embedding(rows, self._embedding), offsets, weights, expand)


def take(values: Tensor, columns: Sequence[int]) -> Tensor:
    """Some columns. Shape: (m, n, ...) -> (m, len(columns), ...)."""
    if list(columns) == list(range(values.shape[1])):
        return values
    return values.index_select(1, torch.tensor(columns))
