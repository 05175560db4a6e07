"""The fields of requests and candidates as tensors, inside the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..features.chosen import ChosenFields
from ..features.encoders import ONE_KNOT
from ..network.fields import Bag, Input, InputFields, join
from ..serving.inputs import REQUEST, REQUEST_OF, SIDES, ProgramInputs

Tensors = Mapping[str, Tensor]
"""The inputs of the program, by name."""


@dataclass(frozen=True)
class Read:
    """One field as a network reads it."""

    index: int  # among the fields of the network
    kind: str  # "ids": one id a row; "positions"; "bag"
    input: str  # of the program
    column: int  # of that input; 0 for a bag
    offset: int  # its first row in the embedding
    size: int  # its embedding rows
    weights: str | None = None  # the input of the weights of a bag


@dataclass(frozen=True)
class Reading:
    """The fields that a network reads of the inputs of a program, by side."""

    sides: Mapping[str, tuple[Read, ...]]
    interpolate: bool
    rates: tuple[tuple[str, int], ...]  # for each rate of the baseline: its side and its column there

    @staticmethod
    def of(chosen: ChosenFields, inputs: ProgramInputs) -> Reading:
        """How a network with these fields reads the inputs."""
        index = {name: i for i, name in enumerate(chosen.names)}
        sides: dict[str, tuple[Read, ...]] = {}
        for name in SIDES:
            side = inputs.side(name)
            places: list[tuple[str, str, str, int, str | None]] = []
            places += [(f, "ids", f"{name}.ids", i, None) for i, f in enumerate(side.ids)]
            places += [(f, "positions", f"{name}.positions", i, None) for i, f in enumerate(side.positions)]
            for bag in side.bags:
                weights = f"{name}.weights.{bag.field}" if bag.weighted else None
                places.append((bag.field, "bag", f"{name}.bag.{bag.field}", 0, weights))
            sides[name] = tuple(
                Read(index[f], kind, input, column, chosen.offsets[index[f]], chosen.sizes[index[f]], weights)
                for f, kind, input, column, weights in places
                if f in index
            )
        places_of_rates = {rate: (name, i) for name in SIDES for i, rate in enumerate(inputs.side(name).rates)}
        return Reading(sides, chosen.numbers == "interpolate", tuple(places_of_rates[rate] for rate in chosen.rates))

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


class ProgramFields(InputFields):
    """The fields of N candidates of U requests, read from one embedding.

    Args:
        weight: the embedding. Shape: float32 (rows, D).
        reading: what to read.
        tensors: the inputs of the program.
    """

    def __init__(self, weight: Tensor, reading: Reading, tensors: Tensors) -> None:
        super().__init__(weight.shape[1])
        self._weight, self._reading, self._tensors = weight, reading, tensors

    def make_inputs(self) -> tuple[Input, ...]:
        """What belongs to the request, pooled for each of the U requests; and the same of the N candidates."""
        found: list[Input] = []
        for name, reads in self._reading.sides.items():
            if reads:
                expand = self._tensors[REQUEST_OF] if name == REQUEST else None
                found.append(Input(*join(self._pooled(reads)), expand))
        return tuple(found)

    def _pooled(self, reads: Sequence[Read]) -> list[tuple[tuple[int, ...], Tensor]]:
        """Field indices, and their vectors side by side. Shape: (m, F_i * D) each."""
        parts: list[tuple[tuple[int, ...], Tensor]] = []
        for kind in ("ids", "positions"):
            some = [read for read in reads if read.kind == kind]
            if some:
                parts.append((tuple(read.index for read in some), self._of_columns(some).flatten(1)))
        for read in reads:
            if read.kind == "bag":
                ids, there, weights = self._bag(read)
                weighted = there.to(self._weight.dtype) if weights is None else torch.where(there, weights, 0.0)
                # NOTE: padded ids, a gather and a sum; an EmbeddingBag becomes a slow loop in ONNX
                parts.append(((read.index,), (F.embedding(ids, self._weight) * weighted.unsqueeze(2)).sum(1)))
        return parts

    def _of_columns(self, reads: Sequence[Read]) -> Tensor:
        """The vectors of fields with one value a row. Shape: (m, F_i, D)."""
        values = take(self._tensors[reads[0].input], [read.column for read in reads])
        offsets = torch.tensor([read.offset for read in reads], dtype=torch.int32)
        if reads[0].kind == "ids":
            return F.embedding(values + offsets, self._weight)
        if not self._reading.interpolate:
            return F.embedding(values.int() + offsets, self._weight)
        rows, weights = self._pairs(values, reads)
        return (F.embedding(rows + offsets.unsqueeze(1), self._weight) * weights.unsqueeze(3)).sum(2)

    @staticmethod
    def _pairs(positions: Tensor, reads: Sequence[Read]) -> tuple[Tensor, Tensor]:
        """As `features.encoders.pairs_of`. Shape: float32 (m, F_i) -> int32 and float32 (m, F_i, 2)."""
        low = positions.floor()
        interpolated = torch.tensor([read.size > ONE_KNOT for read in reads])
        share = torch.where(interpolated, positions - low, 0.0)
        first = low.int()
        return torch.stack([first, first + (share > 0).int()], 2), torch.stack([1 - share, share], 2)

    def _bag(self, read: Read) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rows of the embedding, which ids are there, and their weights. Shape: int32, bool and float32 (m, L)."""
        ids = self._tensors[read.input]
        weights = None if read.weights is None else self._tensors[read.weights]
        return ids.clamp(min=0) + read.offset, ids >= 0, weights

    def bag(self, field: int) -> Bag:
        name, read = next((n, r) for n, reads in self._reading.sides.items() for r in reads if r.index == field)
        expand = self._tensors[REQUEST_OF].long() if name == REQUEST else None
        weights = None
        if read.kind == "bag":
            padded, there, padded_weights = self._bag(read)
            rows = padded[there]
            weights = None if padded_weights is None else padded_weights[there]
            offsets = F.pad(there.sum(1).cumsum(0), (1, 0))
        else:
            values = self._tensors[read.input][:, read.column]
            each = 1
            if read.kind == "positions" and self._reading.interpolate:
                pairs, shares = self._pairs(values.unsqueeze(1), [read])
                rows, weights, each = pairs.flatten() + read.offset, shares.flatten(), 2
            else:
                rows = values.int() + read.offset
            offsets = torch.arange(len(values) + 1) * each
        return Bag(F.embedding(rows, self._weight), offsets, weights, expand)


def take(values: Tensor, columns: Sequence[int]) -> Tensor:
    """Some columns. Shape: (m, n) -> (m, len(columns))."""
    if list(columns) == list(range(values.shape[1])):
        return values
    return values.index_select(1, torch.tensor(columns))
