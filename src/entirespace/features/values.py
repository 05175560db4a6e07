"""Columns of a log or a data frame -> the raw values of a field: raw ids, bags of raw ids, or numbers.

This is the only code that reads raw values of fields; `prepare`, predictions on a data frame and serving all use it. So
7 and "7" are the same id everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ..core.rows import Field


def text(column: pl.Series) -> pl.Series:
    """Raw ids as text. A missing id becomes the empty id "", which can have an embedding row like any other id.

    Shape: (n,) -> text (n,) without nulls.
    """
    return column.cast(pl.String).fill_null("")


def raw_ids(column: pl.Series) -> pl.Series:
    """Raw ids for `Codes` and encoders: integers stay integers, which is faster; all other types become text.

    Shape: (n,) -> integers, maybe with nulls, or text without nulls (n,).
    """
    return column if column.dtype.is_integer() and column.dtype not in {pl.UInt64(), pl.Int128()} else text(column)


def number(column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, NaN for missing values; rows with a value that is not a number).

    Shape: (n,) -> float64 (n,), bool (n,).
    """
    if column.dtype == pl.String:
        not_empty = (column.str.strip_chars() != "").fill_null(False)
        values = column.str.strip_chars().cast(pl.Float64, strict=False)
        bad = (not_empty & values.is_null()).to_numpy()
    else:
        values, bad = column.cast(pl.Float64, strict=False), np.zeros(len(column), bool)
    return values.fill_null(np.nan).to_numpy(), bad


@dataclass(frozen=True)
class Bags:
    """Any number of raw ids for each of n rows."""

    ids: pl.Series  # text or integers (L,), row after row
    lengths: np.ndarray  # int64 (n,): the number of ids of each row
    weights: np.ndarray | None  # float32 (L,); None: the field has no weights


def bags(frame: pl.DataFrame, field: Field) -> tuple[Bags, np.ndarray, np.ndarray]:
    """(bags, rows with another number of weights than ids, rows with a weight that is negative, infinite or no number).

    Shape: n rows -> Bags of n rows, bool (n,), bool (n,). The caller decides what to do with bad rows.
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
    values = values.cast(pl.Float64, strict=False).cast(pl.Float32)  # too large becomes infinite: refused below
    good = (values.is_finite() & (values >= 0)).fill_null(False).to_numpy()
    owner = np.repeat(np.arange(len(frame)), weights.list.len().fill_null(0).to_numpy())
    bad = none.copy()
    bad[owner[~good]] = True
    return Bags(flat, lengths, values.fill_null(np.nan).to_numpy()), mismatch, bad & ~mismatch


def _lists(column: pl.Series, separator: str | None) -> pl.Series:
    """A column as lists: lists stay lists, text is split at the separator, any other value becomes a list of one.

    A missing value, or empty text, becomes null.
    """
    if isinstance(column.dtype, pl.List | pl.Array):
        return column.cast(pl.List(column.dtype.inner))  # type: ignore[attr-defined]
    if column.dtype == pl.String:
        column = column.replace("", None)
        if separator is not None:
            return column.str.split(separator)
    return pl.select(pl.when(column.is_not_null()).then(column.reshape((-1, 1)).arr.to_list())).to_series()


Content = np.ndarray | pl.Series | Bags
"""The raw values of a field: numbers float64 (n,), one raw id per row (n,), or bags of raw ids."""


def read(rows: pl.DataFrame, field: Field) -> tuple[Content, list[tuple[str, np.ndarray]]]:
    """(raw values of a field, [(reason, rows that are bad for this reason)]). Shape: bool (n,) for each reason.

    A reason is a key of `logs.audit.REASONS`.
    """
    if field.kind == "number":
        numbers, bad = number(rows[field.source])
        return numbers, [("bad_value", bad)]
    if field.kind == "id":
        return raw_ids(rows[field.source]), []
    content, mismatch, bad_weight = bags(rows, field)
    return content, [("wrong_feature_count", mismatch), ("bad_weight", bad_weight)]
