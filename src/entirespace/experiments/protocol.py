"""The paper's protocol (section 3.1, "Metric"): what is measured, on which impressions, with whose pCTR.

    CTR          pCTR on all impressions against y
    CVR          pCVR on clicked impressions against z: the paper's first task
    CTCVR        (pCTR of the reference CTR network) x pCVR on all impressions against y & z: its second task
    CTCVR own    the method's own pCTCVR, where it has one

Of each: exact AUC, AUC inside users, log loss, Brier, normalised entropy, expected calibration error, and the sum of
predictions over the sum of labels. Where the log is simulated, also pCVR against the true pCVR on clicked, un-clicked
and all impressions. A calibrated run is measured with its calibrated probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..dataset.dataset import Part
from ..metrics.auc import auc, grouped_auc
from ..metrics.calibration import Calibration
from ..metrics.metrics import Sums, Undefined, rank_correlation
from ..metrics.segments import Scores, by_field, by_pctr, checked_field, measure_segments, segments_text
from ..progress import SILENT, Progress
from ..runs.outputs import Outputs
from ..runs.run import Run
from ..tables import text_table

TASKS = {
    "ctr": "CTR on all impressions",
    "ctr_reference": "CTR on all impressions, reference CTR network",
    "cvr": "CVR on clicked impressions",
    "ctcvr": "CTCVR on all impressions, pCTR of the reference CTR network",
    "ctcvr_own": "CTCVR on all impressions, the method's own pCTR",
}
WHERE = ("clicked", "un-clicked", "all")


@dataclass(frozen=True)
class Truths:
    """What a part's predictions are held against. Shape: (N,) each."""

    click: np.ndarray  # bool
    conversion: np.ndarray  # bool, y & z
    user: np.ndarray | None  # int32, -1: none
    pcvr: np.ndarray | None  # float32, where the log is simulated

    @staticmethod
    def of(part: Part) -> Truths:
        truth = part.truth()
        named = part.dataset.manifest.roles.user is not None
        return Truths(
            part.column("click"),
            part.column("conversion"),
            part.column("user") if named else None,
            truth[1] if truth else None,
        )


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one run on one part.

    tasks: task -> metric -> value (a number, or Undefined with its reason).
    truth: where -> metric -> value, for simulated logs.
    segments: decile of pCTR, or a field -> a line a segment, of what the run predicts (its own pCTR if it has one).
    calibration: what the probabilities passed through; how: the same in words.
    """

    part: str
    tasks: Mapping[str, Mapping[str, Any]]
    truth: Mapping[str, Mapping[str, Any]]
    segments: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    how: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; {"undefined": reason} where there is no number."""
        found = {"part": self.part, "tasks": plain(self.tasks), "truth": plain(self.truth)}
        if self.segments:
            found |= {"segments": plain(self.segments), "calibration": plain(self.calibration)}
        return found

    def __str__(self) -> str:
        headers = ["task", "impressions", "positives", "AUC %", "AUC in users %", "log loss", "predicted/observed"]
        rows = [
            [
                TASKS[task],
                f"{m['impressions']:,}",
                f"{m['positives']:,}",
                shown(m["auc"], ".2f", 100),
                shown(m["grouped_auc"], ".2f", 100),
                shown(m["log_loss"], ".6f"),
                shown(m["pcoc"], ".4f"),
            ]
            for task, m in self.tasks.items()
        ]
        text = f"{self.part} part" + (f", {self.how}" if self.how else "") + "\n" + text_table(headers, rows)
        headers = ["task", "log loss", "normalised entropy", "Brier", "ECE", "predicted/observed", "95 % interval"]
        rows = [
            [
                TASKS[task],
                shown(m["log_loss"], ".6f"),
                shown(m["normalised_entropy"], ".4f"),
                shown(m["brier"], ".6f"),
                shown(m["ece"], ".6f"),
                shown(m["pcoc"], ".4f"),
                f"{shown(m['pcoc_low'], '.4f')} - {shown(m['pcoc_high'], '.4f')}",
            ]
            for task, m in self.tasks.items()
        ]
        text += "\n\n" + text_table(headers, rows)
        if self.truth:
            headers = ["pCVR against the truth", "rank correlation", "log loss", "least possible", "mean", "true mean"]
            rows = [
                [
                    f"{where} impressions",
                    shown(m["rank_correlation"], ".4f"),
                    shown(m["log_loss"], ".6f"),
                    shown(m["log_loss_of_truth"], ".6f"),
                    shown(m["mean"], ".6f"),
                    shown(m["true_mean"], ".6f"),
                ]
                for where, m in self.truth.items()
            ]
            text += "\n\n" + text_table(headers, rows)
        reasons = {
            str(v) for m in (*self.tasks.values(), *self.truth.values()) for v in m.values() if isinstance(v, Undefined)
        }
        text += "".join(f"\n{reason}" for reason in sorted(reasons))
        return "\n\n".join([text, *(segments_text(by, lines) for by, lines in self.segments.items())])


def evaluate(run: Run, part: Part, progress: Progress = SILENT, by: Sequence[str] = ()) -> Evaluation:
    """Evaluate a run on a part, calibrated if the run is; by decile of pCTR, and by the fields named.

    Raises: RunError where the run has no reference CTR network and needs one. ConfigError for a field that is unknown,
    or has many values an impression.
    """
    for name in by:
        checked_field(part, name)
    calibration = run.calibration
    own = calibration.outputs(run.outputs(part, progress))
    if own.pcvr is None:  # a CTR network alone
        reference_pctr = own.pctr
    else:
        reference_pctr = run.needed_reference().outputs(part, progress).pctr
        assert reference_pctr is not None
        reference_pctr = calibration.of("pctr_reference", reference_pctr)
    truths = Truths.of(part)
    rest = 1 / calibration.negatives_kept
    found = measure(truths, own, reference_pctr, part.name, rest)
    pctr = own.pctr if own.pctr is not None else reference_pctr
    assert pctr is not None
    pctcvr = pctr * own.pcvr if own.pctcvr is None and own.pcvr is not None else own.pctcvr
    scores = Scores(pctr, own.pcvr, pctcvr, truths.click, truths.conversion, truths.pcvr, rest)
    segments = {}
    for segment in (by_pctr(pctr), *(by_field(part, name) for name in by)):
        segments[segment.by] = measure_segments(segment, scores)
    about = {"kind": calibration.kind, "negatives_kept": calibration.negatives_kept, **calibration.fitted_on}
    return replace(found, segments=segments, calibration=about, how=str(calibration))


def measure(
    truths: Truths, own: Outputs, reference_pctr: np.ndarray | None, part: str, rest: float = 1.0
) -> Evaluation:
    """The metrics of what a method and the reference CTR network say. Shape: (N,) each.

    An un-clicked impression stands for `rest` impressions, except in AUC, which is that of the impressions kept.
    """
    y, z, user = truths.click, truths.conversion, truths.user
    tasks: dict[str, dict[str, Any]] = {}
    if own.pctr is not None:
        tasks["ctr"] = _metrics(own.pctr, y, user, y, rest)
    if reference_pctr is not None and reference_pctr is not own.pctr:
        tasks["ctr_reference"] = _metrics(reference_pctr, y, user, y, rest)
    truth: dict[str, dict[str, Any]] = {}
    if own.pcvr is not None:
        assert reference_pctr is not None
        tasks["cvr"] = _metrics(own.pcvr[y], z[y], None if user is None else user[y])
        tasks["ctcvr"] = _metrics(reference_pctr * own.pcvr, z, user, y, rest)
        if own.pctcvr is not None:
            tasks["ctcvr_own"] = _metrics(own.pctcvr, z, user, y, rest)
        if truths.pcvr is not None:
            for where, mask in zip(WHERE, (y, ~y, np.ones(len(y), bool)), strict=True):
                truth[where] = _against_truth(own.pcvr[mask], truths.pcvr[mask])
    return Evaluation(part, tasks, truth)


def _metrics(
    p: np.ndarray, label: np.ndarray, user: np.ndarray | None, click: np.ndarray | None = None, rest: float = 1.0
) -> dict[str, Any]:
    grouped = Undefined("the dataset's roles name no user") if user is None else grouped_auc(p, label, user)
    undefined = isinstance(grouped, Undefined)
    return {
        "impressions": len(p),
        "positives": int(label.sum()),
        "auc": auc(p, label),
        "grouped_auc": grouped if undefined else grouped.value,
        "grouped_auc_share": grouped if undefined else grouped.share,
        **Calibration.of(p, label, click, rest).as_dict(),
    }


def _against_truth(p: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    sums, none = Sums.of(p, true), Undefined("no impressions")
    return {
        "impressions": len(p),
        "rank_correlation": rank_correlation(p, true),
        "log_loss": sums.log_loss(),
        "log_loss_of_truth": Sums.of(true, true).log_loss(),
        "pcoc": sums.pcoc(),
        "mean": sums.predicted / len(p) if len(p) else none,
        "true_mean": sums.observed / len(p) if len(p) else none,
    }


def shown(value: Any, form: str, scale: float = 1) -> str:
    """A number for a table, "undefined" where there is none.

    >>> shown(0.71234, ".2f", 100)
    '71.23'
    """
    return "undefined" if isinstance(value, Undefined) or value is None else format(scale * value, form)


def plain(value: Any) -> Any:
    """Plain values for JSON: {"undefined": reason} where there is no number."""
    if isinstance(value, Undefined):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value
