"""Columns of a frame -> labels, times, numbers and bags of ids; each says which rows it could not read."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from .schema import FieldSchema, LabelSchema

_TRUE, _FALSE = ("1", "1.0", "true", "True", "TRUE"), ("0", "0.0", "false", "False", "FALSE")


def text(column: pl.Series) -> pl.Series:
    """Raw ids as text; a missing one is the empty id "", which can have a row of its own like any other."""
    return column.cast(pl.String).fill_null("")


def raw_ids(column: pl.Series) -> pl.Series:
    """Raw ids as `Codes` takes them: integers as they are, which spares their text; all else as `text`."""
    return column if column.dtype.is_integer() and column.dtype not in (pl.UInt64, pl.Int128) else text(column)


def label(column: pl.Series, schema: str | LabelSchema) -> tuple[np.ndarray, np.ndarray]:
    """A label, and where it is neither 0 nor 1. Shape: (n,) -> bool (n,), bool (n,)."""
    if isinstance(schema, LabelSchema):
        ones, zeros = [str(v) for v in schema.values], [str(v) for v in schema.others]
    else:
        if column.dtype == pl.Boolean and not column.null_count():
            return column.to_numpy(), np.zeros(len(column), bool)
        if column.dtype.is_integer() and not column.null_count():
            return (column == 1).to_numpy(), ((column != 0) & (column != 1)).to_numpy()
        ones, zeros = list(_TRUE), list(_FALSE)
    values = text(column)
    one = values.is_in(ones).to_numpy()
    return one, ~(one | values.is_in(zeros).to_numpy())


def ticks(column: pl.Series) -> int:
    """How many steps of `time` a unit of the column should have: a million where its numbers have fractions.

    >>> ticks(pl.Series([1650900000.25, 1650900001.0])), ticks(pl.Series([1.0, None])), ticks(pl.Series(["5", "2.5"]))
    (1000000, 1, 1000000)
    """
    if column.dtype.is_temporal():
        return 1
    numbers = column.cast(pl.Float64, strict=False).drop_nulls()
    numbers = numbers.filter(numbers.is_finite())
    small = len(numbers) and float(numbers.abs().max()) < 2**62 / 10**6  # type: ignore[arg-type]
    return 10**6 if small and (numbers != numbers.floor()).any() else 1


def time(column: pl.Series, ticks: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A time as an integer that grows with it, and where there is none. Shape: (n,) -> int64 (n,), bool (n,).

    Integers stay what they are and other numbers lose their fraction, unless a unit has more than one tick;
    timestamps, and text in ISO 8601, become microseconds.
    """
    if column.dtype in (pl.Date, pl.Datetime):
        column = column.cast(pl.Datetime("us")).cast(pl.Int64)
    elif column.dtype.is_temporal():  # a time of day, a duration
        column = column.to_physical()
    elif ticks > 1:
        column = (column.cast(pl.Float64, strict=False) * ticks).cast(pl.Int64, strict=False)
    elif column.dtype == pl.String:
        whole = column.cast(pl.Int64, strict=False)
        whole = whole.fill_null(column.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False))
        if whole.null_count() == len(column):
            with contextlib.suppress(pl.exceptions.ComputeError):  # no value looks like a time
                whole = column.str.to_datetime(time_unit="us", strict=False).cast(pl.Int64)
        column = whole
    else:
        column = column.cast(pl.Int64, strict=False)
    missing = column.is_null().to_numpy()
    return column.fill_null(0).to_numpy(), missing


def number(column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """A quantity, NaN where it is missing; and where there is something that is no number.

    Shape: (n,) -> float64 (n,), bool (n,).
    """
    if column.dtype == pl.String:
        there = (column.str.strip_chars() != "").fill_null(False)
        values = column.str.strip_chars().cast(pl.Float64, strict=False)
        bad = (there & values.is_null()).to_numpy()
    else:
        values, bad = column.cast(pl.Float64, strict=False), np.zeros(len(column), bool)
    return values.fill_null(np.nan).to_numpy(), bad


@dataclass(frozen=True)
class Bags:
    """Many raw ids a row, not yet coded."""

    ids: pl.Series  # text or integers (L,)
    lengths: np.ndarray  # int64 (n,)
    weights: np.ndarray | None  # float32 (L,)


def bags(frame: pl.DataFrame, source: str, schema: FieldSchema) -> tuple[Bags, np.ndarray, np.ndarray]:
    """Bags of ids with their weights; where the two do not match in number; where a weight is bad.

    Shape: (n,) -> Bags of n rows, bool (n,), bool (n,). Raises nothing: the caller puts such rows aside.
    """
    ids = _lists(frame[source], schema.separator)
    lengths = ids.list.len().fill_null(0).to_numpy().astype(np.int64)
    none = np.zeros(len(frame), bool)
    flat = raw_ids(ids.list.explode(empty_as_null=False, keep_nulls=False))
    if schema.weights is None:
        return Bags(flat, lengths, None), none, none
    weights = _lists(frame[schema.weights], schema.separator)
    mismatch = weights.list.len().fill_null(0).to_numpy() != lengths
    values = weights.list.explode(empty_as_null=False, keep_nulls=False)
    values = values.cast(pl.Float64, strict=False).cast(pl.Float32)  # what is too large becomes infinite
    good = (values.is_finite() & (values >= 0)).fill_null(False).to_numpy()
    owner = np.repeat(np.arange(len(frame)), weights.list.len().fill_null(0).to_numpy())
    bad = none.copy()
    bad[owner[~good]] = True
    return Bags(flat, lengths, values.fill_null(np.nan).to_numpy()), mismatch, bad & ~mismatch


def _lists(column: pl.Series, separator: str | None) -> pl.Series:
    """A column as lists: lists stay, text is split, all else is a list of one; missing is an empty list."""
    if isinstance(column.dtype, pl.List | pl.Array):
        return column.cast(pl.List(column.dtype.inner))  # type: ignore[attr-defined]
    if column.dtype == pl.String:
        column = column.replace("", None)
        if separator is not None:
            return column.str.split(separator)
    return pl.select(pl.when(column.is_not_null()).then(column.reshape((-1, 1)).arr.to_list())).to_series()
