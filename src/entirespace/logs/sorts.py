"""What number fields and parts of times are read from, decided once for a log and the same in all of its files."""

from __future__ import annotations

from dataclasses import replace

from ..core.rows import Field
from ..errors import DataError
from ..features.values import quantity
from .clock import Clock
from .files import Frame

_WORDS = {
    "number": "numbers",
    "time": "times with a zone",
    "local time": "times without a zone",
    "duration": "durations",
}


class Sorts:
    """The first file decides whether a field reads numbers, times or durations; a later one must hold the same."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}  # number field -> the file that decided what it is
        self._clocks: dict[str, Clock] = {}  # field that is a part of a time -> reads its times

    def decided(self, field: Field, frame: Frame) -> Field:
        """The field with its quantity, as this frame or an earlier one decides it.

        Raises: DataError if its column holds another sort of values here than before.
        """
        if field.part is not None:
            self._clocks.setdefault(field.name, Clock(field.format)).read(frame, field.source)
            return field
        if field.kind != "number":
            return field
        column = frame.rows[field.source]
        found = quantity(column, field.format)
        if found is not None and field.quantity is None:
            self._files[field.name] = frame.file
            return replace(field, quantity=found)
        text_of_time = found == "number" and not column.dtype.is_numeric() and field.quantity in ("time", "local time")
        if found in (None, field.quantity) or text_of_time:
            return field
        before = self._files.get(field.name, "the layout that the log is prepared with")
        came = f"it holds {_WORDS[found]} here, and {_WORDS[str(field.quantity)]} in {before}"
        do = "Store it in the same way in all files"
        if {found, field.quantity} == {"time", "local time"}:
            do = 'Declare the zone of times that do not state one: time = { zone = "UTC" }'
        must = f"column '{field.source}' of the number '{field.name}' must hold one sort of values"
        raise DataError(must, came, where=frame.where(0), do=do)
