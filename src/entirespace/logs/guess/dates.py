"""How the times of a column are written: tried with the reader of times itself, on every value of the sample."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from ...core.rows import ValueFormat
from ...features import times
from . import words as known

UNITS = {"s": (1e8, 5e9), "ms": (1e11, 5e12), "us": (1e14, 5e15), "ns": (1e17, 5e18)}
"""Unit -> numbers since 1970 of the years 1973 to 2128."""
_DATES = ("%m/%d/%y", "%d/%m/%y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%m-%d-%Y")
_DATES += ("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%d/%b/%Y", "%Y.%m.%d")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S %z", ":%H:%M:%S %z")
FORMATS = (*(date + clock for date in _DATES for clock in _CLOCKS), "%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S %Y")
_MAYBE = re.compile(r"[0-9].*[/.: -].*[0-9]")
MINUTE, DAY = 60_000_000, 86_400_000_000  # microseconds
NOW = (9.4e8, 2.1e9)  # seconds: the years 1999 to 2036
FEW = 20  # values that are tried first


@dataclass(frozen=True)
class TimeGuess:
    """How the times of a column are written."""

    form: ValueFormat
    stamps: np.ndarray  # int64 (n,): the time of each row, for comparing; 0 where there is none
    what: str  # in words
    option: str | None = None  # `time` of the schema, such as { unit = "ms" }; None: none is needed
    doubt: str | None = None
    dates: bool = True  # False: numbers that are only good for comparing

    @property
    def clock(self) -> bool:
        """Whether the times have a time of day."""
        return self.dates and bool((self.stamps % DAY != 0).any())

    @property
    def exact(self) -> bool:
        """Whether the times are exact to a second, so that they tell two impressions of a user apart."""
        return self.dates and bool((self.stamps % MINUTE != 0).any())


def guess(name: str | None, values: pl.Series, numbers: np.ndarray | None, form: ValueFormat) -> TimeGuess | None:
    """How the times of a column are written, or None if it holds no times.

    Args:
        name: of the column; None: it has none.
        values: without words for missing values. Shape: (n,).
        numbers: the column's numbers, if it holds numbers. Shape: float64 (n,).
    """
    if values.dtype.is_temporal():
        if not (isinstance(values.dtype, pl.Datetime) or values.dtype == pl.Date):
            return None
        return TimeGuess(form, _stamps(values, form), "timestamps")
    if numbers is not None:
        return _of_numbers(name, values, numbers, form)
    if values.dtype != pl.String:
        return None
    distinct = values.drop_nulls().unique(maintain_order=True)
    distinct = distinct.filter(distinct.str.strip_chars() != "")
    if not len(distinct) or not (_MAYBE.search(str(distinct[0])) and len(str(distinct[0])) < 50):
        return None
    found = times.read(distinct, form)
    if found.unread.mean() < 0.001:
        kinds = set(found.kind.tolist()) - {times.NONE}
        if kinds == {times.LOCAL, times.ABSOLUTE}:
            form = replace(form, time_zone="UTC")
            doubt = "some times have a zone and some have none; is UTC the zone of the latter?"
            return TimeGuess(form, _stamps(values, form), "times in ISO 8601", '{ zone = "UTC" }', doubt)
        return TimeGuess(form, _stamps(values, form), "times in ISO 8601")
    fit = [f for f in FORMATS if _fits(distinct.head(FEW), f, form)]
    fit = [f for f in fit if _fits(distinct, f, form)]
    return _of_formats(values, distinct, fit, form) if fit else None


def _fits(distinct: pl.Series, time_format: str, form: ValueFormat) -> bool:
    return not times.read(distinct, replace(form, time_format=time_format)).unread.any()


def _of_formats(values: pl.Series, distinct: pl.Series, fit: list[str], form: ValueFormat) -> TimeGuess:
    """Of several formats that fit, the one with the shortest time from the first to the last value."""

    def span(time_format: str) -> int:
        stamps = times.read(distinct, replace(form, time_format=time_format)).microseconds
        return int(stamps.max() - stamps.min()) if len(stamps) else 0  # type: ignore[operator]

    best = min(fit, key=span)
    form = replace(form, time_format=best)
    others = ", ".join(f"{{ format = {f!r} }}".replace("'", '"') for f in fit if f != best)
    doubt = f"these times also fit time = {others}; such as {distinct[0]}" if others else None
    return TimeGuess(form, _stamps(values, form), f"times as {best}", f'{{ format = "{best}" }}', doubt)


def _stamps(values: pl.Series, form: ValueFormat) -> np.ndarray:
    return times.read(values, form).microseconds.fill_null(0).to_numpy()


def _of_numbers(name: str | None, values: pl.Series, numbers: np.ndarray, form: ValueFormat) -> TimeGuess | None:
    there = numbers[np.isfinite(numbers)]
    mine = set(known.words(name or ""))
    if not len(there) or not (name is None or mine & (known.TIME | known.SEQUENCE)):
        return None
    for unit, (low, high) in UNITS.items():
        if name is None:
            low, high = (bound * low / UNITS["s"][0] for bound in NOW)
        if there.min() >= low and there.max() < high:
            form = replace(form, time_unit=unit)  # type: ignore[arg-type]
            long = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[unit]
            return TimeGuess(form, _stamps(values, form), f"{long} since 1970", f'{{ unit = "{unit}" }}')
    whole = np.where(np.isfinite(numbers), numbers, 0).astype(np.int64)
    if name is None or (there != np.floor(there)).any():
        return None
    days = there.astype(np.int64)
    if (days >= 19_000_101).all() and (days < 21_000_000).all():
        month, day = days // 100 % 100, days % 100
        if ((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all():
            return TimeGuess(form, whole, "days such as 20240531", dates=False)
    if mine <= known.SEQUENCE and len(np.unique(there)) > len(there) / 2:
        doubt = "these numbers are no times since 1970; they are used as the order in time"
        return TimeGuess(form, whole, "numbers", doubt=doubt, dates=False)
    return None
