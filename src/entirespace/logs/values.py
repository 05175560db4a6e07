"""Columns of a frame -> labels and times. Each function also returns which rows it could not read."""

from __future__ import annotations

import contextlib

import numpy as np
import polars as pl

from ..features.values import text
from .schema import LabelSchema

_TRUE, _FALSE = ("1", "1.0", "true", "True", "TRUE"), ("0", "0.0", "false", "False", "FALSE")


def label(column: pl.Series, schema: str | LabelSchema) -> tuple[np.ndarray, np.ndarray]:
    """(label, rows where it is neither 0 nor 1). Shape: (n,) -> bool (n,), bool (n,)."""
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
    """How many integer steps `time` should use per unit of the column: 1,000,000 if any value has a fraction, else 1.

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
    """(time as integers in the same order, rows without a time). Shape: (n,) -> int64 (n,), bool (n,).

    Timestamps, and text in ISO 8601, become microseconds. Numbers become whole multiples of 1 / `ticks` of their unit,
    rounded towards 0: with ticks = 1 integers are unchanged and other numbers lose their fraction.
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
            with contextlib.suppress(pl.exceptions.ComputeError):  # no value is a time in ISO 8601
                whole = column.str.to_datetime(time_unit="us", strict=False).cast(pl.Int64)
        column = whole
    else:
        column = column.cast(pl.Int64, strict=False)
    missing = column.is_null().to_numpy()
    return column.fill_null(0).to_numpy(), missing
