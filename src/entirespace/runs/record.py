"""run.json: what a run was trained from, how far its training is, and the SHA-256 of its tensor files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..config import Model, digest
from ..errors import RunError
from ..features.history.store import FOLDER as HISTORY
from ..features.history.store import STATE
from ..features.layout import LAYOUT, VOCABULARY, link_layout
from ..folders import LOCK, foreign, listed, remove_own
from ..records import Record, link_or_copy

RUN, METRICS, WEIGHTS, REFERENCE = "run.json", "metrics.jsonl", "weights.safetensors", "reference"
MEMBERS = "members"  # of an ensemble: its runs, each in a folder that is named by its number
CALIBRATION, TENSORBOARD, MLFLOW = "calibration.json", "tensorboard", "mlflow.json"
COEFFICIENTS, VALIDATION = "coefficients.json", "validation.safetensors"
_RECORDS = (RUN, LAYOUT, STATE, METRICS, CALIBRATION, COEFFICIENTS, MLFLOW)
_FOLDERS = (VOCABULARY, HISTORY, TENSORBOARD)
_FILES = (*_RECORDS, WEIGHTS, VALIDATION, LOCK, *(f"{name}/" for name in (*_FOLDERS, MEMBERS)), "")
_RUNS_BELOW = re.compile(rf"(({REFERENCE}|{MEMBERS}/\d+)/)*")
_PATTERN = (
    rf"step-\d+\.safetensors|({VOCABULARY}|{HISTORY})/.+\.parquet|"
    rf"{TENSORBOARD}/events\.out\.tfevents\.[^/]*|\.tmp\w{{6}}"
)
# .tmp: what safetensors writes to before it renames the file


def is_of_a_run(name: str) -> bool:
    """Whether a path in a run's folder, relative and with /, is that of one of the run's files.

    >>> [is_of_a_run(name) for name in ("run.json", "reference/step-20.safetensors.partial", "notes.txt")]
    [True, True, False]
    >>> [is_of_a_run(name) for name in ("members/2/run.json", "members/2/reference/run.json", "members/notes.txt")]
    [True, True, False]
    """
    name = _RUNS_BELOW.sub("", name, count=1).removesuffix(".partial")
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


class Member(Model):
    """A run of an ensemble: its seed, and the SHA-256 of its weights."""

    seed: int
    sha256: str


Stage = Literal["selection", "refit"]
"""Selection: the validation part says how long to train. Refit: training on that part too (`training.refit`)."""


class PositionRecord(Model):
    """`Position` as JSON. JSON has no infinity, so `best` is null before the first validation."""

    epoch: int
    batch: int
    step: int
    best: float | None
    worse: int
    finished: bool
    stage: Stage = "selection"
    passes: float = 0.0


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
    """When finished: the best weights; null for an ensemble, whose members have them."""
    validation: TensorFile | None = None
    """With training.refit, after selection: the scores of the selection model on the validation part (runs/kept.py)."""
    members: tuple[Member, ...] = ()
    """Of an ensemble: the runs in members/, in order. Its record is written when all of them are finished."""
    warnings: tuple[str, ...] = ()
    """What a user of the run must know, as plain sentences; such as a field that may be an outcome."""

    @staticmethod
    def open(folder: Path) -> RunRecord:
        """The record of the run in a folder. Raises: RunError if there is none, or if it is damaged."""
        missing = "there is none: it is not a run's folder, or its training has not begun"
        if (folder / MEMBERS).is_dir():
            missing = "there is none: not all members of the ensemble are trained"
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

    epoch: int = 0  # epochs done in this stage
    batch: int = 0  # batches done in the current epoch
    step: int = 0  # batches done in all epochs of both stages
    best: float = math.inf  # the lowest validation loss so far
    worse: int = 0  # validations since the one with the lowest loss
    finished: bool = False
    stage: Stage = "selection"
    passes: float = 0.0  # over the training part, after which selection had the best weights

    def begin_refit(self) -> None:
        """Go on with the refit, from its first epoch."""
        self.stage, self.epoch, self.batch, self.finished = "refit", 0, 0, False

    def record(self) -> PositionRecord:
        return PositionRecord(**{**asdict(self), "best": self.best if math.isfinite(self.best) else None})

    @staticmethod
    def of(record: PositionRecord) -> Position:
        return Position(**{**record.model_dump(), "best": math.inf if record.best is None else record.best})


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a finished run's weights; of an ensemble, one digest of the weights of all its members.

    Raises: RunError as `RunRecord.finished`.
    """
    return digest_of(RunRecord.finished(folder))


def digest_of(record: RunRecord) -> str:
    """As `weights_sha256`, of the record of a finished run."""
    if record.members:
        return digest([member.sha256 for member in record.members])
    assert record.weights is not None
    return record.weights.sha256


def member_folder(folder: Path, number: int) -> Path:
    """The folder of a member of the ensemble in `folder`, counted from 0."""
    return folder / MEMBERS / str(number)


def members_of(folder: Path, record: RunRecord) -> list[Path]:
    """The folders of the members of an ensemble; empty for a single run.

    Raises: RunError if one of them does not hold the run that was trained as this member.
    """
    folders = [member_folder(folder, number) for number in range(len(record.members))]
    for place, member in zip(folders, record.members, strict=True):
        theirs = RunRecord.finished(place)
        if (weights_sha256(place), theirs.layout) != (member.sha256, record.layout) or theirs.members:
            must, do = "the members of an ensemble must be those that were trained", "Copy the whole folder again"
            raise RunError(must, "it is another run", where=str(place), do=do)
    return folders


def runs_in(folder: Path) -> Iterator[Path]:
    """The folder of a run, and the folders of its reference CTR network and of its members, and of theirs."""
    yield folder
    for below in (folder / REFERENCE, *sorted((folder / MEMBERS).glob("*"))):
        if (below / RUN).exists():
            yield from runs_in(below)


def files_of(folders: Iterable[Path]) -> Iterator[Path]:
    """The files of the runs in these folders, and of the runs below them; other files in the folders are left out."""
    for folder in folders:
        yield from (path for path in folder.rglob("*") if is_of_a_run(path.relative_to(folder).as_posix()))


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
    record = RunRecord.finished(source)
    for number in range(len(record.members)):
        link_run(member_folder(source, number), member_folder(out, number))
    tensors = [file.file for file in (record.weights, record.validation) if file is not None]
    for name in (*tensors, RUN):  # run.json last: where it is, the other files are complete
        link_or_copy(source / name, out / name)
