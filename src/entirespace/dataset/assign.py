"""Assigns each staged impression that is not a copy to a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..core.rows import PARTS
from ..errors import DataError
from ..kernels.hashing import mix_numbers
from ..logs.parts import GIVEN
from ..logs.schema import SplitSchema
from ..progress import Progress
from .copies import DROPPED, copy_numbers
from .manifest import ORDER
from .split import threshold
from .stage import Stage

TRAINING, VALIDATING, TESTING = range(len(PARTS))


def assign(impressions: Stage, split: SplitSchema, parts: np.ndarray, folder: Path, progress: Progress) -> None:
    """Set the part of each impression, an index into PARTS.

    Args:
        impressions: the staged impressions, n of them.
        split: how to split them.
        parts: DROPPED for impressions that are left out; all others become a part. Shape: uint8 (n,).
        folder: for temporary files.
        progress: advances as impressions are read.

    Raises: DataError if a part is empty that the split should fill.
    """
    if split.by == "all":
        parts[parts != DROPPED] = PARTS.index(str(split.part))
        progress.advance(2 * len(parts))
        return
    if split.by in ("random", "user"):
        _draw(impressions, split, parts, folder, progress)
    else:
        _decide(impressions, split, parts, progress)
    _refuse_empty(split, parts)


def _draw(impressions: Stage, split: SplitSchema, parts: np.ndarray, folder: Path, progress: Progress) -> None:
    """Split by chance: by a seeded hash of each user, or of each row's content and its number among equal rows.

    So the part of a row does not depend on its place in the log.
    """
    assert isinstance(split.train, float)
    assert isinstance(split.validation, float)
    copies = copy_numbers(impressions, "lot", parts != DROPPED, folder / "lots") if split.by == "random" else None
    for start, batch in impressions.batches():
        n = batch.num_rows
        chance = np.full(n, split.seed or 0, np.uint64)
        for numbers in (batch["lot.0"].to_numpy(), batch["lot.1"].to_numpy()):
            mix_numbers(numbers, chance)
        if copies is not None:
            mix_numbers(copies[start : start + n].astype(np.uint64), chance)
        share = (chance >> np.uint64(11)).astype(np.float64) / 2.0**53
        here = np.full(n, TESTING, np.uint8)
        here[share < split.train] = VALIDATING
        here[share < split.train * (1 - split.validation)] = TRAINING
        kept = parts[start : start + n] != DROPPED
        parts[start : start + n][kept] = here[kept]
        progress.advance(2 * n)


def _decide(impressions: Stage, split: SplitSchema, parts: np.ndarray, progress: Progress) -> None:
    """Split into training and test, then split the last share in time off the training part for validation."""

    def times() -> Iterator[np.ndarray]:
        """The times of the impressions that are in the training part so far. Without times: their row numbers."""
        for start, batch in impressions.batches():
            n = batch.num_rows
            time = batch[ORDER].to_numpy() if ORDER in batch.schema.names else np.arange(start, start + n)
            yield time[parts[start : start + n] == TRAINING]

    def move(which: Callable[[np.ndarray, np.ndarray], np.ndarray], part: int) -> None:
        """Move training rows to another part: those that `which` selects, given their times and the reader's parts."""
        for start, batch in impressions.batches():
            n, names = batch.num_rows, batch.schema.names
            time = batch[ORDER].to_numpy() if ORDER in names else np.arange(start, start + n)
            given = batch["part"].to_numpy() if "part" in names else np.zeros(n, np.int8)
            here = parts[start : start + n]
            here[(here == TRAINING) & which(time, given)] = part
            progress.advance(n)

    if split.by == "order":
        assert isinstance(split.train, float)
        end = threshold(times, int((parts == TRAINING).sum()), split.train)
        move(lambda time, _: time >= end, TESTING)
    else:
        move(lambda _, given: given == GIVEN["test"], TESTING)
    training = int((parts == TRAINING).sum())
    if split.levels("validation"):
        move(lambda _, given: given == GIVEN["validation"], VALIDATING)
    elif training and split.validation:
        assert isinstance(split.validation, float)
        end = threshold(times, training, 1 - split.validation)
        move(lambda time, _: time >= end, VALIDATING)


def _refuse_empty(split: SplitSchema, parts: np.ndarray) -> None:
    """Raises: DataError if a part is empty that the split should fill."""
    sizes = {part: int((parts == i).sum()) for i, part in enumerate(PARTS)}
    for part, size in sizes.items():
        if size == 0 and (part != "validation" or split.validation):
            advice = {
                "order": "Is the time column constant? Leave out `order` to use the order of the rows",
                "random": "There are too few impressions for these shares",
                "user": "There are too few users for these shares",
                "column": "Correct train and test: they list the values of the column for each part",
                "file": "Correct train and test: they list the file patterns for each part",
            }
            raise DataError(
                "each part must hold impressions",
                f"the {part} part is empty ({', '.join(f'{k} {v:,}' for k, v in sizes.items())})",
                where="[split]",
                do=advice[split.by],
            )
