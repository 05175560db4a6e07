"""The paper's protocol (section 3.1, "Metric"): what is measured, on which impressions, with whose pCTR.

    CTR          pCTR on all impressions against y
    CVR          pCVR on clicked impressions against z: the paper's first task
    CTCVR        (pCTR of the reference CTR network) x pCVR on all impressions against y & z: its second task
    CTCVR own    the method's own pCTCVR, where it has one

Of each: exact AUC, AUC inside users, log loss, and the sum of predictions over the sum of labels. Where the log
is simulated, also pCVR against the true pCVR on clicked, un-clicked and all impressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.dataset import Part
from ..errors import RunError
from ..progress import SILENT, Progress
from ..tables import text_table
from ..training.run import Outputs, Run
from .auc import auc, grouped_auc
from .metrics import Undefined, log_loss, pcoc, rank_correlation, truth_log_loss

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
        named = part.dataset.manifest["roles"]["user"] is not None
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
    """

    part: str
    tasks: Mapping[str, Mapping[str, Any]]
    truth: Mapping[str, Mapping[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; {"undefined": reason} where there is no number."""
        return {"part": self.part, "tasks": _plain(self.tasks), "truth": _plain(self.truth)}

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
        text = f"{self.part} part\n" + text_table(headers, rows)
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
        return text + "".join(f"\n{reason}" for reason in sorted(reasons))


def evaluate(run: Run, part: Part, progress: Progress = SILENT) -> Evaluation:
    """Evaluate a run on a part. Raises: RunError where the run has no reference CTR network and needs one."""
    own = run.outputs(part, progress)
    if own.pcvr is None:  # a CTR network alone
        return measure(Truths.of(part), own, own.pctr, part.name)
    if run.reference is None:
        raise RunError(
            "the CTCVR task needs the reference CTR network's run",
            f"{run.folder} has none",
            do="Train with `entirespace train`, or hand `reference=` to fit",
        )
    return measure(Truths.of(part), own, run.reference.outputs(part, progress).pctr, part.name)


def measure(truths: Truths, own: Outputs, reference_pctr: np.ndarray | None, part: str) -> Evaluation:
    """The metrics of what a method and the reference CTR network say. Shape: (N,) each."""
    y, z, user = truths.click, truths.conversion, truths.user
    tasks: dict[str, dict[str, Any]] = {}
    if own.pctr is not None:
        tasks["ctr"] = _metrics(own.pctr, y, user)
    if reference_pctr is not None and reference_pctr is not own.pctr:
        tasks["ctr_reference"] = _metrics(reference_pctr, y, user)
    truth: dict[str, dict[str, Any]] = {}
    if own.pcvr is not None:
        assert reference_pctr is not None
        tasks["cvr"] = _metrics(own.pcvr[y], z[y], None if user is None else user[y])
        tasks["ctcvr"] = _metrics(reference_pctr * own.pcvr, z, user)
        if own.pctcvr is not None:
            tasks["ctcvr_own"] = _metrics(own.pctcvr, z, user)
        if truths.pcvr is not None:
            for where, mask in zip(WHERE, (y, ~y, np.ones(len(y), bool)), strict=True):
                truth[where] = _against_truth(own.pcvr[mask], truths.pcvr[mask])
    return Evaluation(part, tasks, truth)


def _metrics(p: np.ndarray, label: np.ndarray, user: np.ndarray | None) -> dict[str, Any]:
    grouped = Undefined("the dataset's roles name no user") if user is None else grouped_auc(p, label, user)
    undefined = isinstance(grouped, Undefined)
    return {
        "impressions": len(p),
        "positives": int(label.sum()),
        "auc": auc(p, label),
        "grouped_auc": grouped if undefined else grouped.value,
        "grouped_auc_share": grouped if undefined else grouped.share,
        "log_loss": log_loss(p, label),
        "pcoc": pcoc(p, label),
    }


def _against_truth(p: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    return {
        "impressions": len(p),
        "rank_correlation": rank_correlation(p, true),
        "log_loss": truth_log_loss(p, true),
        "log_loss_of_truth": truth_log_loss(true, true),
        "mean": float(p.mean(dtype=np.float64)) if len(p) else Undefined("no impressions"),
        "true_mean": float(true.mean(dtype=np.float64)) if len(p) else Undefined("no impressions"),
    }


def shown(value: Any, form: str, scale: float = 1) -> str:
    """A number for a table, "undefined" where there is none.

    >>> shown(0.71234, ".2f", 100)
    '71.23'
    """
    return "undefined" if isinstance(value, Undefined) or value is None else format(scale * value, form)


def _plain(value: Any) -> Any:
    if isinstance(value, Undefined):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    return value
