"""JSON objects -> columns in which a value is the same id, number or bag as from CSV and Parquet."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from ..features.values import EXACT, canonical

_EXACT = EXACT[pl.Float64()]


def json_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None if it is not one."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def columns_of(objects: list[dict[str, Any]], names: list[str]) -> pl.DataFrame:
    """JSON objects as columns. A missing key is null. Values of several types in a column become text."""
    return pl.DataFrame([_column(name, [found.get(name) for found in objects]) for name in names])


def _column(name: str, values: list[Any]) -> pl.Series:
    column = _typed(name, values)
    if column.dtype == pl.Int128:  # which other libraries do not have
        return column.cast(pl.String)
    return column.cast(pl.List(pl.String)) if column.dtype == pl.List(pl.Int128) else column


def _typed(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {list}:
        inner = [x for value in values if value is not None for x in value if x is not None]
        if not _one_type(inner):
            values = [None if value is None else [as_text(x) for x in value] for value in values]
        return pl.Series(name, values, strict=False)
    if _one_type([value for value in values if value is not None]):
        try:
            return pl.Series(name, values, strict=len(kinds) <= 1)
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            pass
    return pl.Series(name, [as_text(value) for value in values], dtype=pl.String)


def _one_type(values: list[Any]) -> bool:
    """Whether values are of one type, or whole numbers that can be floats exactly beside floats."""
    kinds = {type(value) for value in values}
    return len(kinds) <= 1 or (kinds == {int, float} and all(type(x) is float or abs(x) <= _EXACT for x in values))


def as_text(value: Any) -> str | None:
    """A JSON value as the text that is the same id; a list as text in brackets, which is the same bag."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(_quoted(as_text(x) or '') for x in value)}]"
    return canonical(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _quoted(item: str) -> str:
    quote = "'" if '"' in item else '"'
    return f"{quote}{item}{quote}"
