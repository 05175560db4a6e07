"""The four raw files of Ali-CCP: features are joined by \\x01, and each is field \\x02 id \\x03 value, in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

COMMON = ("101", "121", "122", "124", "125", "126", "127", "128", "129", "109_14", "110_14", "127_14", "150_14")
SKELETON = ("205", "206", "207", "210", "216", "301", "508", "509", "702", "853")
WEIGHTED = ("109_14", "110_14", "127_14", "150_14", "508", "509", "702", "853")


def write(folder: Path, rows: int, rng: np.random.Generator) -> None:
    for part in ("train", "test"):
        keys = [f"{rng.integers(2**63):016x}" for _ in range(max(4, rows // 20))]
        with (folder / f"common_features_{part}.csv").open("w") as file:
            for key in keys:
                count, features = _features(COMMON, rng)
                file.write(f"{key},{count},{features}\n")
        with (folder / f"sample_skeleton_{part}.csv").open("w") as file:
            for i in range(rows // 2):
                click = int(rng.random() < 0.3)
                conversion = int(click and rng.random() < 0.3)
                count, features = _features(SKELETON, rng)
                file.write(f"{i + 1},{click},{conversion},{rng.choice(keys)},{count},{features}\n")


def _features(fields: tuple[str, ...], rng: np.random.Generator) -> tuple[int, str]:
    found = []
    for number, name in enumerate(fields):
        if rng.random() < 0.1:  # absent
            continue
        for _ in range(int(rng.integers(1, 4)) if name in (*WEIGHTED, "210") else 1):
            weight = round(float(np.log(rng.integers(2, 9))), 5) if name in WEIGHTED else 1.0
            found.append(f"{name}\x02{100 * (number + 1) + rng.integers(30)}\x03{weight}")
    rng.shuffle(found)
    return len(found), "\x01".join(found)
