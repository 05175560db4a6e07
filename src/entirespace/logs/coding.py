"""The fields of a log's tables: reads their columns, and gives each raw id its code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.rows import Field, Ragged
from ..features.codes import Codes, HashedCodes
from ..features.values import Content, read
from .files import Frame
from .hints import no_hint, of_number, of_time
from .reading import Check, TableReader, among
from .sorts import Sorts


class Coding:
    """Reads fields, and numbers the different raw ids of each in the order in which they appear.

    Args:
        fields: of all tables of the log.
        reader: puts bad rows into quarantine.
    """

    def __init__(self, fields: tuple[Field, ...], reader: TableReader) -> None:
        self.fields, self._reader, self._sorts = fields, reader, Sorts()
        self._codes: dict[str, Codes | HashedCodes] = {
            f.name: HashedCodes(f.hash) if f.hash is not None else Codes() for f in fields if f.kind != "number"
        }

    def ids(self, field: str) -> pa.Array:
        """The raw ids of a field by code. Shape: text or int64 (C,); a null int64 is the empty id."""
        return self._codes[field].ids()

    def read(self, frame: Frame, table: str, bad: np.ndarray) -> tuple[dict[str, Content], np.ndarray]:
        """(field -> its raw values in the good rows, rows that are bad). Rows with an unreadable field become bad.

        `bad`: the rows that are bad already. Shape: bool (n,).
        """
        self.fields = tuple(self._sorts.decided(f, frame) if f.table == table else f for f in self.fields)
        mine = [f for f in self.fields if f.table == table]
        columns = {f.name: (f.source,) if f.weights is None else (f.source, f.weights) for f in mine}
        hints = {f.name: of_number if f.part is None else of_time for f in mine}
        while True:
            rows = frame.rows.filter(pl.Series(~bad)) if bad.any() else frame.rows
            found = {f.name: read(rows, f) for f in mine}
            checks = [
                Check(reason, among(~bad, failed), columns[name], hints[name] if reason == "bad_value" else no_hint)
                for name, (_, some) in found.items()
                for reason, failed in some
            ]
            before, bad = bad, self._reader.quarantine(frame, table, checks, bad)
            if np.array_equal(before, bad):
                return {name: content for name, (content, _) in found.items()}, bad

    def encode(self, contents: Mapping[str, Content]) -> dict[str, Ragged]:
        """Field -> the codes of its raw ids, or its numbers."""
        return {name: self._encoded(name, content) for name, content in contents.items()}

    def _encoded(self, name: str, content: Content) -> Ragged:
        if isinstance(content, np.ndarray):
            return Ragged(content)
        if isinstance(content, pl.Series):
            return Ragged(self._codes[name].encode(content))
        offsets = np.concatenate(([0], np.cumsum(content.lengths)))
        return Ragged(self._codes[name].encode(content.ids), offsets, content.weights)


def columns_of_fields(fields: tuple[Field, ...], table: str) -> tuple[dict[str, str], set[str]]:
    """(purpose -> column of the fields of a table, the purposes whose columns may hold lists)."""
    wanted, lists = {}, set[str]()
    for f in fields:
        if f.table != table:
            continue
        purposes = {f"fields.{f.name}": f.source}
        if f.weights:
            purposes[f"fields.{f.name}.weights"] = f.weights
        wanted |= purposes
        lists |= set(purposes) if f.kind == "ids" else set()
    return wanted, lists
