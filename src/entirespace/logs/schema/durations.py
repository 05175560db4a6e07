"""Durations in a schema file, such as "7d", "12h", "30m" or "90s", or a number in the unit of the log's times."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Units of a duration -> seconds."""


def _usable(duration: int | str) -> int | str:
    if isinstance(duration, str) and not re.fullmatch(r"\d+ ?[smhd]", duration):
        raise ValueError(f"a duration must be a number with a unit, such as 7d, 12h, 30m or 90s, not '{duration}'")
    if isinstance(duration, int) and duration < 0:
        raise ValueError("a duration cannot be negative")
    return duration


Duration = Annotated[int | str, AfterValidator(_usable)]


def seconds(duration: str) -> int:
    """A duration with a unit in seconds.

    >>> seconds("2h")
    7200
    """
    return int(duration[:-1]) * UNITS[duration[-1]]
