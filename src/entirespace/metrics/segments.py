# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Calibration by segment: by decile of pCTR, and by the values of any field that the user names.

A segment is miscalibrated if its PCOC differs from 1 significantly: by an exact Poisson test, with Holm's correction
for all segments and tasks of its table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from ..config import nearest
from ..core.rows import IMPRESSIONS, PlacedField, Ragged
from ..dataset.bags import from_arrow
from ..dataset.dataset import Part
from ..dataset.manifest import LINK, SEGMENT
from ..errors import ConfigError
from .calibration import chance, coded, equal_mass_codes, pcoc_interval, sums_by_code
from .evaluation import Probabilities, Truths
from .losses import Sums
from .significance import significant
from .values import Undefined, Value, Values

DECILE = "decile of pCTR"
LARGEST = 20  # how many values of a field are segments; all other values are one segment


class SegmentTask(Values):
    """The calibration of one task in one segment."""

    mean: Value
    """The mean prediction."""
    pcoc: Value
    """Predicted over observed, and its 95 % interval."""
    pcoc_low: Value
    pcoc_high: Value
    p_value: float
    """P value of the exact Poisson test that PCOC is 1."""
    miscalibrated: bool
    """Whether PCOC differs from 1 significantly, with Holm's correction for all segments and tasks of the table."""


class SegmentTruth(Values):
    """pCVR and the true pCVR of one segment."""

    mean: Value
    true_mean: Value
    pcoc: Value


class SegmentLine(Values):
    """The metrics of one segment."""

    name: str
    impressions: int | float
    clicks: int
    conversions: int | None
    """None if the run has no pCVR."""
    tasks: dict[str, SegmentTask]
    truth: dict[str, SegmentTruth] = Field(default_factory=dict)


@dataclass(frozen=True)
class Segments:
    """The segment of each impression is `names[code]`. Shape: code uint8 (N,), in pieces."""

    by: str
    names: tuple[str, ...]
    code: Sequence[np.ndarray]


def by_pctr(pctr: np.ndarray, tenths: int = 10) -> Segments:
    """Deciles of pCTR, the lowest first; equal pCTRs are in the same one. Shape: float32 (N,).

    Raises: ValueError for a pCTR that is NaN.
    """
    return Segments(DECILE, tuple(str(i + 1) for i in range(tenths)), equal_mass_codes(pctr, tenths))


def checked_field(part: Part, name: str) -> PlacedField | None:
    """The field of this name; None for a column of [roles] segments. Raises: ConfigError if there is neither."""
    fields = {f.name: f for f in part.dataset.fields}
    segments = part.dataset.manifest.segments
    if name not in fields and name not in segments:
        must = "a field to measure by must be a field of the dataset, or a column that [roles] segments lists"
        raise ConfigError(must, repr(name), do=nearest(name, [*fields, *segments]))
    return fields.get(name)


def by_field(part: Part, name: str) -> Segments:
    """A segment for each of the most frequent values of a field, and one for all other values.

    The field is one of the impressions or of a side table, or a column that [roles] segments lists.
    Raises: ConfigError for an unknown field, or one with several values per impression.
    """
    field = checked_field(part, name)
    if field is None:
        ids = part.dataset.segment(name)
        row = part.column(SEGMENT + name)
        return _most_frequent(name, row, len(ids), lambda codes: [ids[c] or "no value" for c in codes.tolist()])
    if field.table == IMPRESSIONS:
        chunks = [_one(from_arrow(batch[name]), name) for batch in part.batches([name])]
        row = np.concatenate(chunks) if chunks else np.zeros(0, np.int32)
    else:
        row = _one(part.dataset.tables[field.table][name], name)[part.column(LINK + field.table)]
    return _most_frequent(name, row, field.size, lambda rows: _names(part, field, rows))


def _most_frequent(name: str, row: np.ndarray, size: int, names: Callable[[np.ndarray], list[str]]) -> Segments:
    """A segment for each of the most frequent rows, and one for all others.

    Args:
        row: of each impression, from -1 to size - 1. Shape: int32 (N,).
        names: gives the names of rows.
    """
    counts = np.bincount(row + 1, minlength=size + 1)  # index 0: no value
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    top = np.sort(order[:LARGEST])
    lookup = np.full(len(counts), len(top), np.uint8)
    lookup[top] = np.arange(len(top))
    found = names(top - 1)
    if len(order) > len(top):
        found.append(f"the other {len(order) - len(top):,} values")
    return Segments(name, tuple(found), coded(lookup[row + 1]))


def _one(bags: Ragged, name: str) -> np.ndarray:
    """The vocabulary row, or the bucket, of each entry; -1 if it has no value. Shape: -> int32 (n,).

    Raises: ConfigError if an entry has several values.
    """
    if bags.offsets is None:
        return bags.values.astype(np.int32)  # the bucket is the integer part of a number's position
    length = np.diff(bags.offsets)
    if length.max(initial=0) > 1:
        raise ConfigError(
            "a field to measure by must have one value per impression", f"{name!r} has up to {int(length.max())}"
        )
    row = np.full(len(length), -1, np.int32)
    row[length == 1] = bags.values[bags.offsets[:-1][length == 1]]
    return row


def _names(part: Part, field: PlacedField, rows: np.ndarray) -> list[str]:
    """The names of vocabulary rows or buckets. Row -1 is "no value", row 0 "unseen" (of a number: "missing")."""
    table = part.dataset.vocabulary(field.name)
    special = {-1: "no value", 0: "missing" if field.is_position else "unseen"}
    if field.is_position:
        edges = table["edge"].to_pylist()
        ends = [float("-inf"), *edges, float("inf")]
        return [special.get(i) or f"({ends[i - 1]:g}, {ends[i]:g}]" for i in rows.tolist()]
    ids = table["id"]
    return [special.get(i) or (str(ids[i - 1]) if len(ids) else f"bucket {i - 1}") for i in rows.tolist()]


def measure_segments(
    segments: Segments, p: Probabilities, truths: Truths, unclicked_weight: float = 1.0
) -> list[SegmentLine]:
    """The calibration of each segment; empty segments are left out.

    Args:
        p: "ctr"; and "cvr" and "ctcvr" if the run has a pCVR. Shape: float32 (N,) each.
        unclicked_weight: the weight of an un-clicked impression: 1 / r if the log kept the share r of them.

    Raises: ValueError for predictions that are NaN or negative.
    """
    count, click = len(segments.names), truths.click

    def by(p: np.ndarray, y: np.ndarray, weight: float, click: np.ndarray = click) -> list[Sums]:
        return sums_by_code(segments.code, p, y, click, weight, count=count)

    clicks = by(p["ctr"], click, 1.0)
    tasks: dict[str, list[Sums]] = {"ctr": by(p["ctr"], click, unclicked_weight)}
    truth: dict[str, list[Sums]] = {}
    if "cvr" in p and "ctcvr" in p:
        tasks["cvr"] = by(p["cvr"], truths.conversion, 0.0)
        tasks["ctcvr"] = by(p["ctcvr"], truths.conversion, unclicked_weight)
        if truths.pcvr is not None:
            truth = {
                "clicked": by(p["cvr"], truths.pcvr, 0.0),
                "un-clicked": by(p["cvr"], truths.pcvr, 0.0, ~click),
                "all": by(p["cvr"], truths.pcvr, unclicked_weight),
            }
    held = [i for i in range(count) if clicks[i].impressions]
    p_values = {(i, task): chance(sums[i]) for i in held for task, sums in tasks.items()}
    off = dict(zip(p_values, significant(list(p_values.values())), strict=True))
    return [
        SegmentLine(
            name=segments.names[i],
            impressions=clicks[i].impressions,
            clicks=int(clicks[i].observed),
            conversions=int(tasks["ctcvr"][i].observed) if "ctcvr" in tasks else None,
            tasks={task: _measured(sums[i], p_values[i, task], off[i, task]) for task, sums in tasks.items()},
            **({"truth": {place: _against_truth(sums[i]) for place, sums in truth.items()}} if truth else {}),
        )
        for i in held
    ]


def _measured(sums: Sums, p_value: float, miscalibrated: bool) -> SegmentTask:
    low, high = pcoc_interval(sums)
    return SegmentTask(
        mean=_mean(sums),
        pcoc=sums.pcoc(),
        pcoc_low=low,
        pcoc_high=high,
        p_value=p_value,
        miscalibrated=miscalibrated,
    )


def _against_truth(sums: Sums) -> SegmentTruth:
    true = sums.observed / sums.impressions if sums.impressions else Undefined("no impressions")
    return SegmentTruth(mean=_mean(sums), true_mean=true, pcoc=sums.pcoc())


def _mean(sums: Sums) -> float | Undefined:
    return sums.predicted / sums.impressions if sums.impressions else Undefined("no impressions")
