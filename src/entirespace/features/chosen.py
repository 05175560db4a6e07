"""The fields of a layout that a network reads: network.exclude, .history, .numbers and .offset.

The embedding of a network has rows for its own fields only. So what a network and the batches that it reads must agree
on (names, first rows, number of rows) is decided here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from ..config import NetworkConfig, nearest
from ..core.rows import RATE, PlacedField
from ..errors import ConfigError, DataError


class _Sized(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def size(self) -> int: ...


@dataclass(frozen=True)
class ChosenFields:
    """The fields that a network reads, in the layout's order.

    >>> ChosenFields(("user", "price"), (5, 3), "bucket").offsets
    (0, 5)
    """

    names: tuple[str, ...]  # F
    sizes: tuple[int, ...]  # F: the embedding rows of each, row 0 ("unseen") included
    numbers: Literal["bucket", "interpolate"]  # how the position of a number is read; see `Group`
    rates: tuple[str, ...] = ()  # R: the rates whose log odds the logistic baseline reads; (): there is no baseline

    @staticmethod
    def of(
        fields: Iterable[_Sized], config: NetworkConfig, where: str | None = None, *, alone: bool = False
    ) -> ChosenFields:
        """The fields that a network with this configuration reads.

        Args:
            fields: all fields of the layout.
            where: the dataset or the run that errors name.
            alone: the method has nothing but the logistic baseline, which reads no field but the rates.

        Raises: ConfigError if network.exclude names no field of the layout, or if no field remains, unless there are
        layers on the rates (network.offset_hidden).
        """
        fields = list(fields)
        names = [f.name for f in fields]
        rates = tuple(f.name for f in fields if f.kind == RATE) if alone or config.offset == "rates" else ()
        if alone:
            return ChosenFields((), (), config.numbers, rates)
        for name in config.exclude:
            if name not in names:
                must = "network.exclude must name fields of the dataset"
                raise ConfigError(must, f"'{name}'", where=where, do=nearest(name, names))
        left = {*config.exclude, *(() if config.rated_ids else rated(fields))}
        chosen = [f for f in fields if f.name not in left and (config.history or f.kind != RATE)]
        if not chosen and not (rates and config.offset_hidden):
            came = f"none of {len(names)} remain" if config.history else "none remain without the history"
            do = f"Leave some of these out of network.exclude: {', '.join(names)}"
            raise ConfigError("a network must read at least one field", came, where=where, do=do)
        return ChosenFields(tuple(f.name for f in chosen), tuple(f.size for f in chosen), config.numbers, rates)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The first row of each field in the embedding table, which is the field's "unseen" row. F entries."""
        return tuple(np.cumsum([0, *self.sizes])[:-1].tolist())

    @property
    def rows(self) -> int:
        """The number of rows of the embedding table."""
        return sum(self.sizes)

    @cached_property
    def read(self) -> frozenset[str]:
        """The names of the fields and rates that impressions must have."""
        return frozenset((*self.names, *self.rates))

    def placed(self, fields: Iterable[PlacedField]) -> tuple[PlacedField, ...]:
        """The chosen ones of these fields, in order, with their first rows in the network's embedding table.

        Raises: DataError if a chosen field is not among them.
        """
        there = {f.name: f for f in fields}
        for name in self.names:
            if name not in there:
                must = "encoded impressions must hold all fields that the network reads"
                raise DataError(must, f"'{name}' is not among them", do="Encode them for this run")
        return tuple(replace(there[name], offset=first) for name, first in zip(self.names, self.offsets, strict=True))


def rated(fields: Iterable[_Sized]) -> frozenset[str]:
    """The fields whose own ids have rates among these fields.

    The name of a rate is rate.STAGE.KEY, and the key of one field has the field's name.
    """
    fields = list(fields)
    keys = {f.name.split(".", 2)[2] for f in fields if f.kind == RATE}
    return frozenset(f.name for f in fields if f.name in keys)
