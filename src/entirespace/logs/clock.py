"""The times of a log, read in one way from its first row to its last.

The first times decide what a time of this log is: a number, a time without a zone, or a time with one. A later time of
another sort would put rows in the wrong order, so it is an error, which says how to declare the times.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from ..core.rows import ValueFormat
from ..errors import ConfigError, DataError
from ..features import times
from ..features.values import without_missing
from .files import Frame
from .hints import of_time
from .schema.durations import seconds

_SORTS = {
    times.NUMBER: "a number",
    times.LOCAL: "a date or time without a zone",
    times.ABSOLUTE: "a time with a zone, or a number of a known unit",
}
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_RANGES = np.array([[1e8, 5e9], [1e11, 5e12], [1e14, 5e15], [1e17, 5e18]])
"""Numbers of the years 1973 to 2128, in each unit since 1970."""
TICKS = 10**6
MANY = 10  # so many unreadable times without a readable one between them are in another format, not bad rows


Times = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Column -> what `Clock.read` gives for it."""


class Clock:
    """Reads columns of times of one log.

    A time becomes microseconds since 1970 in UTC. Numbers of an unknown unit stay as they are; if the first of them
    have fractions, they become millionths of their unit.

    Args:
        form: how times are written.
    """

    def __init__(self, form: ValueFormat) -> None:
        self._form = form
        self._sort: int | None = None  # what a time of this log is; None: none was read yet
        self._unit: int | None = None  # of numbers: the unit that they seem to have, an index into _UNITS
        self._ticks: int | None = None  # of numbers: integer steps per unit
        self._first = self._first_of_unit = ""  # the first time, and the first positive one, and their places

    def steps(self, duration: int | str, name: str) -> int:
        """A duration, such as "7d" or a number in the unit of the log's times, in steps of this clock.

        Raises: ConfigError for a text if times are numbers of an unknown unit; `name` is the setting.
        """
        if isinstance(duration, int):
            return duration * (self._ticks or 1)
        if self._sort == times.NUMBER:
            must = f"{name} must be a number in the unit of `order`, because times are numbers of an unknown unit"
            raise ConfigError(must, f"'{duration}'", do='Declare the unit: time = { unit = "s" } in [impressions]')
        return seconds(duration) * 10**6

    def read(self, frame: Frame, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(the times of a column, 0 where there is none; rows without a time). Shape: int64 (n,), bool (n,).

        Raises: DataError at the first time that is of another sort than those before.
        """
        column = without_missing(frame.rows[name], self._form, blanks=False)
        found = times.read(column, self._form)
        self._decide(frame, name, column, found)
        if found.unread.any():
            self._explain(frame, name, column, found.kind != times.NONE, found.unread)
        values = found.microseconds
        if self._form.time_unit is not None:
            self._same_unit(frame, name, values.cast(pl.Float64) / times.MICROSECONDS[self._form.time_unit])
        if self._sort == times.NUMBER:
            values = self._in_ticks(frame, name, found)
        missing = values.is_null().to_numpy()
        return values.fill_null(0).to_numpy(), missing

    def _decide(self, frame: Frame, name: str, column: pl.Series, found: times.Times) -> None:
        there = np.flatnonzero(found.kind)
        if not len(there):
            return
        if self._sort is None:
            self._sort = int(found.kind[there[0]])
            self._first = f"{column[int(there[0])]} ({frame.where(int(there[0]))})"
        same = found.kind == self._sort
        if self._form.time_zone is not None and self._sort != times.NUMBER:
            same |= found.kind != times.NUMBER  # the zone of times without one is known
        other = there[~same[there]]
        if len(other):
            row = int(other[0])
            sort, first = _SORTS[int(found.kind[row])], f"the first time is {_SORTS[self._sort]}: {self._first}"
            came = f"'{column[row]}' is {sort}, and {first}"
            if times.NUMBER in (self._sort, int(found.kind[row])):
                do = 'Declare the unit of numbers and the zone of other times: time = { unit = "s", zone = "UTC" }'
            else:
                do = 'Declare the zone of times that do not state one: time = { zone = "UTC" }'
            raise DataError(f"all times of '{name}' must be of one sort", came, where=frame.where(row), do=do)

    def _in_ticks(self, frame: Frame, name: str, found: times.Times) -> pl.Series:
        numbers = (found.microseconds if found.numbers is None else found.numbers).cast(pl.Float64)
        self._same_unit(frame, name, numbers)
        largest = numbers.abs().max()
        if self._ticks is None and largest is not None:
            self._ticks = TICKS if found.numbers is not None and float(largest) < 2**62 / TICKS else 1  # type: ignore[arg-type]
        if found.numbers is not None and self._ticks == 1:
            row = int(np.flatnonzero((found.numbers != found.numbers.floor()).fill_null(False).to_numpy())[0])
            came = f"{found.numbers[row]} has a fraction, and the first time has none: {self._first}"
            do = 'Declare the unit: time = { unit = "s" }'
            raise DataError(f"the times of '{name}' must be whole numbers", came, where=frame.where(row), do=do)
        if self._ticks == TICKS:
            return (numbers * TICKS).cast(pl.Int64, strict=False)
        return found.microseconds

    def _same_unit(self, frame: Frame, name: str, numbers: pl.Series) -> None:
        """Refuse numbers that seem to be seconds since 1970 here and milliseconds there.

        Zero and negative numbers often stand for a missing time, and say nothing of the unit.
        """
        values = numbers.fill_null(np.nan).to_numpy()
        unit = np.full(len(values), -1)
        for i, (low, high) in enumerate(_RANGES):
            unit[(values >= low) & (values < high)] = i
        there = np.flatnonzero(values > 0)
        if self._unit is None and len(there):
            # a count that only passes through these ranges is not a time since 1970
            self._unit = int(unit[there[0]]) if (unit[there] >= 0).all() else -1
            self._first_of_unit = f"{numbers[int(there[0])]:.0f} ({frame.where(int(there[0]))})"
        if self._unit is None or self._unit < 0:
            return
        other = np.flatnonzero((unit >= 0) & (unit != self._unit))
        if len(other):
            row = int(other[0])
            first = f"the first time in {_UNITS[self._unit]}: {self._first_of_unit}"
            came = f"{numbers[row]:.0f} seems to be in {_UNITS[unit[row]]}, and {first}"
            do = "Write all times in one unit, or as timestamps or ISO 8601, which need none"
            raise DataError(f"all times of '{name}' must have one unit", came, where=frame.where(row), do=do)

    def _explain(self, frame: Frame, name: str, column: pl.Series, read: np.ndarray, unread: np.ndarray) -> None:
        """Stop if no time could be read so far, or none of many here: their format is another. Raises: DataError."""
        if self._sort is not None and (read.any() or unread.sum() < MANY):
            return
        row = int(unread.argmax())
        form = self._form
        if form.time_format is not None:
            must = f"the times of '{name}' must have the format {form.time_format}"
            do = of_time(column[row]) or "Correct the format"
        else:
            must = f"the times of '{name}' must be numbers or ISO 8601, such as 2024-05-31 18:00:00"
            do = of_time(column[row]) or 'Declare their format, such as time = { format = "%m/%d/%Y" }'
        raise DataError(must, f"'{column[row]}'", where=frame.where(row), do=do)
