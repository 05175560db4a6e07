"""Raw Ali-CCP of any size with as many ids as wanted: the shape of the real files, without a world behind it.

A common line has 518 features on average, most of them weighted histories; 58 skeleton lines of 12 features share it
(the real training pair: 730,600 and 42,300,135 lines). A field's ids are drawn from a pool of its own, low numbers
more often. `entirespace simulate` makes logs whose clicks mean something; here only bytes and ids count.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from entirespace.logs.aliccp.source import COMMON_FIELDS, SKELETON_FIELDS, WEIGHTED
from entirespace.simulation.text import write_lines

# field: (share of all ids, mean ids a line)
POOLS = {
    "109_14": (0.002, 50), "110_14": (0.25, 180), "127_14": (0.15, 120), "150_14": (0.13, 160),
    "205": (0.25, 1), "206": (0.002, 1), "207": (0.1, 1), "210": (0.02, 3), "216": (0.05, 0.7),
    "508": (0.002, 1), "509": (0.05, 0.7), "702": (0.02, 1), "853": (0.02, 1.5), "301": (0, 1),
}  # fmt: skip
SKELETONS = 58  # lines that share a common line
COMMON_ROWS = 2000  # written at a time
COMMON_BYTES = 26_000  # about, of a common line and its skeleton lines
_COUNTS = [b"1.0", *(f"{np.log(n):.5f}".encode() for n in range(2, 60))]


def write(folder: Path, size: float, ids: int, seed: int = 0) -> None:
    """Write both pairs, about `size` bytes in all, with ids from pools of `ids` together."""
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        rng = np.random.default_rng([seed, part == "test"])
        written, users = 0, 0
        rows = int(min(COMMON_ROWS, 1 + size / 2 // COMMON_BYTES))
        with (
            (folder / f"sample_skeleton_{part}.csv").open("wb") as skeleton,
            (folder / f"common_features_{part}.csv").open("wb") as common,
        ):
            while written < size / 2:
                keys, user = _keys(rng, rows), users + np.arange(rows)
                written += common.write(_lines(rng, COMMON_FIELDS, ids, keys, np.arange(rows), user, None))
                shown = np.repeat(np.arange(rows), SKELETONS)
                written += skeleton.write(_lines(rng, SKELETON_FIELDS, ids, keys, shown, user, users * SKELETONS))
                users += rows


def _keys(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.frombuffer(rng.bytes(8 * n).hex().encode(), np.uint8).reshape(n, 16)


def _lines(
    rng: np.random.Generator,
    fields: tuple[str, ...],
    ids: int,
    keys: np.ndarray,
    row_key: np.ndarray,
    user: np.ndarray,
    first: int | None,
) -> memoryview:
    """Some lines of the skeleton, numbered from `first`, or of the common features."""
    n = len(row_key)
    values, counts, offsets, at = [], [], np.zeros((len(fields), n + 1), np.int64), 0
    for f, name in enumerate(fields):
        share, mean = POOLS.get(name, (0, 0.9))
        if name == "101":
            length, pool = np.ones(n, np.int64), 0
        else:
            length, pool = rng.poisson(mean, n) if mean > 1 else (rng.random(n) < mean), max(4, int(share * ids))
        offsets[f] = at + np.concatenate(([0], np.cumsum(length)))
        more = int(offsets[f, -1]) - at
        at += more
        # 3,000,000 apart a field, and with about as many digits as real ids
        drawn = user if name == "101" else 3_000_000 * (1 + f) + (pool * rng.random(more, np.float32) ** 1.5)
        values.append(drawn.astype(np.int32))
        weights = rng.integers(0, len(_COUNTS), more) if name in WEIGHTED else np.zeros(more, np.int64)
        counts.append(weights.astype(np.int32))
    tags = [name.encode() for name in fields]
    labels = np.zeros(0, np.uint8), np.zeros(0, np.uint8)
    if first is not None:
        click = rng.random(n) < 0.04
        labels = click.astype(np.uint8), (click & (rng.random(n) < 0.005)).astype(np.uint8)
    out = np.empty(25 * at + 60 * n, np.uint8)
    end = write_lines(
        out, np.concatenate(values), np.concatenate(counts), offsets, *_texts(tags), keys, row_key, *labels,
        1 + (first or 0), 0, n, *_texts(_COUNTS),
    )  # fmt: skip
    return out[:end].data


def _texts(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The texts joined, and where each begins and the last ends."""
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)])
