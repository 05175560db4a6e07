"""Completes the labels of staged impressions, and leaves out all rows but one of each impression.

Of several rows of one impression one is kept; it may get the labels of all of them. Then conversions of a table of
their own are joined to the impressions that are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.funnel import Funnel
from ..core.rows import IMPRESSIONS, PARTS
from ..errors import DataError
from ..logs.audit import Audit
from ..logs.source import OnOrphan, Source
from .manifest import TIME
from .stage import Stage

DROPPED = len(PARTS)  # in place of a part: the impression is left out
FINGERPRINTS = 500_000  # how many to sort at once, unless that makes more than 256 pieces


def complete(impressions: Stage, source: Source, on_orphan: OnOrphan, folder: Path, audit: Audit) -> np.ndarray:
    """Complete the labels of the staged impressions, n of them, and mark the rows that are left out.

    Args:
        source: the reader; it was read to the end.
        folder: for the file of the result and temporary files.
        audit: counts the rows that are left out.

    Returns: uint8 (n,), DROPPED where a row is left out, else 0; memory-mapped to a file in `folder`.

    Raises: DataError for a conversion without a click, if `on_orphan` is "error".
    """
    parts = np.memmap(folder / "parts", np.uint8, "w+", shape=(impressions.rows,))
    stages = tuple(stage for stage in source.stages if stage in impressions.columns)
    if "fingerprint.0" in impressions.columns:
        _leave_out_copies(impressions, stages, source.on_repeat, parts, folder / "fingerprints", audit)
        if source.on_repeat == "any" and stages:
            _close(impressions, stages, on_orphan, parts, audit)
    _put_in_conversions(impressions, source, parts)
    return parts


def _put_in_conversions(impressions: Stage, source: Source, parts: np.ndarray) -> None:
    """Put in the conversions of a table of their own, if there is one."""
    if "click" not in impressions.columns:
        return
    late = source.late(impressions.column("click") & (parts != DROPPED))
    if late is not None:
        reached = impressions.column("conversion")
        reached[late.rows] = True
        impressions.replace("conversion", reached)
        if late.times is not None:
            times = impressions.column(TIME + "conversion")
            times[late.rows] = late.times
            impressions.replace(TIME + "conversion", times)


def _leave_out_copies(
    impressions: Stage, stages: tuple[str, ...], on_repeat: str, parts: np.ndarray, folder: Path, audit: Audit
) -> None:
    """Mark all rows but one of each impression as DROPPED; with `on_repeat` "any", merge their labels into that one."""
    masks = np.zeros(impressions.rows, np.uint8)  # bit i: stage i was reached
    happened = dict.fromkeys(stages, 0)
    for start, batch in impressions.batches():
        for bit, stage in enumerate(stages):
            label = batch[stage].to_numpy(zero_copy_only=False)
            happened[stage] += int(label.sum())
            masks[start : start + batch.num_rows] |= label.astype(np.uint8) << bit
    merged = masks.copy() if on_repeat == "any" else masks
    copies, unlike = 0, 0
    taken: dict[str, list[np.ndarray]] = {stage: [] for stage in stages}  # (row, the copy whose time it gets)
    for rows, first in _groups(impressions, "fingerprint", np.ones(impressions.rows, bool), folder):
        starts = np.flatnonzero(first)
        lengths = np.diff(np.append(starts, len(rows)))
        kept = rows[starts + lengths - 1] if on_repeat == "last" else rows[starts]
        dropped = np.repeat(kept, lengths) != rows
        parts[rows[dropped]] = DROPPED
        copies += int(dropped.sum())
        unlike += int((masks[rows] != np.repeat(masks[kept], lengths)).sum())
        if on_repeat == "any" and len(starts):
            merged[kept] = np.bitwise_or.reduceat(masks[rows], starts)
            for bit, stage in enumerate(stages):
                gains = (merged[kept] & ~masks[kept]) >> bit & 1 == 1
                has = masks[rows] >> bit & 1 == 1
                group = np.repeat(np.arange(len(starts)), lengths)[has]
                owner = np.unique(group, return_index=True)
                source = np.zeros(len(starts), np.int64)
                source[owner[0]] = rows[has][owner[1]]
                taken[stage].append(np.stack([kept[gains], source[gains]]))
    audit.count(IMPRESSIONS, "duplicate_impression", copies)
    if copies:
        before = ", ".join([f"{impressions.rows:,} impressions", *(f"{n:,} {stage}s" for stage, n in happened.items())])
        which = "last" if on_repeat == "last" else "first"
        others = f"; copies whose labels differ from the {which} row: {unlike:,}" if unlike else ""
        audit.note(f"before copies were left out: {before}{others}")
    if on_repeat == "any":
        for bit, stage in enumerate(stages):
            impressions.replace(stage, (merged >> bit & 1).astype(bool))
            if TIME + stage in impressions.columns:
                times, (rows, source) = impressions.column(TIME + stage), np.concatenate(taken[stage], axis=1)
                times[rows] = times[source]
                impressions.replace(TIME + stage, times)


def _close(impressions: Stage, stages: tuple[str, ...], on_orphan: OnOrphan, parts: np.ndarray, audit: Audit) -> None:
    """Let a stage count as reached only where every earlier one is, and treat kept rows where that changes it."""
    happened = [impressions.column(stage) for stage in stages]
    reached = Funnel(stages).reached(happened)
    orphan = np.zeros(impressions.rows, bool)
    for one, other in zip(happened, reached, strict=True):
        orphan |= one & ~other
    orphan &= parts != DROPPED
    if orphan.any() and on_orphan == "error":
        came = f"conversion = 1 where click = 0, in {int(orphan.sum()):,} impressions after their rows were merged"
        do = "--on-orphan keep keeps them with conversion = 0, --on-orphan drop leaves them out"
        raise DataError("a conversion needs a click", came, do=do)
    outcome = "left out" if on_orphan == "drop" else None
    audit.count(IMPRESSIONS, "conversion_without_click", int(orphan.sum()), outcome=outcome)
    if on_orphan == "drop":
        parts[orphan] = DROPPED
    for stage, values in zip(stages, reached, strict=True):
        impressions.replace(stage, values)


def copy_numbers(impressions: Stage, name: str, which: np.ndarray, folder: Path) -> np.ndarray:
    """How many earlier rows have the same fingerprint. Shape: which bool (n,), the rows that count -> int64 (n,)."""
    numbers = np.zeros(impressions.rows, np.int64)
    for rows, first in _groups(impressions, name, which, folder):
        starts = np.flatnonzero(first)
        numbers[rows] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    return numbers


def _groups(impressions: Stage, name: str, which: np.ndarray, folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows in order of fingerprint, then of place; whether each is the first of its fingerprint), in pieces.

    Fingerprints are sorted in pieces of about `FINGERPRINTS`, or of 1/256 of all if that is more, to save memory.
    Rows with the same fingerprint are in one piece. Shape: int64 (m,), bool (m,).
    """
    folder.mkdir()
    pieces = min(256, 1 + impressions.rows // FINGERPRINTS)
    files = [(folder / str(i)).open("wb") for i in range(pieces)]
    for start, batch in impressions.batches():
        rows = np.arange(start, start + batch.num_rows, dtype=np.uint64)
        prints = np.stack([batch[f"{name}.0"].to_numpy(), batch[f"{name}.1"].to_numpy(), rows], axis=1)
        prints = prints[which[start : start + batch.num_rows]]
        piece = prints[:, 0] % np.uint64(pieces)
        for i in range(pieces):
            files[i].write(prints[piece == i].tobytes())
    for i, file in enumerate(files):
        file.close()
        prints = np.fromfile(folder / str(i), np.uint64).reshape(-1, 3)
        prints = _sorted(prints)
        again = (prints[1:, :2] == prints[:-1, :2]).all(axis=1)
        yield prints[:, 2].astype(np.int64), np.concatenate([np.ones(min(1, len(prints)), bool), ~again])


def _sorted(prints: np.ndarray) -> np.ndarray:
    """Rows of a fingerprint and a place, given in the order of places, by fingerprint. Shape: uint64 (m, 3)."""
    found = prints[np.argsort(prints[:, 0], kind="stable")]
    half = found[1:, 0] == found[:-1, 0]
    if (found[1:, 1] == found[:-1, 1])[half].all():
        return found
    return prints[np.lexsort((prints[:, 1], prints[:, 0]))]  # two that are equal in their first half only
