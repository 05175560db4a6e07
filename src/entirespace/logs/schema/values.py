"""How the values of a table are written: missing values, numbers, times. And the levels that labels and splits list."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator
from pydantic import Field as Value

from ...config import Model
from ...core.rows import ValueFormat
from ...features.values import canonical


def _level(value: object) -> object:
    """A level as the text of the raw id that it is: 3, 3.0 and "3" are one level."""
    if isinstance(value, str | bool | int | float | datetime.date):
        return canonical(value)
    return value


Level = Annotated[str, BeforeValidator(_level)]
"""A value of a column, in a list of a schema: text, a number, true or false, or a date."""


def _zone(name: str) -> str:
    if name not in zoneinfo.available_timezones():
        raise ValueError(f"'{name}' is not a time zone; zones are named as 'Europe/Berlin' or 'UTC'")
    return name


class TimeSchema(Model):
    """How times are written. Timestamps of Parquet need none of it."""

    format: str | None = None
    """Times as text: their format, such as "%d.%m.%Y %H:%M:%S". Default: ISO 8601, such as 2024-05-31 18:00:00."""
    zone: Annotated[str, AfterValidator(_zone)] | None = None
    """The time zone of times that do not state one, such as "Europe/Berlin". Default: UTC."""
    unit: Literal["s", "ms", "us", "ns"] | None = None
    """Times as numbers: the unit, counted from 1970. Default: numbers are only compared, in the unit that they have."""


class ValuesSchema(Model):
    """How values are written. A field may differ from its table."""

    missing: tuple[Level, ...] | None = None
    """Values that stand for a missing value, such as ["NULL", "NA", -1]. An empty value is always missing."""
    decimal: Literal[".", ","] | None = None
    """Numbers as text: the decimal point. Default: "."."""
    thousands: str | None = Value(default=None, min_length=1, max_length=1)
    """Numbers as text: the separator of thousands, one character that is left out. Default: none."""
    symbols: tuple[str, ...] | None = None
    """Numbers as text: what may stand before or after a number and is left out, such as ["$", "%"]. 12 % is 12."""
    time: TimeSchema | None = None
    """How times are written, such as { format = "%m/%d/%y", zone = "Europe/Berlin" } or { unit = "s" }."""

    @model_validator(mode="after")
    def _separators_differ(self) -> Self:
        if self.thousands is not None and (self.thousands == (self.decimal or ".") or self.thousands.isalnum()):
            raise ValueError("thousands must be a character that is neither the decimal point nor a digit or a letter")
        return self


def value_format(*schemas: ValuesSchema) -> ValueFormat:
    """How values are written: each setting as the first schema says that has it, such as a field, then its table."""

    def said(name: str) -> object:
        return next((value for schema in schemas if (value := getattr(schema, name)) is not None), None)

    time = said("time") or TimeSchema()
    assert isinstance(time, TimeSchema)
    return ValueFormat(
        missing=said("missing") or (),  # type: ignore[arg-type]
        decimal=said("decimal") or ".",  # type: ignore[arg-type]
        thousands=said("thousands"),  # type: ignore[arg-type]
        symbols=said("symbols") or (),  # type: ignore[arg-type]
        time_format=time.format,
        time_zone=time.zone,
        time_unit=time.unit,
    )
