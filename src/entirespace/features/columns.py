"""Choosing among the values of columns."""

from __future__ import annotations

import polars as pl


def where(mask: pl.Series, column: pl.Series, other: pl.Series | int | None = None) -> pl.Series:
    """The column where the mask is true, else `other`, or null. Shape: bool (n,), (n,) -> (n,).

    >>> where(pl.Series([True, False, None]), pl.Series([1, 2, 3])).to_list()
    [1, None, None]
    """
    return pl.select(pl.when(mask).then(column).otherwise(other)).to_series()
