"""'train.csv' and 'test.csv' of one country of AliExpress, as they are preprocessed for multi-task libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CATEGORICAL = [f"categorical_{i}" for i in range(1, 17)]
NUMERICAL = [f"numerical_{i}" for i in range(1, 64)]


def write(folder: Path, rows: int, rng: np.random.Generator) -> None:
    cut = 2 * rows // 30 * 10  # no search is in both
    for name, part in (("train.csv", range(cut)), ("test.csv", range(cut, rows))):
        with (folder / name).open("w") as file:
            file.write(",".join(["search_id", *CATEGORICAL, *NUMERICAL, "click", "conversion"]) + "\n")
            for i in part:
                ids = rng.integers(0, np.arange(2, 18))
                numbers = rng.random(63)
                click = int(rng.random() < 0.2 + 0.3 * numbers[0])
                conversion = int(click and rng.random() < 0.3)
                line = [str(i // 10), *map(str, ids), *(f"{x:.6g}" for x in numbers), str(click), str(conversion)]
                file.write(",".join(line) + "\n")
