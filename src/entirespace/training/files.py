"""The files of a run while it is trained: its record, its checkpoints and metrics.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..config import Config
from ..dataset.dataset import Dataset
from ..errors import RunError
from ..features.layout import link_layout
from ..progress import Progress
from ..runs.calibration import Calibration, save_calibration
from ..runs.checkpoint import load_tensors, prefixed, save_tensors
from ..runs.record import (
    CALIBRATION,
    METRICS,
    REFERENCE,
    RUN,
    WEIGHTS,
    Position,
    RunRecord,
    TensorFile,
    is_of_a_run,
    link_run,
)
from ..runs.run import Run
from .folder import completed, cut_metrics, difference, must_be_single, same_code
from .tracking import Tracker


class Files:
    """The files of one run. run.json is written after the tensors that it names, so it always names complete files.

    Args:
        record: the record of a training that begins.
        tracker: receives the scalars that metrics.jsonl receives.

    Attributes:
        out: the run's folder.
        position: how far training is.
        record: what run.json holds, beside the position.
    """

    def __init__(self, out: Path, record: RunRecord, tracker: Tracker) -> None:
        self.out, self.record, self.position = out, record, Position()
        self._tracker = tracker

    def begin(self, data: Dataset, reference: Run | None, config: Config, progress: Progress) -> bool:
        """Set up a new folder, or read the record of the run in it. Returns False if that run is finished.

        Raises: RunError if the folder holds a run that was trained from something else.
        """
        there = RunRecord.open(self.out) if (self.out / RUN).exists() else None
        if there is None or (there.status == "training" and there.last is None and there.validation is None):
            self.write()  # from now on the folder is a run's, and the run's files in it may be replaced
            for name in (METRICS, CALIBRATION):
                (self.out / name).unlink(missing_ok=True)
            link_layout(data.path, self.out)
            if reference is not None:
                link_run(reference.folder, self.out / REFERENCE)
            return True
        self._must_be_same(there, config)
        if there.status == "finished":
            progress.say(f"{self.out}: already finished, nothing to do")
            return False
        kept = {name: getattr(there, name) for name in ("last", "best", "validation", "warnings")}
        self.record, self.position = self.record.model_copy(update=kept), Position.of(there.position)
        cut_metrics(self.out / METRICS, self.position.step)
        stage = "" if self.position.stage == "selection" else f"{self.position.stage}, "
        at = f"{stage}epoch {self.position.epoch + 1}, step {self.position.step:,}"
        progress.say(f"{self.out}: resuming at {at}")
        return True

    def _must_be_same(self, there: RunRecord, config: Config) -> None:
        must_be_single(there, self.out)
        same_code(there.code, self.record.code, "run", self.out)
        mine, theirs = self.record.plain(), there.plain()
        theirs["config"] = completed(theirs["config"], config)
        finished = there.status == "finished"  # a finished run may be opened with another reference
        for key in ("method", "seed", "config", "dataset", "start", *(() if finished else ("reference",))):
            one, other = mine[key], theirs[key]
            if key == "dataset":
                one, other = one["digest"], other["digest"]
            if one != other:
                raise RunError(
                    f"the run in this folder must have the same {key} to be resumed",
                    f"it has {key} {difference(other, one)}",
                    where=str(self.out),
                    do="Choose another folder, or delete this one",
                )

    def log(self, scalars: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl, and give its numbers to the tracker."""
        position = self.position
        line = {"step": position.step, "epoch": position.epoch, **scalars}
        if position.stage != "selection":
            line["stage"] = position.stage
        clean = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in line.items()}
        with (self.out / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")
        numbers = {k: float(v) for k, v in clean.items() if k != "step" and isinstance(v, int | float)}
        self._tracker.log(position.step, numbers)

    def save(self, state: dict[str, Tensor], best: bool) -> None:
        """Write weights and the optimizers' state; then run.json, which names them; then remove older ones."""
        name = f"step-{self.position.step}.safetensors"
        last = TensorFile(file=name, sha256=save_tensors(self.out / name, state))
        self.write(last=last, best=last if best else self.record.best)
        self._remove_checkpoints({name, self.record.best.file if self.record.best else name})

    def write(self, **values: Any) -> None:
        """Write run.json, with these values in place of those it had."""
        self.record = self.record.model_copy(update={"position": self.position.record(), **values})
        self.record.write(self.out / RUN)

    def last(self) -> dict[str, Tensor] | None:
        """The newest checkpoint; None if there is none. Raises: RunError as `load_tensors`."""
        last = self.record.last
        return None if last is None else load_tensors(self.out / last.file, last.sha256)

    def best(self) -> dict[str, Tensor]:
        """The best weights so far. Raises: RunError as `load_tensors`."""
        best = self.record.best
        assert best is not None
        return load_tensors(self.out / best.file, best.sha256, "network.")

    def begin_refit(self, validation: TensorFile, warnings: tuple[str, ...]) -> None:
        """Selection is done: only its kept scores and its position remain."""
        self.position.begin_refit()
        self.write(last=None, best=None, validation=validation, warnings=warnings)
        self._remove_checkpoints()

    def finish(self, weights: dict[str, Tensor], warnings: tuple[str, ...], calibration: Calibration | None) -> None:
        """Write the weights of the finished run and its calibration, then its record; then remove the checkpoints."""
        digest = save_tensors(self.out / WEIGHTS, prefixed("network.", weights))
        if calibration is not None:
            reference = self.record.reference
            save_calibration(self.out, calibration, [digest] if reference is None else [digest, reference])
        self.position.finished = True
        file = TensorFile(file=WEIGHTS, sha256=digest)
        self.write(status="finished", weights=file, warnings=warnings, last=None, best=None)
        self._remove_checkpoints()

    def _remove_checkpoints(self, but: Collection[str] = ()) -> None:
        for path in self.out.glob("step-*.safetensors*"):
            if path.name not in but and is_of_a_run(path.name):
                path.unlink()
