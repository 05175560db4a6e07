"""Raw values of a request, as JSON gives them -> embedding rows: for few rows, of which each value has its own type.

A data frame has one type per column, and costs some 50 microseconds per column to begin with. Here, what a value was
encoded as is remembered, so a value that came before costs a look into a dict. Values that did not come before are
encoded by the same code as data frames (features/values.py), so both give the same rows; a test compares them.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np
import polars as pl

from ..core.rows import Field, Ragged
from ..features.frames import WRONG
from ..features.values import EXACT, Bags, read

MOST = 100_000
"""The values of one field that are remembered. Then all are forgotten."""
_INT64 = range(-(2**63), 2**63)
_EXACT = EXACT[pl.Float64()]
_TRUE, _FALSE, _NONE = object(), object(), type(None)
Encode = Callable[[Any], Any]
"""Raw ids or numbers as `features.values.read` gives them (n,) -> what they are encoded as (n,)."""


class BadValue(Exception):
    """A value that cannot be encoded.

    Attributes:
        row: its row.
        column: its column.
        must: what it must be.
        value: what it is.
        contradicts: the value is good alone, but not beside another one of the row.
    """

    def __init__(self, row: int, column: str, must: str, value: Any, contradicts: bool = False) -> None:
        super().__init__(row, column, must, value, contradicts)
        self.row, self.column, self.must, self.value, self.contradicts = row, column, must, value, contradicts


class Memo:
    """Remembers what the raw values of a field were encoded as.

    Args:
        encode: encodes those that are not known.
        elements: the values are elements of lists, and are not split at separators.

    A value of a field of many ids is encoded as a tuple.
    """

    def __init__(self, field: Field, encode: Encode, elements: bool = False) -> None:
        self._field, self._encode, self._elements = replace(field, weights=None), encode, elements
        self._known: dict[Any, Any] = {}

    def of(self, values: list[Any]) -> list[Any]:
        """What each value is encoded as. Raises: BadValue."""
        types = set(map(type, values))
        if float in types:
            values = [None if value != value else value for value in values]  # NaN is missing
        keys = values
        if bool in types:  # True == 1, but they are two ids
            keys = [(_TRUE if value else _FALSE) if type(value) is bool else value for value in values]
        if float in types:  # 2.0**60 == 2**60, but the float may have been another number
            for row, value in enumerate(values):
                if type(value) is float and abs(value) > _EXACT and self._field.part is None:
                    raise BadValue(row, self._field.source, WRONG["bad_id"], value)
        found = list(map(self._known.get, keys))
        if None in found:
            fresh = self._learned(values, keys, found)
            found = [fresh[key] if one is None else one for key, one in zip(keys, found, strict=True)]
            if len(self._known) + len(fresh) > MOST:
                self._known = {}
            self._known.update(fresh)
        return found

    def _learned(self, values: list[Any], keys: list[Any], found: list[Any]) -> dict[Any, Any]:
        by_type: dict[type, dict[Any, int]] = {}  # type -> key -> the first row that has it
        for row, (key, one) in enumerate(zip(keys, found, strict=True)):
            if one is None:
                value = values[row]
                kind = str if type(value) is int and value not in _INT64 else type(value)
                by_type.setdefault(kind, {}).setdefault(key, row)
        fresh: dict[Any, Any] = {}
        for kind, rows in by_type.items():
            some = [values[row] for row in rows.values()]
            content = column_of(self._field, list(map(str, some)) if kind is str else some, self._elements, rows)
            fresh.update(zip(rows, self._encoded(content), strict=True))
        return fresh

    def _encoded(self, content: Any) -> list[Any]:
        if not isinstance(content, Bags):
            return _list(self._encode(content))
        ids, ends = _list(self._encode(content.ids)), np.cumsum(content.lengths).tolist()
        return [tuple(ids[end - length : end]) for end, length in zip(ends, content.lengths.tolist(), strict=True)]


def _list(found: np.ndarray | pl.Series) -> list[Any]:
    return found.to_list() if isinstance(found, pl.Series) else found.tolist()


def column_of(field: Field, values: list[Any], elements: bool, rows: dict[Any, int]) -> Any:
    """The raw values of a field, of values of one type, read as a column of a data frame.

    Args:
        elements: each is an element of a list.
        rows: the rows to name in errors, one for each value.

    Raises: BadValue.
    """
    column = pl.Series(field.source, values)
    if column.dtype == pl.Null:
        column = column.cast(pl.String)
    if elements:
        column = pl.Series(field.source, [[value] for value in values], dtype=pl.List(column.dtype))
    content, checks = read(column.to_frame(), field)
    for reason, failed in checks:
        for place in np.flatnonzero(failed).tolist():
            must = "a time" if field.part is not None else WRONG[reason]
            raise BadValue(list(rows.values())[place], field.source, must, values[place])
    return content


class IdColumn:
    """The values of a field of one id per row."""

    def __init__(self, field: Field, encode: Encode) -> None:
        self._memo = Memo(field, encode)

    def encode(self, values: list[Any], weights: list[Any] | None = None) -> Ragged:
        """Shape: n values -> n rows. Raises: BadValue."""
        return Ragged(np.array(self._memo.of(values), np.int32))

    def texts(self, values: list[Any]) -> tuple[list[Any], None]:
        """What each value is encoded as, and None: there is one for each row."""
        return self._memo.of(values), None


class BagColumn:
    """The values of a field of many ids: lists, or texts that hold lists."""

    def __init__(self, field: Field, encode: Encode) -> None:
        self._field, self._encode = field, encode
        self._elements, self._wholes = Memo(field, encode, elements=True), Memo(field, encode)
        self._one_each = not field.format.missing

    def encode(self, values: list[Any], weights: list[Any] | None = None) -> Ragged:
        """Shape: n values -> n rows. Raises: BadValue."""
        if weights is not None and any(weights):
            return self._weighted(values, weights)
        ids, lengths = self.texts(values)
        if self._field.weights is not None and len(ids):
            row = int(np.flatnonzero(lengths)[0])
            raise BadValue(row, str(self._field.weights), WRONG["wrong_feature_count"], None, contradicts=True)
        ones = None if self._field.weights is None else np.ones(len(ids), np.float32)
        return Ragged(np.array(ids, np.int32), np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), ones)

    def texts(self, values: list[Any]) -> tuple[list[Any], np.ndarray]:
        """(what all ids are encoded as, row after row; how many each row has)."""
        types = set(map(type, values))
        if types <= {list}:
            found = self._of_elements(values)
            if self._one_each:
                return list(chain.from_iterable(found)), np.fromiter(map(len, values), np.int64, len(values))
        else:
            found = self._of_elements([value for value in values if type(value) is list])
        elements = iter(found)
        wholes = iter(self._wholes.of([value for value in values if type(value) is not list]))
        rows = [
            tuple(chain.from_iterable(islice(elements, len(value)))) if type(value) is list else next(wholes)
            for value in values
        ]
        return list(chain.from_iterable(rows)), np.fromiter(map(len, rows), np.int64, len(rows))

    def _of_elements(self, lists: list[list[Any]]) -> list[Any]:
        try:
            return self._elements.of(list(chain.from_iterable(lists)))
        except BadValue as bad:
            bad.row = int(np.repeat(np.arange(len(lists)), list(map(len, lists)))[bad.row])
            raise

    def _weighted(self, values: list[Any], weights: list[Any]) -> Ragged:
        """Row by row, unless all are lists of plain numbers: weights are seldom the same twice."""
        if self._one_each and set(map(type, values)) | set(map(type, weights)) <= {list}:
            flat = list(chain.from_iterable(weights))
            if list(map(len, values)) == list(map(len, weights)) and set(map(type, flat)) <= {int, float}:
                found = np.array(flat, np.float64)
                with np.errstate(over="ignore"):
                    narrow = found.astype(np.float32)
                if bool((np.isfinite(narrow) & (narrow >= 0)).all()):
                    ids, lengths = self.texts(values)
                    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
                    return Ragged(np.array(ids, np.int32), ends, narrow)
        return Ragged.concatenate([self._row(i, *both) for i, both in enumerate(zip(values, weights, strict=True))])

    def _row(self, row: int, value: Any, weight: Any) -> Ragged:
        assert self._field.weights is not None
        if type(value) is list:  # ids of several types, as text: an id is its value
            value = [_as_text(self._field, row, id_) for id_ in value]
        frame = pl.DataFrame(
            {
                self._field.source: pl.Series([value], dtype=pl.List(pl.String) if type(value) is list else None),
                self._field.weights: pl.Series([weight], dtype=pl.List(pl.Float64) if type(weight) is list else None),
            }
        )
        frame = frame.with_columns(pl.col(pl.Null).cast(pl.String))
        content, checks = read(frame, self._field)
        for reason, failed in checks:
            if failed.any():
                column = self._field.source if reason == "bad_id" else self._field.weights
                raise BadValue(row, column, WRONG[reason], weight, contradicts=reason != "bad_id")
        assert isinstance(content, Bags)
        rows = np.asarray(self._encode(content.ids), np.int32)
        return Ragged(rows, np.array([0, len(rows)], np.int64), content.weights)


class NumberColumn:
    """The values of a field of numbers."""

    def __init__(self, field: Field, encode: Encode) -> None:
        self._field, self._encode = field, encode
        self._plain = not field.format.missing and field.quantity in (None, "number") and field.part is None

    def encode(self, values: list[Any], weights: list[Any] | None = None) -> Ragged:
        """Shape: n values -> n positions. Raises: BadValue."""
        types = set(map(type, values))
        if self._plain and types <= {int, float, _NONE}:
            return Ragged(self._encode(np.array(values, np.float64)))
        positions = np.empty(len(values), np.float32)
        for kind in types:
            rows = {row: row for row, value in enumerate(values) if type(value) is kind}
            some = [values[row] for row in rows]
            if kind is int:
                some = list(map(float, some)) if self._field.part is None else some
            positions[list(rows)] = self._encode(column_of(self._field, some, False, rows))
        return Ragged(positions)


def _as_text(field: Field, row: int, value: Any) -> str:
    if type(value) is str:
        return value
    content = column_of(replace(field, weights=None, format=replace(field.format, missing=())), [value], True, {0: row})
    return str(content.ids.cast(pl.String).fill_null("")[0])


Column = IdColumn | BagColumn | NumberColumn


def column(field: Field, encode: Encode) -> Column:
    """What encodes the values of a field."""
    kinds = {"id": IdColumn, "ids": BagColumn, "number": NumberColumn}
    return kinds[field.kind](field, encode)
