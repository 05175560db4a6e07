"""The part of each impression where a column or the name of the file says it."""

from __future__ import annotations

import numpy as np

from ..core.rows import ValueFormat
from ..errors import ConfigError
from ..features.values import text, without_missing
from .files import Frame
from .find import matches
from .schema import SplitSchema

GIVEN = {"train": 0, "test": 1, "validation": 2}
"""Part -> its code in a block of impressions."""


def part_of_rows(frame: Frame, split: SplitSchema, form: ValueFormat) -> tuple[np.ndarray | None, np.ndarray]:
    """(part of each row as in GIVEN, or None if neither a column nor the file says it; rows of no part).

    `form`: how the values of the column are written; a missing value is the level "". Shape: int8 (n,) or None, bool
    (n,). Raises: ConfigError if a file is in two parts.
    """
    n = len(frame.rows)
    if split.by not in ("column", "file"):
        return None, np.zeros(n, bool)
    part = np.full(n, -1, np.int8)
    if split.by == "file":
        part[:] = _part_of_file(frame.file, split)
        return part, part < 0
    assert split.column is not None
    column = frame.rows[split.column]
    written, values = text(column), text(without_missing(column, form))
    for name, code in GIVEN.items():
        levels = split.levels(name)
        part[(written.is_in(levels) | values.is_in(levels)).to_numpy()] = code
    return part, part < 0


def _part_of_file(file: str, split: SplitSchema) -> int:
    """The part of a file as in GIVEN, -1 if it is in none."""
    found = [(name, p) for name in GIVEN for p in split.levels(name) if matches(p, file)]
    names = {name for name, _ in found}
    if len(names) > 1:
        came = " and ".join(f"{name} lists '{pattern}'" for name, pattern in found)
        do = "Write patterns that match the files of one part only"
        raise ConfigError("a file must be in one part only", came, where=f"[split], file '{file}'", do=do)
    return GIVEN[found[0][0]] if found else -1
