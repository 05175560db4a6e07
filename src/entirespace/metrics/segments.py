"""Where predictions are off: calibration by decile of pCTR, and by the values of any field the user names.

A segment is named where its PCOC differs from 1 by more than chance: by an exact Poisson test, with Holm's correction
over the segments and tasks of its table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import nearest
from ..core.rows import IMPRESSIONS, PlacedField, Ragged
from ..dataset.dataset import Part, from_arrow
from ..dataset.manifest import LINK
from ..errors import ConfigError
from ..tables import text_table
from .calibration import chance, coded, equal_mass_codes, holm, pcoc_interval, sums_by_code
from .metrics import Sums, Undefined

DECILE = "decile of pCTR"
LARGEST = 20  # values of a field with a line of their own; the others share one
SENTENCES = 10  # of a table
TASKS = ("ctr", "cvr", "ctcvr")


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
            "a field to look at by must be one of the dataset's", repr(name), do=nearest(name, list(fields))
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
            "a field to look at by must have one value an impression", f"{name!r} has up to {int(length.max())}"
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


@dataclass(frozen=True)
class Scores:
    """What is held against what. Shape: (N,) each; float32, bool, and the true pCVR where the log is simulated."""

    pctr: np.ndarray
    pcvr: np.ndarray | None
    pctcvr: np.ndarray | None
    click: np.ndarray
    conversion: np.ndarray
    true_pcvr: np.ndarray | None
    rest: float = 1.0  # how many impressions an un-clicked one stands for


def measure_segments(segments: Segments, s: Scores) -> list[dict[str, Any]]:
    """A line a segment, as values (numbers, or Undefined); empty segments are left out."""
    count = len(segments.names)

    def by(p: np.ndarray, y: np.ndarray, rest: float, click: np.ndarray = s.click) -> list[Sums]:
        return sums_by_code(segments.code, p, y, click, rest, count=count)

    clicks = by(s.pctr, s.click, 1.0)
    found: dict[str, list[Sums]] = {"ctr": by(s.pctr, s.click, s.rest)}
    truth: dict[str, list[Sums]] = {}
    if s.pcvr is not None and s.pctcvr is not None:
        found |= {"cvr": by(s.pcvr, s.conversion, 0.0), "ctcvr": by(s.pctcvr, s.conversion, s.rest)}
        if s.true_pcvr is not None:
            truth = {
                "clicked": by(s.pcvr, s.true_pcvr, 0.0),
                "un-clicked": by(s.pcvr, s.true_pcvr, 0.0, ~s.click),
                "all": by(s.pcvr, s.true_pcvr, s.rest),
            }
    lines = []
    for i in range(count):
        if not clicks[i].impressions:
            continue
        line: dict[str, Any] = {
            "name": segments.names[i],
            "impressions": clicks[i].impressions,
            "clicks": int(clicks[i].observed),
            "conversions": int(found["ctcvr"][i].observed) if "ctcvr" in found else None,
            "tasks": {task: _line(found[task][i]) for task in found},
        }
        if truth:
            line["truth"] = {where: _against_truth(sums[i]) for where, sums in truth.items()}
        lines.append(line)
    flags = holm([task["p_value"] for line in lines for task in line["tasks"].values()])
    for task, flag in zip((task for line in lines for task in line["tasks"].values()), flags, strict=True):
        task["miscalibrated"] = flag
    return lines


def _line(sums: Sums) -> dict[str, Any]:
    interval = pcoc_interval(sums)
    return {
        "mean": _mean(sums),
        "pcoc": sums.pcoc(),
        "pcoc_low": interval.low,
        "pcoc_high": interval.high,
        "p_value": chance(sums),
    }


def _against_truth(sums: Sums) -> dict[str, Any]:
    true = sums.observed / sums.impressions if sums.impressions else Undefined("no impressions")
    return {"mean": _mean(sums), "true_mean": true, "pcoc": sums.pcoc()}


def _mean(sums: Sums) -> float | Undefined:
    return sums.predicted / sums.impressions if sums.impressions else Undefined("no impressions")


def sentences(by: str, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The miscalibrated segments in words, those farthest from 1 first."""
    found: list[tuple[float, str]] = []
    for line in lines:
        for task, m in line["tasks"].items():
            if not m["miscalibrated"]:
                continue
            what, pcoc = f"segment {by}={line['name']}: {task.upper()} is predicted", m["pcoc"]
            if not isinstance(pcoc, float):  # Undefined, or as plain values say it
                found.append((np.inf, f"{what} {m['mean']:.3g}, and none is observed"))
            else:
                direction = f"{pcoc:.2f} times too high" if pcoc > 1 else f"too low, {pcoc:.2f} of what is observed"
                interval = f"(interval {m['pcoc_low']:.2f}-{m['pcoc_high']:.2f})"
                found.append((abs(np.log(max(pcoc, 1e-300))), f"{what} {direction} {interval}"))
    found.sort(key=lambda pair: -pair[0])
    told = [sentence for _, sentence in found[:SENTENCES]]
    return told + ([f"and {len(found) - SENTENCES} more"] if len(found) > SENTENCES else [])


def segments_text(by: str, lines: Sequence[Mapping[str, Any]]) -> str:
    """The table of a field's segments, and what it finds, in words."""
    tasks = [task for task in TASKS if lines and task in lines[0]["tasks"]]
    headers = [by, "impressions", "clicks", "conversions", *(f"mean p{task.upper()}" for task in tasks)]
    headers += [f"{task.upper()} predicted/observed" for task in tasks]
    rows = [
        [
            line["name"],
            f"{line['impressions']:,}",
            f"{line['clicks']:,}",
            "-" if line["conversions"] is None else f"{line['conversions']:,}",
            *(_number(line["tasks"][task]["mean"], ".3g") for task in tasks),
            *(_pcoc(line["tasks"][task]) for task in tasks),
        ]
        for line in lines
    ]
    text = text_table(headers, rows)
    if lines and "truth" in lines[0]:
        headers = [by, *(f"pCVR over the true pCVR, {where}" for where in lines[0]["truth"])]
        rows = [[line["name"], *(_number(m["pcoc"], ".3f") for m in line["truth"].values())] for line in lines]
        text += "\n\n" + text_table(headers, rows)
    told = sentences(by, lines)
    return text + "\n" + "\n".join(told or ["no segment differs from 1 by more than chance"])


def _pcoc(m: Mapping[str, Any]) -> str:
    mark = " *" if m.get("miscalibrated") else ""
    if isinstance(m["pcoc"], Undefined):
        return f"above {_number(m['pcoc_low'], '.2f')}{mark}" if not isinstance(m["pcoc_low"], Undefined) else "-"
    return f"{m['pcoc']:.2f} ({m['pcoc_low']:.2f}-{m['pcoc_high']:.2f}){mark}"


def _number(value: Any, form: str) -> str:
    return "-" if isinstance(value, Undefined) else format(value, form)
