"""The paper's protocol (section 3.1, "Metric"): what is measured, on which impressions, with whose pCTR.

    CTR          pCTR on all impressions against y
    CVR          pCVR on clicked impressions against z: the paper's first task
    CTCVR        (pCTR of the reference CTR network) x pCVR on all impressions against y & z: its second task
    CTCVR own    the method's own pCTCVR, where it has one

A run scores a part once (`Run.scores`); the metrics read those outputs (`metrics.evaluation`); the report prints the
metrics (`reports.evaluation`). A calibrated run is measured with its calibrated probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..dataset.dataset import Part
from ..metrics.evaluation import Truths, measure, measure_against_truth
from ..metrics.segments import by_field, by_pctr, checked_field, measure_segments
from ..progress import SILENT, Progress
from ..reports.evaluation import Evaluation
from ..runs.outputs import Outputs
from ..runs.run import Run


def evaluate(run: Run, part: Part, progress: Progress = SILENT, by: Sequence[str] = ()) -> Evaluation:
    """Evaluate a run on a part, calibrated if the run is; by decile of pCTR, and by the fields named.

    Raises: RunError where the run has no reference CTR network and needs one. ConfigError for a field that is unknown,
    or has many values an impression.
    """
    for name in by:
        checked_field(part, name)
    outputs, truths, calibration = run.scores(part, progress), Truths.of(part), run.calibration
    unclicked_weight, bid = 1 / calibration.negatives_kept, outputs.bid()
    segments = [by_pctr(bid["ctr"]), *(by_field(part, name) for name in by)]
    return evaluated(outputs, truths, part.name, unclicked_weight).model_copy(
        update={
            "segments": {s.by: measure_segments(s, bid, truths, unclicked_weight) for s in segments},
            "calibration": {
                "kind": calibration.kind,
                "negatives_kept": calibration.negatives_kept,
                **calibration.fitted_on,
            },
            "how": str(calibration),
        }
    )


def evaluated(outputs: Outputs, truths: Truths, part: str, unclicked_weight: float = 1.0) -> Evaluation:
    """The metrics of what a run says of a part; an un-clicked impression stands for `unclicked_weight` impressions."""
    tasks = outputs.tasks
    return Evaluation(
        part=part,
        tasks=measure(tasks, truths, unclicked_weight),
        truth=measure_against_truth(tasks["cvr"], truths) if "cvr" in tasks else {},
    )
