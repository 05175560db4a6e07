"""The evaluation of one run on one part: its metrics, and the report of `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from ..metrics.evaluation import TaskValues, TruthValues
from ..metrics.segments import SegmentLine, SegmentTask
from ..metrics.values import Undefined, Values, shown
from ..runs.coefficients import Coefficients
from ..tables import text_table
from ..text import printable
from .coefficients import coefficients_section
from .sections import text as sections_text

TASKS = {
    "ctr": "CTR on all impressions",
    "ctr_reference": "CTR on all impressions, reference CTR network",
    "cvr": "CVR on clicked impressions",
    "ctcvr": "CTCVR on all impressions, pCTR of the reference CTR network",
    "ctcvr_own": "CTCVR on all impressions, the method's own pCTR",
}
SENTENCES = 10  # how many miscalibrated segments of one field a report describes


class Evaluation(Values):
    """The metrics of one run on one part; `str()` is the report."""

    part: str
    tasks: dict[str, TaskValues]
    """By task."""
    truth: dict[str, TruthValues]
    """pCVR against the true pCVR, if the log gives it, on clicked, un-clicked and all impressions."""
    segments: dict[str, list[SegmentLine]] = Field(default_factory=dict)
    """The calibration of `Outputs.bid` in each segment, by the name of the field or "decile of pCTR"."""
    calibration: dict[str, Any] = Field(default_factory=dict)
    """How the probabilities were calibrated: kind, negatives_kept, the part that it was fitted on, and with the kind
    "auto" what was chosen and why."""
    coefficients: dict[str, Coefficients] = Field(default_factory=dict)
    """The logistic baseline of the run by head, "ctr" and "cvr"; empty for a run without one."""
    history: dict[str, str] = Field(default_factory=dict)
    """Of a run that reads rates: counts, "frozen" or "online" (see `Part.with_online_rates`), and state, the digest of
    the dataset's counts."""
    how: str = Field(default="", exclude=True)
    """How the probabilities were calibrated, in words."""
    notes: list[str] = Field(default_factory=list, exclude=True)
    """Why they were calibrated so, and warnings on it."""

    def __str__(self) -> str:
        title = f"{self.part} part" + (f", {self.how}" if self.how else "")
        if self.history:
            title += f", counts of the history {self.history['counts']} ({self.history['state'][:12]})"
        paragraphs = ["\n".join([title, *self.notes, _ranking(self)]), _calibration(self)]
        if self.truth:
            paragraphs.append(_truth(self))
        measured = (dict(m) for m in (*self.tasks.values(), *self.truth.values()))
        reasons = {str(v) for values in measured for v in values.values() if isinstance(v, Undefined)}
        paragraphs[-1] += "".join(f"\n{reason}" for reason in sorted(reasons))
        paragraphs += [segments_text(by, lines) for by, lines in self.segments.items()]
        if self.coefficients:
            paragraphs.append(sections_text([coefficients_section(self.coefficients, "Logistic baseline")]))
        return "\n\n".join(paragraphs)


def _ranking(evaluation: Evaluation) -> str:
    headers = ["task", "impressions", "positives", "AUC %", "AUC inside users %", "log loss", "predicted/observed"]
    rows = [
        [
            TASKS[task],
            shown(m.impressions, ","),
            shown(m.positives, ","),
            shown(m.auc, ".2f", 100),
            shown(m.grouped_auc, ".2f", 100),
            shown(m.log_loss, ".6f"),
            shown(m.pcoc, ".4f"),
        ]
        for task, m in evaluation.tasks.items()
    ]
    return text_table(headers, rows)


def _calibration(evaluation: Evaluation) -> str:
    headers = ["task", "log loss", "normalised entropy", "Brier", "ECE", "predicted/observed", "95 % interval"]
    rows = [
        [
            TASKS[task],
            shown(m.log_loss, ".6f"),
            shown(m.normalised_entropy, ".4f"),
            shown(m.brier, ".6f"),
            shown(m.ece, ".6f"),
            shown(m.pcoc, ".4f"),
            f"{shown(m.pcoc_low, '.4f')} - {shown(m.pcoc_high, '.4f')}",
        ]
        for task, m in evaluation.tasks.items()
    ]
    return text_table(headers, rows)


def _truth(evaluation: Evaluation) -> str:
    headers = ["pCVR against the true pCVR", "rank correlation", "log loss", "lowest possible", "mean", "true mean"]
    rows = [
        [
            f"{where} impressions",
            shown(m.rank_correlation, ".4f"),
            shown(m.log_loss, ".6f"),
            shown(m.log_loss_of_truth, ".6f"),
            shown(m.mean, ".6f"),
            shown(m.true_mean, ".6f"),
        ]
        for where, m in evaluation.truth.items()
    ]
    return text_table(headers, rows)


def sentences(by: str, lines: Sequence[SegmentLine]) -> list[str]:
    """The miscalibrated segments in words, in the order of their distance from 1; at most SENTENCES of them."""
    found: list[tuple[float, str]] = []
    for line in lines:
        for task, m in line.tasks.items():
            if not m.miscalibrated:
                continue
            what = f"segment {by}={printable(line.name, keep='')}: {task.upper()} is predicted"
            if isinstance(m.pcoc, Undefined):
                found.append((np.inf, f"{what} {shown(m.mean, '.3g')}, and none is observed"))
            else:
                high = m.pcoc > 1
                direction = f"{m.pcoc:.2f} times too high" if high else f"too low, {m.pcoc:.2f} of what is observed"
                interval = f"(interval {shown(m.pcoc_low, '.2f')}-{shown(m.pcoc_high, '.2f')})"
                found.append((abs(np.log(max(m.pcoc, 1e-300))), f"{what} {direction} {interval}"))
    found.sort(key=lambda pair: -pair[0])
    first = [sentence for _, sentence in found[:SENTENCES]]
    return first + ([f"and {len(found) - SENTENCES} more"] if len(found) > SENTENCES else [])


def segments_text(by: str, lines: Sequence[SegmentLine]) -> str:
    """A table of the segments of a field, and its miscalibrated segments in words."""
    tasks = list(lines[0].tasks) if lines else []
    headers = [by, "impressions", "clicks", "conversions", *(f"mean p{task.upper()}" for task in tasks)]
    headers += [f"{task.upper()} predicted/observed" for task in tasks]
    rows = [
        [
            line.name,
            f"{line.impressions:,}",
            f"{line.clicks:,}",
            shown(line.conversions, ",", absent="-"),
            *(shown(line.tasks[task].mean, ".3g", absent="-") for task in tasks),
            *(_pcoc(line.tasks[task]) for task in tasks),
        ]
        for line in lines
    ]
    text = text_table(headers, rows)
    if lines and lines[0].truth:
        headers = [by, *(f"pCVR / true pCVR, {where}" for where in lines[0].truth)]
        rows = [[line.name, *(shown(m.pcoc, ".3f", absent="-") for m in line.truth.values())] for line in lines]
        text += "\n\n" + text_table(headers, rows)
    return text + "\n" + "\n".join(sentences(by, lines) or ["no segment differs from 1 significantly"])


def _pcoc(m: SegmentTask) -> str:
    mark = " *" if m.miscalibrated else ""
    if isinstance(m.pcoc, Undefined):
        return "-" if isinstance(m.pcoc_low, Undefined) else f"above {m.pcoc_low:.2f}{mark}"
    return f"{m.pcoc:.2f} ({shown(m.pcoc_low, '.2f')}-{shown(m.pcoc_high, '.2f')}){mark}"
