"""The values of a request, column by column -> the encoded rows of its request side or of its candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from ..core.rows import RATE, Field, Ragged, Rows
from ..features.history.history import SEPARATOR, History, part_text
from ..features.history.keys import HistoryKey
from ..features.layout import Encoders, Layout
from ..kernels.knots import positions_of_columns
from .inputs import SideInputs
from .ports import Fresh
from .values import BagColumn, Column, IdColumn, column

Values = Mapping[tuple[str, str], list[Any]]
"""(table, column) -> the value of each of n rows; None: it is missing."""


@dataclass(frozen=True)
class Encoded:
    """The encoded rows of a side, and what was unseen.

    Attributes:
        unseen: field -> how many of its ids have the row "unseen"; of a number, how many are missing.
    """

    rows: Rows
    unseen: Mapping[str, int]


class SideEncoder:
    """Encodes the rows of one side, as `FrameEncoder` encodes data frames.

    Args:
        encoders, layout: of the bundle.
        inputs: what the program reads of this side.
        fresh: counts that are added to those of the bundle.
    """

    def __init__(self, encoders: Encoders, layout: Layout, inputs: SideInputs, fresh: Fresh | None = None) -> None:
        names = {*inputs.fields, *inputs.rates}
        self._fields = tuple(f for f in encoders.fields if f.name in names and f.kind != RATE)
        self._columns: dict[str, Column] = {f.name: column(f, encoders[f.name].encode) for f in self._fields}
        rates = [name for name in layout.rates if name in names]
        self._rates = None
        if rates and encoders.history is not None:
            self._rates = _Rates(encoders, layout, encoders.history, frozenset(rates), fresh)

    @property
    def needs(self) -> tuple[Field, ...]:
        """The fields whose columns are read: those of this side, and all that its rates are counted by."""
        return (*self._fields, *(() if self._rates is None else self._rates.fields))

    def encode(self, values: Values, n: int) -> Encoded:
        """The encoded rows. Raises: BadValue. Shape: n values of each column that is needed."""
        fields: dict[str, Ragged] = {}
        unseen: dict[str, int] = {}
        for f in self._fields:
            weights = None if f.weights is None else values[f.table, f.weights]
            found = self._columns[f.name].encode(values[f.table, f.source], weights)
            fields[f.name] = found
            if missing := len(found.values) - int(np.count_nonzero(found.values >= 1)):
                unseen[f.name] = missing
        numbers = None
        if self._rates is not None:
            positions, numbers = self._rates.encode(values, n)
            fields |= positions
        return Encoded(Rows(n, fields, numbers=numbers), unseen)


class _Rates:
    """The rates of one side."""

    def __init__(
        self, encoders: Encoders, layout: Layout, history: History, rates: frozenset[str], fresh: Fresh | None
    ) -> None:
        spec, known = history.spec, {f.name: f for f in encoders.fields}
        rated = {key for key, names in spec.names_by_key.items() if rates.intersection(names)}
        chains = {name for key in rated for name in spec[key].chain}
        keys = tuple(replace(key, rated=key.name in rated) for key in spec.keys if key.name in chains)
        self._history = replace(history, spec=replace(spec, keys=keys))
        names = self._history.spec.names
        self._fresh, self._places = fresh, [layout.rates.index(name) for name in names]
        self._all, self._names = len(layout.rates), names
        edges = [encoders[name].to_table()["edge"].to_numpy() for name in names]
        self._edges = np.concatenate([np.zeros(0), *edges])
        self._starts = np.cumsum([0, *map(len, edges)])
        as_read = {f: replace(known.get(f.name, f), weights=None) for key in keys for f in key.fields}
        self.fields = tuple(dict.fromkeys(as_read.values()))
        self._keys = {key.name: tuple(as_read[f] for f in key.fields) for key in keys}
        self._codes: dict[str, IdColumn | BagColumn] = {}
        self._texts: dict[str, IdColumn | BagColumn] = {}
        for key in keys:
            of_key = self._keys[key.name]
            if len(of_key) == 1:
                self._codes[key.name] = _ids(of_key[0], partial(self._history.find, key))
            for f, counted in zip(of_key, key.fields, strict=True):
                self._texts.setdefault(f.name, _ids(f, partial(part_text, counted)))

    def encode(self, values: Values, n: int) -> tuple[dict[str, Ragged], np.ndarray]:
        """(the positions of the rates; their log odds in the layout's columns). Shape: n rows; float32 (n, R)."""
        texts: dict[str, tuple[list[str], np.ndarray | None]] = {}
        codes: dict[str, Ragged] = {}
        for key in self._history.spec.keys:
            of_key = self._keys[key.name]
            if len(of_key) == 1 and self._fresh is None:
                codes[key.name] = self._codes[key.name].encode(values[of_key[0].table, of_key[0].source])
                continue
            parts = [self._texts[f.name].texts(values[f.table, f.source]) for f in of_key]
            ids, lengths = parts[0]
            if len(parts) == 2:
                ids = [one + SEPARATOR + other for one, other in zip(ids, parts[1][0], strict=True)]
            texts[key.name] = ids, lengths
            codes[key.name] = _bags(self._found(key, ids), lengths)
        newer = None
        if self._fresh is not None:
            newer = {name: self._new(name, *found) for name, found in texts.items()}
        variant = np.full(n, self._history.variants - 1, np.uint8)
        odds = self._history.numbers(codes, variant, newer)
        positions = np.empty((len(self._names), n), np.float32)
        positions_of_columns(0, n, odds, self._edges, self._starts, positions)
        numbers = np.zeros((n, self._all), np.float32)
        numbers[:, self._places] = odds
        return {name: Ragged(positions[i]) for i, name in enumerate(self._names)}, numbers

    def _found(self, key: HistoryKey, ids: list[str]) -> np.ndarray:
        hashed = len(key.fields) == 1 and key.fields[0].hash is not None
        return np.array(ids, np.int32) if hashed else self._history.find_text(key, pl.Series(ids, dtype=pl.String))

    def _new(self, key: str, ids: list[str], lengths: np.ndarray | None) -> np.ndarray:
        """The fresh counts of each row; a bag pools its ids. Shape: float64 (n, W)."""
        assert self._fresh is not None
        counts = np.asarray(self._fresh.counts(key, ids), np.float64)
        if lengths is None:
            return counts
        sums = np.zeros((len(lengths), counts.shape[1] if len(ids) else self._history.overall.shape[1]))
        np.add.at(sums, np.repeat(np.arange(len(lengths)), lengths), counts)
        return sums


def _ids(f: Field, encode: Any) -> IdColumn | BagColumn:
    return BagColumn(f, encode) if f.kind == "ids" else IdColumn(f, encode)


def _bags(codes: np.ndarray, lengths: np.ndarray | None) -> Ragged:
    return Ragged(codes, None if lengths is None else np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))
