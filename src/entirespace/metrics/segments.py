# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Where predictions are off: calibration by decile of pCTR, and by the values of any field the user names.

A segment is named where its PCOC differs from 1 by more than chance: by an exact Poisson test, with Holm's correction
over the segments and tasks of its table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from ..config import nearest
from ..core.rows import IMPRESSIONS, PlacedField, Ragged
from ..dataset.dataset import Part, from_arrow
from ..dataset.manifest import LINK
from ..errors import ConfigError
from .calibration import chance, coded, equal_mass_codes, pcoc_interval, sums_by_code
from .evaluation import Probabilities, Truths
from .losses import Sums
from .significance import significant
from .values import Undefined, Value, Values

DECILE = "decile of pCTR"
LARGEST = 20  # values of a field with a line of their own; the others share one


class SegmentTask(Values):
    """What is predicted and observed of one task in one segment."""

    mean: Value
    pcoc: Value
    """Predicted over observed."""
    pcoc_low: Value
    pcoc_high: Value
    p_value: float
    """The chance of a count this far off, were the predictions right."""
    miscalibrated: bool
    """Whether it stands after Holm's correction over the segments and tasks of the table."""


class SegmentTruth(Values):
    """pCVR and the true pCVR of one segment of a simulated log."""

    mean: Value
    true_mean: Value
    pcoc: Value


class SegmentLine(Values):
    """One segment."""

    name: str
    impressions: int | float
    clicks: int
    conversions: int | None
    """None where the run knows no pCVR."""
    tasks: dict[str, SegmentTask]
    truth: dict[str, SegmentTruth] = Field(default_factory=dict)


@dataclass(frozen=True)
class Segments:
    """The segment of each impression: `names[code]`. Shape: code uint8 (N,), in pieces."""

    by: str
    names: tuple[str, ...]
    code: Sequence[np.ndarray]


def by_pctr(pctr: np.ndarray, tenths: int = 10) -> Segments:
    """Tenths of the impressions by pCTR, the lowest first; level ones stay together. Shape: float32 (N,)."""
    return Segments(DECILE, tuple(str(i + 1) for i in range(tenths)), equal_mass_codes(pctr, tenths))


def checked_field(part: Part, name: str) -> PlacedField:
    """A field by its name. Raises: ConfigError for one that is unknown."""
    fields = {f.name: f for f in part.dataset.fields}
    if name not in fields:
        raise ConfigError(
            "a field to measure by must be one of the dataset's", repr(name), do=nearest(name, list(fields))
        )
    return fields[name]


def by_field(part: Part, name: str) -> Segments:
    """The largest values of a field, of the impressions or of a side table, and one segment for all others.

    Raises: ConfigError for an unknown field, or one with many values an impression.
    """
    field = checked_field(part, name)
    if field.table == IMPRESSIONS:
        chunks = [_one(from_arrow(batch[name]), name) for batch in part.batches([name])]
        row = np.concatenate(chunks) if chunks else np.zeros(0, np.int32)
    else:
        row = _one(part.dataset.tables[field.table][name], name)[part.column(LINK + field.table)]
    counts = np.bincount(row + 1, minlength=field.size + 1)  # 0: no value
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    top = np.sort(order[:LARGEST])
    lookup = np.full(len(counts), len(top), np.uint8)
    lookup[top] = np.arange(len(top))
    names = _names(part, field, top - 1)
    if len(order) > len(top):
        names.append(f"the other {len(order) - len(top):,} values")
    return Segments(name, tuple(names), coded(lookup[row + 1]))


def _one(bags: Ragged, name: str) -> np.ndarray:
    """The row of the vocabulary, or the bucket, of each entry; -1 where there is none. Shape: int32 (n,)."""
    if bags.offsets is None:
        return bags.values.astype(np.int32)  # of a number's position the bucket
    length = np.diff(bags.offsets)
    if length.max(initial=0) > 1:
        raise ConfigError(
            "a field to measure by must have one value an impression", f"{name!r} has up to {int(length.max())}"
        )
    row = np.full(len(length), -1, np.int32)
    row[length == 1] = bags.values[bags.offsets[:-1][length == 1]]
    return row


def _names(part: Part, field: PlacedField, rows: np.ndarray) -> list[str]:
    """What the rows of a vocabulary stand for; -1: no value, 0: unseen in training."""
    table = part.dataset.vocabulary(field.name)
    special = {-1: "no value", 0: "missing" if field.kind == "number" else "unseen"}
    if field.kind == "number":
        edges = table["edge"].to_pylist()
        ends = [float("-inf"), *edges, float("inf")]
        return [special.get(i) or f"({ends[i - 1]:g}, {ends[i]:g}]" for i in rows.tolist()]
    ids = table["id"]
    return [special.get(i) or (str(ids[i - 1]) if len(ids) else f"bucket {i - 1}") for i in rows.tolist()]


def measure_segments(
    segments: Segments, p: Probabilities, truths: Truths, unclicked_weight: float = 1.0
) -> list[SegmentLine]:
    """A line a segment; empty segments are left out.

    p: "ctr", and with it "cvr" and "ctcvr" where the run knows pCVR.
    An un-clicked impression stands for `unclicked_weight` impressions.
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
