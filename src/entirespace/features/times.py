"""Columns of times -> microseconds since 1970 in UTC, or numbers whose unit is not known; and parts of times.

Times can be timestamps or dates of Parquet or a data frame, text in ISO 8601 or in a format that is given, or numbers.
A number is a time since 1970 if its unit is given; else it is only good for comparing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ..core.rows import TimePart, ValueFormat
from .columns import where

NONE, NUMBER, LOCAL, ABSOLUTE = range(4)
"""What a value is: no time, a number of an unknown unit, a time without a zone, a time with a zone or since 1970."""
MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
EARLIEST, LATEST = -30_610_224_000_000_000, 253_402_300_799_999_999  # microseconds: the years 1000 to 9999
ISO = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(?:(:[0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r"\s?(?:(Z|z)|([+-][0-9]{2}):?([0-9]{2})?)?$"
)
"""Groups: date, hour and minute, seconds, fraction, Z, hours and minutes of the offset from UTC."""


@dataclass(frozen=True)
class Times:
    """The times of n rows."""

    microseconds: pl.Series  # int64 (n,), since 1970 in UTC; of a NUMBER its whole part; null if there is no time
    kind: np.ndarray  # int8 (n,): NONE, NUMBER, LOCAL or ABSOLUTE
    unread: np.ndarray  # bool (n,): the row has a value, but it is no time
    numbers: pl.Series | None = None  # float64 (n,): each NUMBER, if one has a fraction


def read(column: pl.Series, form: ValueFormat = ValueFormat()) -> Times:
    """The times of a column. Shape: (n,) -> Times of n rows.

    >>> read(pl.Series(["1970-01-01 00:00:01", "1970-01-01T01:00+01:00", "yesterday", None])).microseconds.to_list()
    [1000000, 0, None, None]
    """
    kind = column.dtype
    if kind == pl.String:
        column = column.str.strip_chars()
        column = where(column != "", column)
        return _of_format(column, form) if form.time_format is not None else _of_text(column, form)
    if kind.is_numeric():
        return _of_numbers(column, column.is_not_null(), form)
    if isinstance(kind, pl.Datetime) or kind == pl.Date:
        local = getattr(kind, "time_zone", None) is None
        found = _utc(column.cast(pl.Datetime("us")) if local else column, form)
        return _checked(found, LOCAL if local else ABSOLUTE, column.is_not_null())
    nothing = pl.Series([None] * len(column), dtype=pl.Int64)
    return Times(nothing, np.zeros(len(column), np.int8), column.is_not_null().to_numpy())


def _checked(found: pl.Series, kind: int | pl.Series, given: pl.Series) -> Times:
    """Times as they were found. Those outside the years 1000 to 9999 are not times."""
    found = where(found.is_between(EARLIEST, LATEST), found)
    there = found.is_not_null().to_numpy()
    kinds = np.where(there, kind if isinstance(kind, int) else kind.to_numpy(), NONE).astype(np.int8)
    return Times(found, kinds, given.to_numpy() & ~there)


def _utc(column: pl.Series, form: ValueFormat) -> pl.Series:
    """Timestamps -> microseconds in UTC. Those without a zone are times of `form.time_zone`."""
    if getattr(column.dtype, "time_zone", None) is None and form.time_zone is not None:
        column = column.dt.replace_time_zone(form.time_zone, ambiguous="earliest", non_existent="null")
    return column.cast(pl.Datetime("us", getattr(column.dtype, "time_zone", None))).cast(pl.Int64)


def _of_format(column: pl.Series, form: ValueFormat) -> Times:
    found = parsed_as(column, str(form.time_format))
    zoned = getattr(found.dtype, "time_zone", None) is not None
    return _checked(_utc(found, form), ABSOLUTE if zoned else LOCAL, column.is_not_null())


def parsed_as(column: pl.Series, time_format: str) -> pl.Series:
    """Text in a format, as timestamps; null where it has another format. Raises: polars.ComputeError for no format."""
    # ".%f" is a fraction in Python's formats, and "%.f" in those of polars
    return column.str.strptime(pl.Datetime("us"), time_format.replace(".%f", "%.f"), strict=False)


def _of_text(column: pl.Series, form: ValueFormat) -> Times:
    """Numbers, or times in ISO 8601."""
    given = column.is_not_null()
    numeric = column.str.contains(r"^[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?$").fill_null(False)
    if numeric.all():
        return _of_numbers(_numbers(column), given, form)
    stamps, local = _iso(column)
    dates = _checked(
        where(local, _utc(stamps, form), stamps.cast(pl.Int64)),
        pl.Series(np.where(local, LOCAL, ABSOLUTE)),
        given,
    )
    if not numeric.any():
        return dates
    numbers = _of_numbers(_numbers(where(numeric, column)), numeric, form)
    return Times(
        where(numeric, numbers.microseconds, dates.microseconds),
        np.where(numeric.to_numpy(), numbers.kind, dates.kind),
        np.where(numeric.to_numpy(), numbers.unread, dates.unread),
        numbers.numbers,
    )


def _numbers(column: pl.Series) -> pl.Series:
    """Text as integers if all are, else as float64."""
    whole = column.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == column.null_count() else column.cast(pl.Float64, strict=False)


def _of_numbers(column: pl.Series, given: pl.Series, form: ValueFormat) -> Times:
    if column.dtype.is_float():
        given = given & column.is_not_nan().fill_null(True)
        column = where(column.is_finite(), column)
    whole = column.cast(pl.Int64, strict=False)
    fractions = not column.dtype.is_integer() and (whole.is_null() != column.is_null()).any() | (column != whole).any()
    if form.time_unit is not None:
        return _checked(_scaled(column if fractions else whole, form.time_unit), ABSOLUTE, given)
    there = whole.is_not_null().to_numpy()
    numbers = None
    if fractions:
        numbers = column.cast(pl.Float64)
    return Times(whole, np.where(there, NUMBER, NONE).astype(np.int8), given.to_numpy() & ~there, numbers)


def _scaled(column: pl.Series, unit: str) -> pl.Series:
    """Numbers of a unit -> microseconds, null if too large. Shape: (n,) -> int64 (n,)."""
    if column.dtype.is_integer() and unit != "ns":
        factor = int(MICROSECONDS[unit])
        small = column.is_between(EARLIEST // factor, LATEST // factor)
        return where(small, column).cast(pl.Int64) * factor
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False) // 1000
    return (column.cast(pl.Float64) * MICROSECONDS[unit]).round().cast(pl.Int64, strict=False)


def iso_text(texts: pl.Series) -> pl.Series:
    """Times in ISO 8601 as one text for each time, with all digits of the second; null for other texts.

    >>> iso_text(pl.Series(["2024-05-31T20:00+02:00", "2024-05-31 18:00:00.50", "2024-05-31 00:00"])).to_list()
    ['2024-05-31 18:00:00+00:00', '2024-05-31 18:00:00.5', '2024-05-31']
    """
    stamps, local = _iso(texts)
    digits = texts.str.extract(ISO, 4).fill_null("").str.strip_chars_end("0")  # the timestamps have six of them
    zone = pl.select(pl.when(local).then(pl.lit("")).otherwise(pl.lit("+00:00"))).to_series()
    whole = stamps.dt.to_string("%Y-%m-%d %H:%M:%S") + ("." + digits).str.strip_chars_end(".")
    return whole.str.replace(" 00:00:00$", "") + zone


def _iso(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(timestamps, null for text that is not ISO 8601; whether they have no zone). Those with a zone are in UTC.

    Shape: text (n,) -> Datetime("us") (n,), bool (n,).
    """
    groups = column.str.extract_groups(ISO).struct.unnest()
    date, minute, second, fraction, z, hours, minutes = (groups[f"{i}"] for i in range(1, 8))
    fraction = fraction.fill_null("").str.slice(0, 6).str.pad_end(6, "0")
    joined = date + " " + minute.fill_null("00:00") + second.fill_null(":00")
    stamps = joined.str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M:%S", strict=False)
    stamps = stamps + pl.select(pl.duration(microseconds=pl.lit(fraction.cast(pl.Int64, strict=False)))).to_series()
    offset = hours.cast(pl.Int64, strict=False).fill_null(0) * 60
    sign = 1 - 2 * hours.str.starts_with("-").cast(pl.Int64)
    offset = offset + sign.fill_null(1) * minutes.cast(pl.Int64, strict=False).fill_null(0)
    stamps = stamps - pl.select(pl.duration(minutes=pl.lit(offset))).to_series()
    return stamps.cast(pl.Datetime("us")), z.is_null() & hours.is_null()


def part(column: pl.Series, name: TimePart, form: ValueFormat) -> tuple[pl.Series, np.ndarray]:
    """(a part of each time, null where it is missing; rows whose value is no time, or a number of an unknown unit).

    Parts are those of the clock in the zone `form.time_zone`. Shape: (n,) -> int8 or int32 (n,), bool (n,).

    >>> part(pl.Series(["2024-05-31 18:30:00", None]), "hour", ValueFormat())[0].to_list()
    [18, None]
    """
    found = read(column, form)
    number = found.kind == NUMBER
    stamps = found.microseconds.cast(pl.Datetime("us"))
    if form.time_zone is not None:
        stamps = stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(form.time_zone)
    value = {"hour": stamps.dt.hour, "weekday": stamps.dt.weekday, "day": stamps.dt.day, "month": stamps.dt.month}[
        name
    ]()
    return where(pl.Series(~number), value.cast(pl.Int32)), found.unread | number
