"""run.json: what a run was made from, how far it has come, and what its tensor files must be."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..config import Model
from ..errors import RunError
from ..features.layout import LAYOUT, VOCABULARY, link_layout
from ..records import Record

RUN, METRICS, WEIGHTS, REFERENCE = "run.json", "metrics.jsonl", "weights.safetensors", "reference"


class TensorFile(Model):
    """A file of tensors in the run's folder."""

    file: str
    sha256: str


class TrainedOn(Model):
    """The dataset of the training part, and the counts that the intercepts started from."""

    path: str
    digest: str
    impressions: int
    reached: dict[str, int]


class PositionRecord(Model):
    """`Position` in JSON, which has no infinity: no best loss yet is null."""

    epoch: int
    batch: int
    step: int
    best: float | None
    worse: int
    finished: bool


class RunRecord(Record):
    """run.json."""

    FORMAT: ClassVar = "entirespace-run/2"

    method: dict[str, Any]
    """The method as plain values. A name module:Class is a class of one's own, which is never imported from here."""
    seed: int
    config: dict[str, Any]
    dataset: TrainedOn
    layout: str
    """Digest of the layout in layout.json and vocabulary/."""
    reference: str | None
    """SHA-256 of the weights of the reference CTR network in reference/; null: the run was trained without one."""
    start: str | None
    """SHA-256 of the weights that training started from (`train --from`); null: fresh ones."""
    status: Literal["training", "finished"]
    position: PositionRecord
    last: TensorFile | None = None
    """While training: weights and the optimizers' state."""
    best: TensorFile | None = None
    """While training: the best weights so far."""
    weights: TensorFile | None = None
    """When finished: the best weights."""

    @staticmethod
    def open(folder: Path) -> RunRecord:
        """The record of the run in a folder. Raises: RunError where there is none, or it is damaged."""
        missing = "there is none: this is another folder, or training has not come to its first checkpoint"
        do = "Train again, or copy the whole folder of the run again"
        must = "a run's files must be as they were written"
        return RunRecord.read(folder / RUN, RunError, what="a run", must=must, missing=missing, do=do)

    @staticmethod
    def finished(folder: Path) -> RunRecord:
        """The record of a finished run. Raises: RunError as `open`, and where it is not finished."""
        record = RunRecord.open(folder)
        if record.status != "finished":
            raise RunError(
                "a run must be finished",
                f"it is at epoch {record.position.epoch + 1}",
                where=str(folder),
                do="Give the same `entirespace train` command again: it goes on where it stopped",
            )
        return record


@dataclass
class Position:
    """How far training has come: all that a resumed run needs beside tensors."""

    epoch: int = 0  # epochs done
    batch: int = 0  # batches done in the present epoch
    step: int = 0  # batches done in all
    best: float = math.inf  # the lowest validation loss
    worse: int = 0  # validations since then
    finished: bool = False

    def record(self) -> PositionRecord:
        return PositionRecord(**{**asdict(self), "best": self.best if math.isfinite(self.best) else None})

    @staticmethod
    def of(record: PositionRecord) -> Position:
        return Position(**{**record.model_dump(), "best": math.inf if record.best is None else record.best})


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a finished run's weights. Raises: RunError as `RunRecord.finished`."""
    weights = RunRecord.finished(folder).weights
    assert weights is not None
    return weights.sha256


def link_run(source: Path, out: Path) -> None:
    """Give another folder what a finished run is read from, by hard links where the file system has them."""
    if out.exists() and out.resolve() == source.resolve():
        return
    shutil.rmtree(out, ignore_errors=True)
    link_layout(source, out)
    for name in (WEIGHTS, RUN):  # run.json last: it says that the others are there
        try:
            os.link(source / name, out / name)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source / name, out / name)


PARTS_OF_A_RUN = (LAYOUT, VOCABULARY, REFERENCE, METRICS)
"""What may stand in a run's folder before its first checkpoint."""
