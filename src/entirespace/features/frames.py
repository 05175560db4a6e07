"""Data frames of raw rows -> embedding rows, so that a run can predict rows that are not in a dataset."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# (data frames of any library have no types)
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.rows import IMPRESSIONS, POSITIONS, RATE, Field, PlacedField, Ragged, Rows, ValueFormat
from ..errors import DataError
from .arrow import frame_of
from .history.frames import FrameKeys
from .history.keys import HistorySpec
from .history.newer import Newer
from .idtable import IdTable
from .layout import Encoders, Key
from .values import Bags, Content, inexact, raw_ids, read, text, without_missing

WRONG = {
    "bad_value": "a number",
    "bad_id": "an id that is exact: store large ids as integers or text, not as floats",
    "wrong_feature_count": "as many weights as ids",
    "bad_weight": "weights that are finite and not negative",
}
"""Reason for which a row is bad -> what the field must hold instead."""


@dataclass(frozen=True)
class Unseen:
    """How many ids of a field were read, and how many of them the layout does not know.

    Numbers are never unseen: of a field of numbers, it is how many were read, and how many of them are missing.
    """

    ids: int  # or numbers
    unseen: int  # ids encoded as row 0, "unseen"
    missing: int | None = None  # numbers encoded as row 0; None: a field of ids

    @staticmethod
    def of(kind: str, read: int, row_0: int) -> Unseen:
        """The counts of a field of some kind: values that were read, and those encoded as row 0."""
        return Unseen(read, 0, row_0) if kind in POSITIONS else Unseen(read, row_0)

    def __add__(self, other: Unseen) -> Unseen:
        missing = None if self.missing is None or other.missing is None else self.missing + other.missing
        return Unseen(self.ids + other.ids, self.unseen + other.unseen, missing)


@dataclass(frozen=True)
class Bad:
    """A row of a frame that cannot be encoded, and why."""

    row: int  # its index in the frame, from 0
    field: str
    must: str  # what the field must hold
    value: str  # what it holds

    def error(self, where: str) -> DataError:
        """The error to raise for this row; `where` is its place."""
        return DataError(f"field '{self.field}' must hold {self.must}", self.value, where=where)


def as_frame(data: Any) -> pl.DataFrame:
    """A polars, pandas or Arrow table, or a mapping from names to columns, as a polars DataFrame.

    Raises: DataError for anything else.
    """
    must = "the impressions must be a part, a dataset or a data frame (polars, pandas, Arrow)"
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    try:
        if isinstance(data, Mapping):
            data = pl.DataFrame(data)
        if isinstance(data, pl.DataFrame):
            return _with_plain_columns(data)
        if hasattr(data, "__arrow_c_stream__"):
            return frame_of(pa.table(data), "the data frame")
    except (TypeError, ValueError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        came = f"a column cannot be read: {str(error).splitlines()[0]}"
        raise DataError(must, came, do="Give each column values of one type") from error
    raise DataError(must, f"{type(data).__module__}.{type(data).__qualname__}")


def _with_plain_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Categories and bytes as text. Raises: DataError that names a column of Python objects."""
    for name, kind in frame.schema.items():
        if kind == pl.Object:
            must = f"column '{name}' must hold ids, lists of ids, numbers or times"
            raise DataError(must, "it holds Python objects", do="Store it as text")
        if isinstance(kind, pl.Binary | pl.Categorical | pl.Enum | pl.BaseExtension):
            return frame_of(frame.to_arrow(), "the data frame")
    return frame


class FrameEncoder:
    """Encodes raw impressions with the encoders of a layout, exactly as `prepare` does.

    Args:
        encoders: the encoders of the layout.
        tables: side tables as frames, by name. The columns of a side table that is not given must be columns of the
            impressions. A side table without any of the fields is not read.
        names: the fields to encode; other fields need no columns. Absent: all.

    Attributes:
        fields: the fields in the layout's order; fields of side tables that are not given belong to the impressions.
        layout: the layout's digest.
        tables: side table -> field -> one bag per row. Row 0 is the empty row, for keys without a row.

    Raises: DataError if a column is missing, a side table is unknown, or a row of a side table cannot be encoded.
    """

    def __init__(
        self,
        encoders: Encoders,
        tables: Mapping[str, Any] | None = None,
        names: Collection[str] | None = None,
    ) -> None:
        self._encoders = encoders
        self._read = tuple(f for f in encoders.fields if names is None or f.name in names)
        history = encoders.history if any(f.kind == RATE for f in self._read) else None
        keys = () if history is None else _keys_of(history.spec, encoders.fields)
        given = {name: as_frame(frame) for name, frame in (tables or {}).items()}
        for name in given:
            if name not in encoders.keys:
                known = ", ".join(encoders.keys) or "none"
                raise DataError("a side table must be one of the layout's", f"'{name}'; the layout has {known}")
        given = {name: frame for name, frame in given.items() if any(f.table == name for f in (*self._read, *keys))}
        self._keys: dict[str, IdTable] = {}
        self.tables: dict[str, dict[str, Ragged]] = {}
        self._counts: dict[str, dict[str, np.ndarray]] = {}  # table -> field -> int64 (rows, 2): ids, those of row 0
        self.layout = encoders.digest
        offset, fields = 0, []
        for f in self._read:
            size = encoders[f.name].size
            table = f.table if f.table in given else IMPRESSIONS
            fields.append(PlacedField(f.name, table, f.kind, size, offset, f.kind != "ids", f.weights is not None))
            offset += size
        self.fields: tuple[PlacedField, ...] = tuple(fields)
        self._own = tuple(f for f in self._read if f.table not in given and f.kind != RATE)
        names = {f.name for f in self._read}
        keys = tuple(f for f in keys if f.name not in names)
        self._own_keys = tuple(f for f in keys if f.table not in given)
        contents = {
            name: self._add_table(name, frame, tuple(f for f in keys if f.table == name))
            for name, frame in given.items()
        }
        self._history = None if history is None else FrameKeys(history, contents)

    def _add_table(self, name: str, frame: pl.DataFrame, keys: tuple[Field, ...]) -> dict[str, Content]:
        """Read and encode a side table. `keys`: of the history, beside the fields. Returns: the raw values."""
        fields = tuple(f for f in self._read if f.table == name)
        key = self._encoders.keys[name]
        column = key.key
        _must_have(frame, [column, *_columns((*fields, *keys))], f"side table '{name}'")
        bad, contents = _read(frame, (*fields, *keys), {column})
        if bad:
            raise bad[0].error(f"side table '{name}', row {bad[0].row + 1}")
        self._keys[name] = IdTable.of(_keys(frame[column], key))
        self.tables[name], self._counts[name] = {}, {}
        for f in fields:
            rows = self._encode(f, contents[f.name])
            self._counts[name][f.name] = np.concatenate([[[1, 1] if f.kind != "ids" else [0, 0]], _counted(rows)])
            self.tables[name][f.name] = _after_empty_row(rows)
        return contents

    def encode(self, data: Any, newer: Newer | None = None) -> tuple[Rows, list[Bad], dict[str, Unseen]]:
        """Encode impressions: (encoded rows, bad rows, field -> how many ids were unseen, or numbers missing).

        The encoded rows are in the order of the frame, without the bad rows.

        Args:
            newer: what was counted after the counts of the history; the rates know it.

        Raises: DataError if a column is missing, or `data` is not a data frame.
        """
        frame = as_frame(data)
        on = [self._encoders.keys[name].on for name in self.tables]
        history, read_fields = self._history, (*self._own, *self._own_keys)
        _must_have(frame, [*on, *_columns(read_fields)], "the impressions")
        bad, contents = _read(frame, read_fields, set(on))
        if bad:
            good = np.ones(len(frame), bool)
            good[[b.row for b in bad]] = False
            frame = frame.filter(pl.Series(good))
            _, contents = _read(frame, read_fields)
        fields = {f.name: self._encode(f, contents[f.name]) for f in self._own}
        counts = {name: _counted(rows).sum(axis=0) for name, rows in fields.items()}
        links = {}
        for name in self.tables:
            key = self._encoders.keys[name]
            keys = _keys(frame[key.on], key)
            links[name] = np.where((keys != "").to_numpy(), self._keys[name].find(keys) + 1, 0).astype(np.int32)
            counts.update({f: by_row[links[name]].sum(axis=0) for f, by_row in self._counts[name].items()})
        encoded = Rows(len(frame), fields, links)
        if history is not None:
            numbers, without = history.numbers(contents, links, len(frame), newer)
            encoded = self._encoders.with_rates(encoded, numbers)
            counts |= {name: np.array([len(frame), n]) for name, n in without.items()}
        unseen = {f.name: Unseen.of(f.kind, *map(int, counts[f.name])) for f in self.fields}
        return encoded, bad, unseen

    def _encode(self, field: Field, content: Content) -> Ragged:
        encoder = self._encoders[field.name]
        if not isinstance(content, Bags):
            return Ragged(encoder.encode(content))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(content.lengths)])
        weights = content.weights
        if weights is None and field.weights is not None:
            weights = np.ones(len(content.ids), np.float32)
        return Ragged(encoder.encode(content.ids), offsets, weights)


def _keys_of(spec: HistorySpec, fields: Iterable[Field]) -> tuple[Field, ...]:
    """The fields and columns by whose ids impressions are counted, as the layout's fields are read. No weights."""
    known = {f.name: f for f in fields}
    return tuple(replace(known.get(f.name, f), weights=None) for f in spec.fields_of_keys)


def _keys(column: pl.Series, key: Key) -> pl.Series:
    """Keys as text, "" where there is none."""
    return text(raw_ids(without_missing(column, ValueFormat(missing=key.missing))))


def _read(
    frame: pl.DataFrame, fields: tuple[Field, ...], keys: Collection[str] = ()
) -> tuple[list[Bad], dict[str, Content]]:
    """(rows that cannot be read, in order; field -> raw values). `keys`: columns of keys."""
    for f in fields:
        for column in _columns((f,)):
            _check_type(frame[column], f"field '{f.name}'", f.kind == "ids")
    bad: dict[int, Bad] = {}
    for column in keys:
        _check_type(frame[column], "a key", False)
        for row in np.flatnonzero(inexact(frame[column])).tolist():
            bad.setdefault(row, Bad(row, column, WRONG["bad_id"], repr(frame[column][row])))
    contents: dict[str, Content] = {}
    for f in fields:
        contents[f.name], checks = read(frame, f)
        for reason, failed in checks:
            for row in np.flatnonzero(failed).tolist():
                value = " and ".join(repr(frame[column][row]) for column in (f.source, f.weights) if column)
                must = "a time" if f.part is not None else WRONG[reason]
                bad.setdefault(row, Bad(row, f.name, must, value))
    return [bad[row] for row in sorted(bad)], contents


def _check_type(column: pl.Series, what: str, lists: bool) -> None:
    """Raises: DataError for a column of lists or structures, unless it may hold lists."""
    kind = column.dtype
    if kind.is_nested() and not (lists and isinstance(kind, pl.List | pl.Array) and not kind.inner.is_nested()):
        must = f"{what} must hold one value per row" + (", or a list of values" if lists else "")
        raise DataError(must, f"column '{column.name}' holds {kind}")


def _columns(fields: tuple[Field, ...]) -> list[str]:
    return [column for f in fields for column in (f.source, f.weights) if column is not None]


def _must_have(frame: pl.DataFrame, columns: list[str], what: str) -> None:
    for column in columns:
        if column not in frame.columns:
            came = f"it is missing; the columns are {', '.join(frame.columns[:40])}"
            raise DataError(f"{what} must have the column '{column}'", came)


def _counted(rows: Ragged) -> np.ndarray:
    """For each row the number of its ids or numbers, and how many of them have row 0. Shape: int64 (n, 2)."""
    unseen = rows.values < 1
    if rows.offsets is None:
        return np.stack([np.ones(len(rows), np.int64), unseen.astype(np.int64)], axis=1)
    unseen_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(unseen)])
    return np.stack([np.diff(rows.offsets), unseen_before[rows.offsets[1:]] - unseen_before[rows.offsets[:-1]]], axis=1)


def _after_empty_row(rows: Ragged) -> Ragged:
    """The rows of a side table after an empty row: "unseen" for a field of one id per row, else an empty bag."""
    if rows.offsets is None:
        return Ragged(np.concatenate([np.zeros(1, rows.values.dtype), rows.values]))
    return Ragged(rows.values, np.concatenate([np.zeros(1, np.int64), rows.offsets]), rows.weights)
