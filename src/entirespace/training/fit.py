"""Fit a method on a training part, and return the run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..config import Config
from ..dataset.dataset import Dataset, Part
from ..methods._method import Method
from ..presets import preset
from ..progress import SILENT, Progress
from ..runs.run import Run
from .calibrating import reads_validation
from .needs import REFERENCE_PCTR, check_start, check_training, given_runs
from .precision import configurations, resolved
from .tracking import UNTRACKED, Tracker
from .trainer import Trainer
from .watch import needs_reference


def fit(
    method: Method,
    train: Part,
    *,
    seed: int = 0,
    config: Config | None = None,
    validation: Part | None = None,
    reference: Run | None = None,
    given: Mapping[str, Run] | None = None,
    start: Run | None = None,
    out: Path | str | None = None,
    tracker: Tracker = UNTRACKED,
    progress: Progress = SILENT,
) -> Run:
    """Fit a method on a training part.

    Training stops after `patience` validations without a lower loss (the method's own, or what `training.watch` names),
    and returns to the weights with the lowest one. With `training.refit` it then starts again, on the training and the
    validation part, and makes as many passes as those weights had seen; their scores of the validation part are kept
    (`Run.validation_scores`). With `training.calibrate` calibrators are fitted to the scores of that part. The same
    machine and number of threads give the same weights and calibrators, bit for bit.

    Args:
        config: absent: the preset `best` for the dataset; `entirespace.preset` gives the presets.
        seed: of the initial weights, the sampling and the order of the impressions.
        validation: absent: the validation part of the dataset. If it is empty, training makes all epochs.
        reference: the run of the reference CTR network. UNBIAS learns from it; a method without a pCTR needs it to
            predict pCTCVR. If the method reads "reference_pctr", this is short for given={"reference_pctr": run}.
        given: the runs whose pCTR the method reads, by the names in `Method.reads`.
        start: a run whose weights training starts from, mapped by field and id, such as yesterday's model for today's
            log. The rows of new ids, and Adam's moments, start as in any training. The logistic baseline of that run
            is kept too, because its network was trained beside it.
        out: the run's folder; an interrupted training in it is resumed. Absent: a temporary one, deleted with the run.
        tracker: receives the scalars that metrics.jsonl receives. An error that it raises ends training.

    Raises: ConfigError if `given` lacks what the method reads, or has more. RunError if the folder holds another run,
    other files or what is read, if another process trains in it, or if training diverges: the loss is no longer finite,
    or the best one is more than ten times that of predicting the base rates. DataError if the training part lacks a
    label that the method learns from, or the validation part what `training.watch` or `training.refit` needs.
    """
    config = config or _best(method, train.dataset, reference or (given or {}).get(REFERENCE_PCTR))
    train = train.sampled(config.training.share)
    validation = validation if validation is not None else train.dataset.validation
    check_training(method, train, config, validation)
    check_start(method, start)
    given = given_runs(method, train.dataset, reference, given or {})
    reference = given.get(REFERENCE_PCTR, reference)
    if reference is not None and (reads_validation(config) or needs_reference(method, config)):
        reference.impressions(validation)
        reference.must_keep(validation)
    keep = None
    if out is None:
        keep = tempfile.TemporaryDirectory(prefix="entirespace-run-")
        out = keep.name
    config = resolved(config, configurations([Path(out)]))
    trainer = Trainer(method, train, validation, seed, config, reference, given, start, Path(out), tracker, progress)
    return replace(trainer.run(), keep=keep)


def _best(method: Method, data: Dataset, reference: Run | None) -> Config:
    """The preset `best`. Without a reference CTR network, a method without a pCTR watches its pCVR on clicks."""
    config = preset("best", data)
    if reference is None and needs_reference(method, config):
        config = config.model_copy(update={"training": config.training.model_copy(update={"watch": "cvr"})})
    return config
