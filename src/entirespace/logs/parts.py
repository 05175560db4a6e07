"""The part of each impression where a column or the name of the file says it."""

from __future__ import annotations

import numpy as np

from ..features.values import text
from .files import Frame
from .find import matches
from .schema import SplitSchema

GIVEN = {"train": 0, "test": 1, "validation": 2}
"""Part -> its code in a block of impressions."""


def part_of_rows(frame: Frame, split: SplitSchema) -> tuple[np.ndarray | None, np.ndarray]:
    """(part of each row as in GIVEN, or None if neither a column nor the file says it; rows of no part).

    Shape: int8 (n,) or None, bool (n,).
    """
    n = len(frame.rows)
    if split.by not in ("column", "file"):
        return None, np.zeros(n, bool)
    part = np.full(n, -1, np.int8)
    for name, code in GIVEN.items():
        levels = split.levels(name)
        if split.by == "file":
            if any(matches(pattern, frame.file) for pattern in levels):
                part[:] = code
        else:
            assert split.column is not None
            part[text(frame.rows[split.column]).is_in(levels).to_numpy()] = code
    return part, part < 0
