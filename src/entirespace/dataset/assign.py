"""Assigns each staged impression to a part: first exact copies are left out, then the rest is split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..core.rows import IMPRESSIONS, PARTS
from ..errors import DataError
from ..logs.audit import Audit
from ..logs.schema import SplitSchema
from ..progress import Progress
from .manifest import ORDER
from .split import threshold
from .stage import Stage

TRAINING, VALIDATING, TESTING = range(len(PARTS))
DROPPED = len(PARTS)  # in place of a part: the impression is left out
FINGERPRINTS = 500_000  # how many to sort at once, unless that makes more than 256 pieces


def assign(
    impressions: Stage, stages: tuple[str, ...], split: SplitSchema, folder: Path, audit: Audit, progress: Progress
) -> np.ndarray:
    """The part of each impression, as an index into PARTS, or DROPPED.

    Args:
        impressions: the staged impressions, n of them.
        stages: the stages that the log has, in the funnel's order; empty if outcomes are not known.
        split: how to split them.
        folder: for the files of the result and of temporary data.
        audit: counts the copies that are left out.
        progress: advances as impressions are read.

    Returns: uint8 (n,), memory-mapped to a file in `folder`.

    Raises: DataError if a part is empty that the split should fill.
    """
    parts = np.memmap(folder / "parts", np.uint8, "w+", shape=(impressions.rows,))
    if "fingerprint.0" in impressions.columns:
        _drop_copies(impressions, stages, parts, folder / "fingerprints", audit)
    if split.by == "all":
        parts[parts != DROPPED] = PARTS.index(str(split.part))
        progress.advance(2 * len(parts))
    else:
        _decide(impressions, split, parts, progress)
    return parts


def _drop_copies(impressions: Stage, stages: tuple[str, ...], parts: np.ndarray, folder: Path, audit: Audit) -> None:
    """Mark every exact copy of an earlier impression as DROPPED.

    Fingerprints are sorted in pieces of about `FINGERPRINTS`, or of 1/256 of all if that is more, to save memory.
    """
    folder.mkdir()
    n, levels = impressions.rows, np.uint64(len(stages) + 1)
    pieces = min(256, 1 + n // FINGERPRINTS)
    files = [(folder / str(i)).open("wb") for i in range(pieces)]
    reached = dict.fromkeys(stages, 0)
    for start, batch in impressions.batches():
        # a later stage implies the earlier ones, so the number of stages reached identifies them
        level = np.zeros(batch.num_rows, np.uint64)
        for stage in stages:
            label = batch[stage].to_numpy(zero_copy_only=False)
            reached[stage] += int(label.sum())
            level += label
        row = np.arange(start, start + batch.num_rows, dtype=np.uint64)
        prints = np.stack(
            [batch["fingerprint.0"].to_numpy(), batch["fingerprint.1"].to_numpy(), row * levels + level], axis=1
        )
        piece = prints[:, 0] % np.uint64(pieces)
        for i in range(pieces):
            files[i].write(prints[piece == i].tobytes())
    copies = unlike = 0
    for i, file in enumerate(files):
        file.close()
        prints = np.fromfile(folder / str(i), np.uint64).reshape(-1, 3)
        prints = prints[np.lexsort((prints[:, 2], prints[:, 1], prints[:, 0]))]
        again = (prints[1:, :2] == prints[:-1, :2]).all(axis=1)
        parts[(prints[1:, 2][again] // levels).astype(np.int64)] = DROPPED
        copies += int(again.sum())
        level = prints[:, 2] % levels
        first = np.maximum.accumulate(np.where(np.append(False, again), 0, np.arange(len(prints))))
        unlike += int((level != level[first]).sum())
    audit.count(IMPRESSIONS, "duplicate_impression", copies)
    if copies:
        before = ", ".join([f"{n:,} impressions", *(f"{count:,} {stage}s" for stage, count in reached.items())])
        others = f"; copies whose labels differ from the first row: {unlike:,}" if unlike else ""
        audit.note(f"before copies were left out: {before}{others}")


def _decide(impressions: Stage, split: SplitSchema, parts: np.ndarray, progress: Progress) -> None:
    """Split into training and test, then split the last share in time off the training part for validation.

    Raises: DataError if a part is empty.
    """

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
        move(lambda _, given: given == 1, TESTING)
    training = int((parts == TRAINING).sum())
    if training and split.validation:
        end = threshold(times, training, 1 - split.validation)
        move(lambda time, _: time >= end, VALIDATING)
    sizes = {part: int((parts == i).sum()) for i, part in enumerate(PARTS)}
    for part, size in sizes.items():
        if size == 0 and (part != "validation" or split.validation):
            advice = {
                "order": "Is the time column constant? Leave out `order` to use the order of the rows",
                "column": "Correct train and test: they list the values of the column for each part",
                "file": "Correct train and test: they list the file patterns for each part",
            }
            raise DataError(
                "each part must hold impressions",
                f"the {part} part is empty ({', '.join(f'{k} {v:,}' for k, v in sizes.items())})",
                where="[split]",
                do=advice[split.by],
            )
