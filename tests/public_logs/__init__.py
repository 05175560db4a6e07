"""Files in the form of nine public logs: names, quirks and encodings are those of the originals. The seed is fixed.

`write("hotels", folder, rows=300)` makes the files in the folder. With the original's number of rows they are of its
size, for a trial: python -m public_logs hotels FOLDER 9917530
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import aliccp, aliexpress, drivers, email, hotels, kuairand, ratings, retail, speed_dating

WRITERS: dict[str, Callable[[Path, int, np.random.Generator], None]] = {
    "speed_dating": speed_dating.write,
    "ratings": ratings.write,
    "email": email.write,
    "retail": retail.write,
    "hotels": hotels.write,
    "drivers": drivers.write,
    "kuairand": kuairand.write,
    "aliexpress": aliexpress.write,
    "aliccp": aliccp.write,
}
"""Name of a log -> writes its files into a folder, with about this many impressions."""


def write(name: str, folder: Path, rows: int = 300, seed: int = 0) -> Path:
    """Write the files of a log into a new folder, and return it."""
    folder.mkdir(parents=True)
    WRITERS[name](folder, rows, np.random.default_rng(seed))
    return folder
