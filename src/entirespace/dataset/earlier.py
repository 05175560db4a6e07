"""What was counted strictly earlier than each impression of a part: as if counts were updated after each of them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ..core.rows import Ragged
from ..features.history.keys import HistorySpec
from ..kernels.tally import earlier
from .manifest import ORDER

if TYPE_CHECKING:
    from .dataset import Part

Counted = tuple[dict[str, np.ndarray], np.ndarray | None]
"""Key -> the counts of n impressions, float64 (n, W); and the weight of what was counted before the part."""


def counted_earlier(bags: Ragged, time: np.ndarray, reached: np.ndarray, spec: HistorySpec, size: int) -> np.ndarray:
    """What was known of the ids of each impression at its time: impressions before it, by the `delay`, and no ties.

    Args:
        bags: the codes of the ids of n impressions, in 0 .. size - 1.
        time: of each. Shape: int64 (n,).
        reached: whether it reached each stage. Shape: bool (n, S).

    Returns: impressions, and how many of them reached each stage; decayed to its time, if counts decay. Shape: float64
    (n, S + 1).
    """
    width = reached.shape[1] + 1
    found = np.zeros((len(time), width))
    offsets = bags.starts
    first = np.full(size, time.min(initial=np.iinfo(np.int64).max))
    order = np.argsort(time, kind="stable")
    running = np.zeros((size, width))
    earlier(bags.values, offsets, order, time, spec.delay, spec.half_life or 0, reached, running, first, found)
    return found


class Online:
    """What was counted strictly earlier in a part of a dataset, for each of its impressions. It is kept on disk.

    Args:
        part: the part, in the order of its rows.
    """

    def __init__(self, part: Part) -> None:
        keys = part.dataset.history
        assert keys is not None
        part.must_be_labelled()
        spec, rows = keys.history.spec, len(part)
        self._time = part.column(ORDER) if part.has(ORDER) else np.arange(rows)
        reached = np.stack([part.column(stage) for stage in spec.stages], axis=1)
        self._keep = TemporaryDirectory(prefix="entirespace-online-")
        self._counts: dict[str, np.ndarray] = {}
        for i, key in enumerate(spec.keys):
            shape = (rows, reached.shape[1] + 1)
            counts = np.memmap(Path(self._keep.name) / f"{i}", np.float32, "w+", shape=shape) if rows else None
            bags = Ragged.concatenate(list(keys.codes(part, key.name))) if rows else None
            if counts is not None and bags is not None:
                counts[:] = counted_earlier(bags, self._time, reached, spec, len(keys.history.counts[key.name]))
                self._counts[key.name] = counts
        self._history = keys.history

    def of(self, rows: slice) -> Counted:
        """What was counted earlier than some rows; see `History.numbers`."""
        counts = {name: np.asarray(found[rows], np.float64) for name, found in self._counts.items()}
        return counts, self._history.weights(self._time[rows])
