"""Raw values of one field, as a log or a data frame holds them -> raw ids, bags of raw ids, numbers.

Everything that reads a field reads it here: `prepare`, predictions on a data frame, serving. So 7 and "7" are one id
wherever they come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ..core.rows import Field


def text(column: pl.Series) -> pl.Series:
    """Raw ids as text; a missing one is the empty id "", which can have a row of its own like any other."""
    return column.cast(pl.String).fill_null("")


def raw_ids(column: pl.Series) -> pl.Series:
    """Raw ids as `Codes` takes them: integers as they are, which spares their text; all else as `text`."""
    return column if column.dtype.is_integer() and column.dtype not in {pl.UInt64(), pl.Int128()} else text(column)


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


def bags(frame: pl.DataFrame, field: Field) -> tuple[Bags, np.ndarray, np.ndarray]:
    """Bags of ids with their weights; where the two do not match in number; where a weight is bad.

    Shape: (n,) -> Bags of n rows, bool (n,), bool (n,). Raises nothing: the caller puts such rows aside.
    """
    ids = _lists(frame[field.source], field.separator)
    lengths = ids.list.len().fill_null(0).to_numpy().astype(np.int64)
    none = np.zeros(len(frame), bool)
    flat = raw_ids(ids.list.explode(empty_as_null=False, keep_nulls=False))
    if field.weights is None:
        return Bags(flat, lengths, None), none, none
    weights = _lists(frame[field.weights], field.separator)
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


Content = np.ndarray | pl.Series | Bags
"""The raw values of a field: numbers float64 (n,), one raw id a row (n,), or bags of raw ids."""


def read(rows: pl.DataFrame, field: Field) -> tuple[Content, list[tuple[str, np.ndarray]]]:
    """A field's raw values, and which rows hold something that is none. Shape: bool (n,) for each reason."""
    if field.kind == "number":
        numbers, bad = number(rows[field.source])
        return numbers, [("bad_value", bad)]
    if field.kind == "id":
        return raw_ids(rows[field.source]), []
    content, mismatch, bad_weight = bags(rows, field)
    return content, [("wrong_feature_count", mismatch), ("bad_weight", bad_weight)]
