"""One side of the benchmark of training: a process that trains when it is told to, and is idle otherwise.

    python esmm_RIVAL.py FOLDER THREADS ANSWERS         the last is an open file descriptor
    answer, first    {"ways": ["as it comes", "plain loop"], "turn": 1}
    stdin            {"way": "as it comes", "batch": 2048, "impressions": 40960}
    answer           {"seconds": 1.25}

It runs in the rivals' environments and needs numpy alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIELDS = 23
EMBEDDING = 18  # the paper's sizes
HIDDEN = (360, 200, 80)
LEARNING_RATE = 1e-3

Train = Callable[[int, slice], None]
"""(batch size, rows of the data) -> trains on them once, in random order."""


@dataclass(frozen=True)
class Data:
    """The training part of the prepared dataset."""

    ids: np.ndarray  # int32 (N, F): rows of each field's own table
    click: np.ndarray  # float32 (N,)
    conversion: np.ndarray  # float32 (N,): click & conversion
    sizes: list[int]  # rows of each field's table


def folder() -> Path:
    """Where prepared.py put the data, as the command line says."""
    return Path(sys.argv[1])


def read() -> Data:
    """The rivals' copy of the data."""
    sizes = json.loads((folder() / "sizes.json").read_text())
    ids, click, conversion = (np.load(folder() / f"{name}.npy") for name in ("ids", "click", "conversion"))
    return Data(ids, click, conversion, sizes)


def threads() -> int:
    """How many threads the command line grants."""
    return int(sys.argv[2])


def serve(ways: dict[str, Train], impressions: int, turn: int = 1) -> None:
    """Answer until stdin ends. Turns go on through the data of so many `impressions`, and begin again at its end.

    Args:
        turn: train on no fewer impressions at once, where a turn must hold what comes once in so many.
    """
    answers = os.fdopen(int(sys.argv[3]), "w", buffering=1)
    print(json.dumps({"ways": list(ways), "turn": turn}), file=answers)
    start = 0
    for line in sys.stdin:
        asked = json.loads(line)
        if start + asked["impressions"] > impressions:
            start = 0
        rows = slice(start, start + asked["impressions"])
        start = rows.stop
        began = time.perf_counter()
        ways[asked["way"]](asked["batch"], rows)
        print(json.dumps({"seconds": time.perf_counter() - began}), file=answers)
