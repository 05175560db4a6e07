"""Fit a method: epochs, validation, early stopping and checkpoints. No code here depends on a method's name."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batches.batch import Batch
from ..batches.feed import Feed, sampled
from ..config import Config
from ..dataset.dataset import Part
from ..errors import RunError
from ..features.history.store import read_state
from ..features.layout import Layout, link_layout
from ..kernels.threads import use_threads
from ..methods._method import Method
from ..methods.code import own_code
from ..network.embedding import TORCH
from ..progress import SILENT, Progress
from ..runs.checkpoint import load_tensors, prefixed, save_tensors
from ..runs.coefficients import save_coefficients
from ..runs.record import (
    METRICS,
    REFERENCE,
    RUN,
    WEIGHTS,
    Position,
    RunRecord,
    TensorFile,
    TrainedOn,
    is_of_a_run,
    link_run,
    weights_sha256,
)
from ..runs.run import Run, fields_of
from .base_rates import base_rate_loss, judge, lower
from .folder import alone, completed, cut_metrics, difference, refuse_foreign, same_code
from .learner import Learner
from .needs import REFERENCE_PCTR, check_start, check_training, given_runs, warnings_of
from .precision import configurations, resolved, slow_precision
from .rates import solve_into
from .tracking import UNTRACKED, Tracker

LOG_SECONDS = 5.0  # between two lines of metrics
BASE_RATE_BATCHES = 256  # batches whose base-rate loss is computed, at most, if there is no validation part


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

    Training stops after `patience` validations without a lower loss (the method's own), and returns to the weights with
    the lowest one. The same machine and number of threads give the same weights, bit for bit.

    Args:
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
    label that the method learns from.
    """
    config = config or Config()
    train = train.sampled(config.training.share)
    check_training(method, train, config)
    check_start(method, start)
    given = given_runs(method, train.dataset, reference, given or {})
    reference = given.get(REFERENCE_PCTR, reference)
    keep = None
    if out is None:
        keep = tempfile.TemporaryDirectory(prefix="entirespace-run-")
        out = keep.name
    config = resolved(config, configurations([Path(out)]))
    validation = validation if validation is not None else train.dataset.validation
    trainer = _Trainer(method, train, validation, seed, config, reference, given, start, Path(out), tracker, progress)
    return replace(trainer.run(), keep=keep)


class _Trainer:
    def __init__(
        self,
        method: Method,
        train: Part,
        validation: Part,
        seed: int,
        config: Config,
        reference: Run | None,
        given: Mapping[str, Run],
        start: Run | None,
        out: Path,
        tracker: Tracker,
        progress: Progress,
    ) -> None:
        self._method, self._train, self._validation = method, train, validation
        self._seed, self._config, self._given = seed, config, given
        self._out, self._tracker, self._progress = out, tracker, progress
        self._reference, self._start = reference, start
        data = train.dataset
        self._record = RunRecord(
            method=json.loads(json.dumps(method.spec())),  # as JSON gives it back: tuples become lists
            seed=seed,
            config=config.model_dump(mode="json"),
            dataset=TrainedOn(
                path=str(data.path),
                digest=data.digest,
                impressions=data.train.counts.impressions,
                reached=dict(data.train.counts.reached),
            ),
            layout=data.layout.digest,
            history=None if data.layout.history is None else read_state(data.path).digest,
            reference=None if reference is None else weights_sha256(reference.folder),
            start=None if start is None else weights_sha256(start.folder),
            code=own_code(method, config.network),
            status="training",
            position=Position().record(),
        )
        self._position = Position()
        self._last: TensorFile | None = None  # the checkpoint to resume from
        self._best: TensorFile | None = None  # the best weights so far
        self._train_loss = math.nan  # of the latest epoch

    def run(self) -> Run:
        """Train from the start or from the folder's checkpoint. A finished run is only opened."""
        read = (run for run in (self._start, self._reference, *self._given.values()) if run is not None)
        refuse_foreign(self._out, [self._train.dataset.path, *(run.folder for run in read)])
        with alone(self._out):
            return self._trained()

    def _trained(self) -> Run:
        if not self._prepare_folder():
            return Run.open(self._out, reference=self._reference, method=self._method)
        settings = self._config.training
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
            use_threads(settings.threads)
        if (slow := slow_precision(self._config)) is not None:
            self._progress.warn(slow)
        self._warnings = list(warnings_of(self._train.dataset, self._config))
        data = self._train.dataset
        self._feed = Feed.of(data, fields_of(self._method, data.layout, self._config))
        self._feeds_of_given = {name: Feed.of(data, run.chosen) for name, run in self._given.items()}
        self._learner = Learner(self._method, self._train.dataset, self._config, self._seed, self._start)
        if self._last is not None:
            self._learner.load(load_tensors(self._out / self._last.file, self._last.sha256))
        elif self._start is None:
            solve_into(self._learner.network, self._method, self._train, self._progress)
        self._saved_at = time.monotonic()
        self._per_epoch = self._expected()
        check_every = max(1, math.ceil(self._batches_per_epoch() / settings.checks_per_epoch))
        position = self._position
        self._tracker.start(self._out, self._record.plain(), position.step)
        try:
            if self._last is None and self._learner.network.baseline is not None:
                self._validate()  # the baseline is kept if training does not lower the loss
            if self._method.baseline is not None:  # it is solved: nothing is left to train
                position.finished = True
            while not position.finished and position.epoch < settings.epochs:
                self._epoch(check_every)
            return self._finish()
        finally:
            self._tracker.close(position.finished)

    # One epoch

    def _epoch(self, check_every: int) -> None:
        position, settings = self._position, self._config.training
        what = f"{self._method.label}, seed {self._seed}, epoch {position.epoch + 1}"
        self._progress.start(what, self._per_epoch, "impressions")
        self._progress.advance(min(self._per_epoch, position.batch * settings.batch_size))
        rng = np.random.default_rng([self._seed, position.epoch])
        batches = self._batches(self._train, rng)
        sums, since, logged = np.zeros(2), time.monotonic(), 0
        for batch in islice(batches, position.batch, None):
            loss, scalars = self._step(batch)
            position.batch += 1
            position.step += 1
            sums += loss * len(batch), len(batch)
            logged += len(batch)
            note = f"loss {sums[0] / sums[1]:.5f}"
            self._progress.advance(len(batch), note)
            now = time.monotonic()
            if now - since > LOG_SECONDS:
                self._log({"loss": sums[0] / sums[1], "impressions_per_second": logged / (now - since), **scalars()})
                since, logged = now, 0
            # the validation at the end of the epoch comes below, after the last batch
            if position.batch % check_every == 0 and position.batch < self._batches_per_epoch():
                self._validate()
                if position.finished:
                    break
            elif now - self._saved_at > 60 * settings.checkpoint_minutes:
                self._save()
        else:
            position.epoch, position.batch = position.epoch + 1, 0
            self._validate(sums[0] / sums[1] if sums[1] else math.nan)
        state = f"loss {sums[0] / max(1, sums[1]):.5f}"
        if len(self._validation):
            state += f", validation {self._latest_loss:.5f}" + (" (best so far)" if position.worse == 0 else "")
        self._progress.done(state)

    def _step(self, batch: Batch) -> tuple[float, Any]:
        """One step of both optimizers: the loss of the batch, and a function that computes the method's own scalars."""
        loss, p = self._learner.step(batch)
        value = loss.item()
        if not math.isfinite(value):
            raise RunError(
                "the loss must stay finite",
                f"{value} at step {self._position.step + 1} of {self._method.label}",
                where=str(self._out),
                do=lower(self._config.optimizer.learning_rate),
            )
        return value, lambda: self._method.log(p, batch)

    def _batches(self, part: Part, rng: np.random.Generator) -> Iterator[Batch]:
        settings = self._config.training
        for rows in self._feed.shuffled(
            part,
            self._method.samples,
            batch_size=settings.batch_size,
            shuffle_rows=settings.shuffle_rows,
            block=settings.block,
            rng=rng,
            also={name for run in self._given.values() for name in run.chosen.read},
        ):
            batch = self._feed.batch(rows).to(settings.device)
            given: dict[str, Tensor] = {}
            for name, run in self._given.items():
                feed = self._feeds_of_given[name]  # the run may read other fields than the network that is trained
                read = batch if feed is self._feed else feed.batch(rows).to(settings.device)
                given[name] = run.pctr(read).clone()
            yield replace(batch, given=given) if given else batch

    def _expected(self) -> int:
        """About how many impressions an epoch has, after the method's sampling."""
        rng = np.random.default_rng(self._seed)
        return sum(sampled(self._method.samples(labels, rng)) for labels in self._train.labels())

    def _batches_per_epoch(self) -> int:
        return max(1, math.ceil(self._per_epoch / self._config.training.batch_size))

    # The validation part

    def _validate(self, train_loss: float | None = None) -> None:
        """Compute the validation loss; keep the weights if it is the lowest, stop after `patience` higher ones."""
        position = self._position
        self._learner.finish()
        self._latest_loss = self._validation_loss() if len(self._validation) else math.nan
        self._train_loss = math.nan if train_loss is None else train_loss
        better = not self._latest_loss >= position.best  # without a validation part the last weights are the best
        position.worse = 0 if better else position.worse + 1
        position.best = self._latest_loss if better else position.best
        position.finished = position.worse >= self._config.training.patience
        line = {"validation_loss": self._latest_loss, "best": better}
        self._log(line if train_loss is None else {"loss": train_loss, **line})
        self._save(best=better)

    def _validation_loss(self) -> float:
        """The method's loss on its samples of the validation part; each validation uses the same samples."""
        total, count = 0.0, 0
        for batch in self._batches(self._validation, np.random.default_rng([self._seed, 0])):
            total += self._learner.loss(batch) * len(batch)
            count += len(batch)
        if not count:
            return math.nan
        if not math.isfinite(total):
            raise RunError(
                "the validation loss must be finite",
                f"{total} after step {self._position.step} of {self._method.label}",
                where=str(self._out),
                do=lower(self._config.optimizer.learning_rate),
            )
        return total / count

    def _judged(self) -> Iterator[str]:
        """A warning if the best weights are worse than the base rates. Raises: RunError if training diverged."""
        validated = math.isfinite(self._position.best)
        loss = self._position.best if validated else self._train_loss
        rng = np.random.default_rng([self._seed, 0])
        batches = self._batches(self._validation if validated else self._train, rng)
        rates = self._method.base_rates(self._train.dataset.train.counts)
        base = base_rate_loss(self._method, rates, batches if validated else islice(batches, BASE_RATE_BATCHES))
        part, rate = "validation" if validated else "training", self._config.optimizer.learning_rate
        warning = judge(self._method.label, part, loss, base, rate, self._out)
        if warning is not None:
            yield warning

    # Files

    def _log(self, scalars: dict[str, Any]) -> None:
        position = self._position
        line = {"step": position.step, "epoch": position.epoch, **scalars}
        clean = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in line.items()}
        with (self._out / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")
        numbers = {key: float(value) for key, value in clean.items() if key != "step" and value is not None}
        self._tracker.log(position.step, numbers)

    def _save(self, best: bool = False) -> None:
        """Write weights and the optimizers' state; then run.json, which names them; then remove older ones."""
        name = f"step-{self._position.step}.safetensors"
        last = TensorFile(file=name, sha256=save_tensors(self._out / name, self._learner.state()))
        if best:
            self._best = last
        self._write_record(status="training", last=last, best=self._best)
        self._remove_checkpoints({name, self._best.file if self._best else name})
        self._saved_at = time.monotonic()

    def _remove_checkpoints(self, but: Collection[str] = ()) -> None:
        for path in self._out.glob("step-*.safetensors*"):
            if path.name not in but and is_of_a_run(path.name):
                path.unlink()

    def _write_record(self, **values: Any) -> None:
        record = self._record.model_copy(update={"position": self._position.record(), **values})
        record.write(self._out / RUN)

    def _finish(self) -> Run:
        """Write the best weights, remove the checkpoints, and return the run with these weights."""
        assert self._best is not None
        warnings = (*self._warnings, *self._judged())
        weights = load_tensors(self._out / self._best.file, self._best.sha256, "network.")
        digest = save_tensors(self._out / WEIGHTS, prefixed("network.", weights))
        self._position.finished = True
        save_coefficients(self._out, self._learner.network, self._train.dataset.layout.rates)
        self._write_record(status="finished", weights=TensorFile(file=WEIGHTS, sha256=digest), warnings=warnings)
        for warning in warnings:
            self._progress.warn(warning)
        self._remove_checkpoints()
        network = self._learner.network
        network.load_state_dict(weights)
        network.lookups = TORCH  # as in a run that is opened from its folder
        layout = Layout.open(self._out)
        return Run(self._out, self._method, self._seed, self._config, layout, network, self._reference).ready()

    def _prepare_folder(self) -> bool:
        """Set up a new folder, or read the position of the run in it. Returns False if that run is finished.

        Raises: RunError if the folder holds a run that was trained from something else.
        """
        there = RunRecord.open(self._out) if (self._out / RUN).exists() else None
        if there is None or (there.status == "training" and there.last is None):
            self._write_record()  # from now on the folder is a run's, and the run's files in it may be replaced
            (self._out / METRICS).unlink(missing_ok=True)
            link_layout(self._train.dataset.path, self._out)
            if self._reference is not None:
                link_run(self._reference.folder, self._out / REFERENCE)
            return True
        same_code(there.code, self._record.code, "run", self._out)
        mine, theirs = self._record.plain(), there.plain()
        theirs["config"] = completed(theirs["config"], self._config)
        finished = there.status == "finished"  # a finished run may be opened with another reference
        for key in ("method", "seed", "config", "dataset", "start", *(() if finished else ("reference",))):
            one, other = mine[key], theirs[key]
            if key == "dataset":
                one, other = one["digest"], other["digest"]
            if one != other:
                raise RunError(
                    f"the run in this folder must have the same {key} to be resumed",
                    f"it has {key} {difference(other, one)}",
                    where=str(self._out),
                    do="Choose another folder, or delete this one",
                )
        if finished:
            self._progress.say(f"{self._out}: already finished, nothing to do")
            return False
        self._position, self._last, self._best = Position.of(there.position), there.last, there.best
        cut_metrics(self._out / METRICS, self._position.step)
        self._progress.say(f"{self._out}: resuming at epoch {self._position.epoch + 1}, step {self._position.step:,}")
        return True
