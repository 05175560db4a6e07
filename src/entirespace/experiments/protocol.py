"""The paper's protocol (section 3.1, "Metric"): the tasks, their impressions and the pCTR that they use.

    CTR          pCTR on all impressions against y
    CVR          pCVR on clicked impressions against z: the paper's first task
    CTCVR        (pCTR of the reference CTR network) x pCVR on all impressions against y & z: its second task
    CTCVR own    the method's own pCTCVR on all impressions, if it has one

A run scores a part once (`Run.scores`). The metrics are computed from these scores (`metrics.evaluation`), and the
report prints the metrics (`reports.evaluation`). Of a calibrated run, the calibrated probabilities are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dataset.dataset import Part
from ..features.history.store import read_state
from ..metrics.evaluation import Truths, measure, measure_against_truth
from ..metrics.segments import by_field, by_pctr, checked_field, measure_segments
from ..progress import SILENT, Progress
from ..reports.evaluation import Evaluation
from ..runs.outputs import Outputs
from ..runs.run import Run

SELECTED = ", scores of the selection model, which has not learned from this part"
"""Said of the validation part of a run with training.refit."""


def evaluate(run: Run, part: Part, progress: Progress = SILENT, by: Sequence[str] = ()) -> Evaluation:
    """Evaluate a run on a part.

    Args:
        by: fields; calibration is measured by decile of pCTR, and also by the values of these fields.

    Raises: RunError for another layout, or if the run needs a reference CTR network and has none. ConfigError for a
    field that is unknown or has several values per impression.
    """
    for name in by:
        checked_field(part, name)
    outputs, truths, calibration = run.scores(part, progress), Truths.of(part), run.calibration
    unclicked_weight, bid = 1 / calibration.negatives_kept, outputs.bid()
    segments = [by_pctr(bid["ctr"]), *(by_field(part, name) for name in by)]
    beside: dict[str, Any] = {"coefficients": run.coefficients} if run.coefficients else {}
    if run.read & {*run.layout.rates}:
        counts = "frozen" if part.online is None else "online"
        beside["history"] = {"counts": counts, "state": read_state(part.dataset.path).digest}
    return evaluated(outputs, truths, part.name, unclicked_weight).model_copy(
        update={
            **beside,
            "segments": {s.by: measure_segments(s, bid, truths, unclicked_weight) for s in segments},
            "calibration": {
                "kind": calibration.kind,
                "negatives_kept": calibration.negatives_kept,
                **calibration.fitted_on,
                **calibration.why(),
            },
            "notes": [*calibration.sentences(), *calibration.moved],
            "how": f"{calibration}{SELECTED if run.learned_from(part) else ''}",
        }
    )


def evaluated(outputs: Outputs, truths: Truths, part: str, unclicked_weight: float = 1.0) -> Evaluation:
    """The metrics of a run's outputs for a part.

    Args:
        part: the name of the part.
        unclicked_weight: the weight of an un-clicked impression: 1 / r if the log kept the share r of them.

    Raises: ValueError for outputs that are NaN or negative.
    """
    tasks = outputs.tasks
    return Evaluation(
        part=part,
        tasks=measure(tasks, truths, unclicked_weight),
        truth=measure_against_truth(tasks["cvr"], truths) if "cvr" in tasks else {},
    )
