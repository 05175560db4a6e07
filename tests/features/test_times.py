"""Columns of times, and parts of times."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import polars as pl
import pytest

from entirespace.core.rows import ValueFormat
from entirespace.features import times

DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("column", "expected"),
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
        (pl.Series([dt.time(0, 0, 2), dt.time(0, 0, 1)]), [None, None]),
        (pl.Series([Decimal("5"), None]), [5, None]),
        (pl.Series([None, None]), [None, None]),
        (pl.Series([], dtype=pl.String), []),
    ],
)
def test_times(column, expected):
    found = times.read(column)
    assert found.microseconds.to_list() == expected
    assert [kind != times.NONE for kind in found.kind] == [time is not None for time in expected]


def test_numbers_of_a_known_unit_and_iso_times_are_one_scale():
    for unit, number in (("s", 86_400), ("ms", 86_400_000), ("us", DAY), ("ns", 1000 * DAY)):
        form = ValueFormat(time_unit=unit)
        for column in (pl.Series([number]), pl.Series([float(number)]), pl.Series([str(number)])):
            assert times.read(column, form).microseconds.to_list() == [DAY]
        assert times.read(pl.Series([str(number), "1970-01-02"]), form).microseconds.to_list() == [DAY, DAY]
    assert times.read(pl.Series([1_650_000_000_000]), ValueFormat(time_unit="s")).unread.tolist() == [True]


def test_a_format_is_the_only_one():
    form = ValueFormat(time_format="%m/%d/%y")
    found = times.read(pl.Series(["1/2/16", "01/02/2016", "13/1/16", "2016-01-02", "5"]), form)
    assert found.microseconds.to_list() == [16_802 * DAY, None, None, None, None]
    assert found.unread.tolist() == [False, True, True, True, True]
    assert times.read(pl.Series(["1/2/16"]), ValueFormat(time_format="%m/%d/%Y")).unread.all()  # not the year 16
    form = ValueFormat(time_format="%Y-%m-%d %H:%M:%S.%f")
    assert times.read(pl.Series(["1970-01-01 00:00:00.25"]), form).microseconds.to_list() == [250_000]


def test_a_text_that_is_neither_iso_nor_a_number_is_not_read():
    found = times.read(pl.Series(["01/02/2024", "31.12.2024", "2024-13-01", "2024-1-1"]))
    assert found.unread.all()


def test_a_zone_is_that_of_times_that_state_none():
    berlin = ValueFormat(time_zone="Europe/Berlin")
    column = pl.Series(["1970-01-02 01:00:00", "1970-01-02 01:00:00Z", "1970-01-02T05:00:00+05:00"])
    assert times.read(column, berlin).microseconds.to_list() == [DAY, DAY + DAY // 24, DAY]
    assert times.read(pl.Series([dt.datetime(1970, 1, 2, 1)]), berlin).microseconds.to_list() == [DAY]


def test_parts_are_those_of_the_clock_in_the_zone():
    column = pl.Series([dt.datetime(2024, 5, 31, 23, 30), None])
    expected = {"hour": 23, "weekday": 5, "day": 31, "month": 5}
    for name, value in expected.items():
        part, bad = times.part(column, name, ValueFormat())
        assert (part.to_list(), bad.tolist()) == ([value, None], [False, False])
    seconds = pl.Series([1_717_198_200, None])
    form = ValueFormat(time_unit="s", time_zone="Europe/Berlin")
    assert times.part(seconds, "hour", form)[0].to_list() == [1, None]
    assert times.part(seconds, "month", form)[0].to_list() == [6, None]
    assert times.part(seconds, "hour", ValueFormat())[1].tolist() == [True, False]  # of an unknown unit
    assert times.part(pl.Series(["noon"]), "hour", ValueFormat())[1].tolist() == [True]
