"""The inputs of a bundle's program: their names and shapes, and how encoded rows become them.

    request_of            int32 (N,)       the request row of each candidate row
    SIDE.ids              int32 (m, F)     fields of one id: rows of the field, 0 is "unseen"
    SIDE.positions        float32 (m, F)   numbers and rates as fields: positions among their knots
    SIDE.bag.FIELD        int32 (m, L)     a field of many ids: rows of the field, -1 after the last one
    SIDE.weights.FIELD    float32 (m, L)   the weights of these ids, if the field has any
    SIDE.rates            float32 (m, R)   log odds of the history's rates, for the logistic baseline

SIDE is "request", with m = U rows, or "candidate", with m = N. An input without fields is left out; so is `request_of`,
if there is nothing of a request. L is at least 1, and may differ from call to call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from ..config import Model
from ..core.rows import IMPRESSIONS, PlacedField, Ragged, Rows

REQUEST, CANDIDATE = "request", "candidate"
SIDES = (REQUEST, CANDIDATE)
REQUEST_OF = "request_of"
PADDING = -1
"""After the last id of a bag."""
OUTPUTS = ("pctr", "pcvr", "pctcvr")


class Bag(Model):
    """A field of many ids."""

    field: str
    weighted: bool


class SideInputs(Model):
    """The columns of the inputs of one side."""

    ids: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()
    bags: tuple[Bag, ...] = ()
    rates: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of this side, and not the rates that only the baseline reads."""
        return (*self.ids, *self.positions, *(bag.field for bag in self.bags))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read."""
        return not (self.fields or self.rates)


class Input(Model):
    """One input of the program."""

    name: str
    type: Literal["int32", "float32"]
    shape: tuple[int | str, ...]
    """The number of columns, or the name of a size that differs from call to call: U, N, or the field of a bag."""


class ProgramInputs(Model):
    """All inputs of a program."""

    request: SideInputs
    candidate: SideInputs

    @staticmethod
    def of(
        fields: Iterable[PlacedField], rates: Iterable[str], request: Iterable[str], weighted: Mapping[str, bool]
    ) -> ProgramInputs:
        """The inputs for these fields.

        Args:
            fields: what the program reads, in the layout's order.
            rates: the rates that the logistic baseline reads.
            request: the names of the fields and rates that belong to a request.
            weighted: field of many ids -> whether its ids have weights.
        """
        sides: dict[str, SideInputs] = {}
        fields, rates, request = list(fields), list(rates), frozenset(request)
        for side in SIDES:
            mine = [f for f in fields if (f.name in request) == (side == REQUEST)]
            sides[side] = SideInputs(
                ids=tuple(f.name for f in mine if f.single and not f.is_position),
                positions=tuple(f.name for f in mine if f.is_position),
                bags=tuple(Bag(field=f.name, weighted=weighted[f.name]) for f in mine if not f.single),
                rates=tuple(name for name in rates if (name in request) == (side == REQUEST)),
            )
        return ProgramInputs(**sides)

    def side(self, name: str) -> SideInputs:
        """The inputs of "request" or "candidate"."""
        return self.request if name == REQUEST else self.candidate

    @property
    def needs_request_of(self) -> bool:
        """Whether `request_of` is an input: something belongs to the request, or nothing to the candidate."""
        return not self.request.empty or self.candidate.empty

    def listed(self) -> Iterator[Input]:
        """All inputs, in the order in which the program has them."""
        if self.needs_request_of:
            yield Input(name=REQUEST_OF, type="int32", shape=("N",))
        for name in SIDES:
            side, rows = self.side(name), "U" if name == REQUEST else "N"
            if side.ids:
                yield Input(name=f"{name}.ids", type="int32", shape=(rows, len(side.ids)))
            if side.positions:
                yield Input(name=f"{name}.positions", type="float32", shape=(rows, len(side.positions)))
            for bag in side.bags:
                yield Input(name=f"{name}.bag.{bag.field}", type="int32", shape=(rows, bag.field))
                if bag.weighted:
                    yield Input(name=f"{name}.weights.{bag.field}", type="float32", shape=(rows, bag.field))
            if side.rates:
                yield Input(name=f"{name}.rates", type="float32", shape=(rows, len(side.rates)))


def side_arrays(name: str, side: SideInputs, rows: Rows, rates: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The inputs of one side, from encoded rows that hold all its fields.

    Args:
        name: "request" or "candidate".
        rates: rate -> its column in `rows.numbers`.
    """
    arrays: dict[str, np.ndarray] = {}
    if side.ids:
        arrays[f"{name}.ids"] = _columns(rows, side.ids, np.int32)
    if side.positions:
        arrays[f"{name}.positions"] = _columns(rows, side.positions, np.float32)
    for bag in side.bags:
        ids, weights = padded(rows.fields[bag.field], bag.weighted)
        arrays[f"{name}.bag.{bag.field}"] = ids
        if weights is not None:
            arrays[f"{name}.weights.{bag.field}"] = weights
    if side.rates:
        assert rows.numbers is not None
        arrays[f"{name}.rates"] = np.ascontiguousarray(rows.numbers[:, [rates[rate] for rate in side.rates]])
    return arrays


def _columns(rows: Rows, names: tuple[str, ...], dtype: type[np.generic]) -> np.ndarray:
    out = np.empty((len(rows), len(names)), dtype)
    for i, name in enumerate(names):
        out[:, i] = rows.fields[name].values
    return out


def padded(bags: Ragged, weighted: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The ids of each row, then PADDING, and their weights, then 0. Shape: int32 and float32 (n, L), L at least 1.

    >>> ids, weights = padded(Ragged(np.array([7, 8, 9]), np.array([0, 2, 2, 3])), True)
    >>> ids.tolist(), weights.tolist()
    ([[7, 8], [-1, -1], [9, -1]], [[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    """
    offsets = np.arange(len(bags) + 1) if bags.offsets is None else bags.offsets
    lengths = np.diff(offsets)
    there = np.arange(max(1, int(lengths.max(initial=0)))) < lengths[:, None]
    ids = np.full(there.shape, PADDING, np.int32)
    ids[there] = bags.values[offsets[0] : offsets[-1]]
    if not weighted:
        return ids, None
    weights = np.zeros(there.shape, np.float32)
    weights[there] = 1 if bags.weights is None else bags.weights[offsets[0] : offsets[-1]]
    return ids, weights


def longest(side: SideInputs, rows: Rows) -> int:
    """The ids of the longest bag, by which `side_arrays` pads."""
    bags = (rows.fields[bag.field].offsets for bag in side.bags)
    return max((int(np.diff(offsets).max(initial=0)) for offsets in bags if offsets is not None), default=0)


def joined(rows: Rows, fields: Iterable[PlacedField], tables: Mapping[str, Mapping[str, Ragged]]) -> Rows:
    """The rows with the fields of their side tables beside their own.

    Args:
        fields: the fields that are needed.
        tables: side table -> field -> one bag per row of the table.
    """
    found = {
        f.name: rows.fields[f.name] if f.table == IMPRESSIONS else tables[f.table][f.name].take(rows.links[f.table])
        for f in fields
    }
    return replace(rows, fields=found, links={})
