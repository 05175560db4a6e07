"""Columns to labels and times, and the rows that could not be read."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from entirespace.logs import values
from entirespace.logs.schema import LabelSchema

DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        *((raw, 1) for raw in ("1", "1.0", "true", "True", "TRUE")),
        *((raw, 0) for raw in ("0", "0.0", "false", "False", "FALSE")),
        *((raw, "bad") for raw in ("2", "-1", "", " 1", "yes", "0.5", "1e0", "nan")),
    ],
)
def test_label_in_text(raw, read):
    label, bad = values.label(pl.Series([raw]), "click")
    assert ("bad" if bad[0] else int(label[0])) == read


@pytest.mark.parametrize(
    ("column", "read"),
    [
        (pl.Series([1, 0, 2, -1, None], dtype=pl.Int8), [1, 0, "bad", "bad", "bad"]),
        (pl.Series([1.0, 0.0, 0.5, math.nan, None]), [1, 0, "bad", "bad", "bad"]),
        (pl.Series([True, False]), [1, 0]),
        (pl.Series([True, False, None]), [1, 0, "bad"]),
        (pl.Series(["1", "0"], dtype=pl.Categorical), [1, 0]),
        (pl.Series([None, None]), ["bad", "bad"]),
        (pl.Series([], dtype=pl.Int8), []),
    ],
)
def test_label_in_other_types(column, read):
    label, bad = values.label(column, "click")
    assert (label.dtype, bad.dtype) == (bool, bool)
    assert ["bad" if b else int(x) for x, b in zip(label, bad, strict=True)] == read


def test_label_of_levels():
    """AliExpress: 0 view, 1 click, 2 purchase."""
    column = pl.Series(["0", "1", "2", "3", "", "1.0"])
    click, bad = values.label(column, LabelSchema.model_validate({"from": "x", "values": [1, 2]}))
    assert click.tolist() == [False, True, True, False, False, False]
    assert bad.tolist() == [False, False, False, True, True, True]
    buy = LabelSchema.model_validate({"from": "x", "values": ["2"], "others": ["0", 1]})
    buys, bad = values.label(pl.Series([0, 1, 2, 3]), buy)
    assert (buys.tolist(), bad.tolist()) == ([False, False, True, False], [False, False, False, True])


@pytest.mark.parametrize(
    ("column", "times"),
    [
        (pl.Series([3, -1, None]), [3, -1, None]),
        (pl.Series([2**64 - 1, 5], dtype=pl.UInt64), [None, 5]),
        (pl.Series(["3", "-1", "", "x"]), [3, -1, None, None]),
        (
            pl.Series(["9007199254740993", "9223372036854775807"]),
            [2**53 + 1, 2**63 - 1],
        ),  # not through a float
        (pl.Series(["9223372036854775808", "1"]), [None, 1]),
        (pl.Series([1.5, -1.5, math.nan, math.inf, 1e30, None]), [1, -1, None, None, None, None]),
        (pl.Series(["1.5", "2.5", "nan", "inf", "7"]), [1, 2, None, None, 7]),
        (pl.Series(["1970-01-02", "1970-01-01", "x", ""]), [DAY, 0, None, None]),
        (pl.Series(["1970-01-01T00:00:01", "1970-01-02T00:00:00"]), [10**6, DAY]),
        (pl.Series(["1970-01-01 00:00:01.000001"]), [10**6 + 1]),
        (pl.Series(["1970-01-01T02:00:00+02:00", "1970-01-01T00:00:00+00:00"]), [0, 0]),
        (pl.Series(["1970-01-02T00:00:00Z"]), [DAY]),
        (pl.Series(["yesterday", ""]), [None, None]),
        (pl.Series([dt.date(1970, 1, 2), None]), [DAY, None]),
        (pl.Series([dt.datetime(1970, 1, 1, 0, 0, 1)], dtype=pl.Datetime("ns")), [10**6]),
        (pl.Series([dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)]), [10**6]),
        (pl.Series([dt.time(0, 0, 2), dt.time(0, 0, 1)]), [2 * 10**9, 10**9]),
        (pl.Series([dt.timedelta(days=1), None]), [DAY, None]),
        (pl.Series([Decimal("5"), None]), [5, None]),
        (pl.Series([None, None]), [None, None]),
        (pl.Series([], dtype=pl.String), []),
    ],
)
def test_time(column, times):
    got, missing = values.time(column)
    assert got.dtype == np.int64
    assert [None if m else int(t) for t, m in zip(got, missing, strict=True)] == times


def test_a_time_with_ticks_keeps_its_fraction():
    for column in (pl.Series([1650900000.25, 1650900000.0, None]), pl.Series(["1650900000.25", "1650900000", "x"])):
        assert values.ticks(column) == 10**6
        got, missing = values.time(column, 10**6)
        assert got[:2].tolist() == [1650900000_250000, 1650900000_000000]
        assert missing.tolist() == [False, False, True]
    for column in (
        pl.Series([5]),
        pl.Series([5.0]),
        pl.Series(["2020-01-01"]),
        pl.Series([1e300, 0.5]),
        pl.Series([None]),
    ):
        assert values.ticks(column) == 1
    assert values.time(pl.Series([1, 10**18]), 10**6)[1].tolist() == [False, True]  # too large for int64: missing
