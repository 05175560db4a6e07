"""run.json: what a run was trained from, how far its training is, and the SHA-256 of its tensor files."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..config import Model
from ..errors import RunError
from ..features.history.store import FOLDER as HISTORY
from ..features.history.store import STATE
from ..features.layout import LAYOUT, VOCABULARY, link_layout
from ..folders import LOCK, foreign, listed, remove_own
from ..records import Record, link_or_copy

RUN, METRICS, WEIGHTS, REFERENCE = "run.json", "metrics.jsonl", "weights.safetensors", "reference"
CALIBRATION, TENSORBOARD, MLFLOW = "calibration.json", "tensorboard", "mlflow.json"
COEFFICIENTS = "coefficients.json"
_RECORDS = (RUN, LAYOUT, STATE, METRICS, CALIBRATION, COEFFICIENTS, MLFLOW)
_FOLDERS = (VOCABULARY, HISTORY, TENSORBOARD)
_FILES = (*_RECORDS, WEIGHTS, LOCK, *(f"{name}/" for name in _FOLDERS), "")
_PATTERN = (
    rf"step-\d+\.safetensors|({VOCABULARY}|{HISTORY})/.+\.parquet|"
    rf"{TENSORBOARD}/events\.out\.tfevents\.[^/]*|\.tmp\w{{6}}"
)
# .tmp: what safetensors writes to before it renames the file


def is_of_a_run(name: str) -> bool:
    """Whether a path in a run's folder, relative and with /, is that of one of the run's files.

    >>> [is_of_a_run(name) for name in ("run.json", "reference/step-20.safetensors.partial", "notes.txt")]
    [True, True, False]
    """
    name = name.removeprefix(f"{REFERENCE}/").removesuffix(".partial")
    return name in _FILES or re.fullmatch(_PATTERN, name) is not None


class TensorFile(Model):
    """A file of tensors in the run's folder: its name and its SHA-256."""

    file: str
    sha256: str


class TrainedOn(Model):
    """The dataset that the run was trained on, and the counts of its training part.

    The intercepts of the heads start at the base rates of these counts.
    """

    path: str
    digest: str
    impressions: int
    reached: dict[str, int]


class PositionRecord(Model):
    """`Position` as JSON. JSON has no infinity, so `best` is null before the first validation."""

    epoch: int
    batch: int
    step: int
    best: float | None
    worse: int
    finished: bool


class RunRecord(Record):
    """The content of run.json."""

    FORMAT: ClassVar = "entirespace-run/2"

    method: dict[str, Any]
    """The method's name and parameters. The name module:Class is a user's own class; it is never imported from here."""
    seed: int
    config: dict[str, Any]
    dataset: TrainedOn
    layout: str
    """Digest of the layout in layout.json and vocabulary/."""
    history: str | None = None
    """Digest of the counts of the history with which training began; null if the layout has none."""
    reference: str | None
    """SHA-256 of the weights of the reference CTR network in reference/; null if the run was trained without one."""
    start: str | None
    """SHA-256 of the weights that training started from (`train --from`); null if it started from random weights."""
    code: dict[str, str] | None = None
    """Digests of the user's own code that is trained, by "module:name"; null if there is none. See `methods.code`."""
    status: Literal["training", "finished"]
    position: PositionRecord
    last: TensorFile | None = None
    """While training: weights and the optimizers' state."""
    best: TensorFile | None = None
    """While training: the best weights so far."""
    weights: TensorFile | None = None
    """When finished: the best weights."""
    warnings: tuple[str, ...] = ()
    """What a user of the run must know, as plain sentences; such as a field that may be an outcome."""

    @staticmethod
    def open(folder: Path) -> RunRecord:
        """The record of the run in a folder. Raises: RunError if there is none, or if it is damaged."""
        missing = "there is none: it is not a run's folder, or its training has not begun"
        do = "Train again, or copy the whole folder of the run again"
        must = "a run's files must be as they were written"
        return RunRecord.read(folder / RUN, RunError, what="a run", must=must, missing=missing, do=do)

    @staticmethod
    def finished(folder: Path) -> RunRecord:
        """The record of a finished run. Raises: RunError as `open`, and if the run is not finished."""
        record = RunRecord.open(folder)
        if record.status != "finished":
            raise RunError(
                "a run must be finished",
                f"it is at epoch {record.position.epoch + 1}",
                where=str(folder),
                do="Run the same `entirespace train` command again: it resumes where it stopped",
            )
        return record


@dataclass
class Position:
    """How far training is: with the tensors, all that is needed to resume."""

    epoch: int = 0  # epochs done
    batch: int = 0  # batches done in the current epoch
    step: int = 0  # batches done in all epochs
    best: float = math.inf  # the lowest validation loss so far
    worse: int = 0  # validations since the one with the lowest loss
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
    """Put the files of a finished run into the folder `out`: as hard links, or as copies if links are not possible.

    Raises: RunError if `out` holds other files than those of a run. OSError if a file is missing or `out` cannot be
    written.
    """
    if out.exists() and out.resolve() == source.resolve():
        return
    must = "the folder of the reference CTR network's run must be new, empty or hold a run"
    if out.is_symlink():
        raise RunError(must, "it is a link to another folder", where=str(out), do="Remove the link")
    if strange := foreign(out, is_of_a_run):
        raise RunError(must, f"it holds {listed(strange)}", where=str(out), do="Move them elsewhere")
    remove_own(out, is_of_a_run)
    link_layout(source, out)
    for name in (WEIGHTS, RUN):  # run.json last: where it is, the other files are complete
        link_or_copy(source / name, out / name)
