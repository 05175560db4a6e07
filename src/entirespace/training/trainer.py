"""One training: epochs, validation, early stopping and checkpoints. No code here depends on a method's name."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..batches.batch import Batch
from ..config import Config
from ..dataset.dataset import Part
from ..dataset.together import Together
from ..errors import RunError
from ..features.history.store import read_state
from ..features.layout import Layout
from ..kernels.threads import use_threads
from ..methods._method import Method
from ..methods.code import own_code
from ..network.embedding import TORCH
from ..progress import Progress
from ..runs.coefficients import save_coefficients
from ..runs.kept import Kept
from ..runs.record import Position, RunRecord, TrainedOn, weights_sha256
from ..runs.run import Run
from .base_rates import base_rate_loss, judge, lower
from .batches import Batches
from .calibrating import calibrated
from .files import Files
from .folder import alone, refuse_foreign
from .learner import Learner
from .needs import warnings_of
from .precision import slow_precision
from .rates import solve_into
from .tracking import Tracker
from .watch import NAMES, Watch, Watched, watched

LOG_SECONDS = 5.0  # between two lines of metrics
BASE_RATE_BATCHES = 256  # batches whose base-rate loss is computed, at most, if there is no validation part


class Trainer:
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
        self._tracker, self._progress = tracker, progress
        self._reference, self._start = reference, start
        data = train.dataset
        record = RunRecord(
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
        self._files, self._out = Files(out, record, tracker), out
        self._train_loss = math.nan  # of the latest epoch

    @property
    def _position(self) -> Position:
        return self._files.position

    def run(self) -> Run:
        """Train from the start or from the folder's checkpoint. A finished run is only opened."""
        read = (run for run in (self._start, self._reference, *self._given.values()) if run is not None)
        refuse_foreign(self._out, [self._train.dataset.path, *(run.folder for run in read)])
        with alone(self._out):
            return self._trained()

    def _trained(self) -> Run:
        data, settings = self._train.dataset, self._config.training
        if not self._files.begin(data, self._reference, self._config, self._progress):
            return Run.open(self._out, reference=self._reference, method=self._method)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
            use_threads(settings.threads)
        if (slow := slow_precision(self._config)) is not None:
            self._progress.warn(slow)
        self._warnings = list(warnings_of(data, self._config, self._validation))
        self._batches = Batches(self._method, data, self._config, self._given)
        self._tracker.start(self._out, self._files.record.plain(), self._position.step)
        try:
            if self._position.stage == "selection":
                self._select()
                if settings.refit:
                    self._keep()
            if settings.refit:
                self._refit()
            return self._finish()
        finally:
            self._tracker.close(self._position.finished)

    # The two stages

    def _select(self) -> None:
        """Train on the training part, until the validation part says stop."""
        position, settings = self._position, self._config.training
        what = watched(self._method, self._config)
        self._watched: Watched = what
        self._watch: Watch | None = None
        if what != "own" and len(self._validation):
            self._watch = Watch(what, self._method, self._validation, self._batches.feed, self._reference)
        resumed = self._begin(self._train)
        if not resumed and self._learner.network.baseline is not None:
            self._validate()  # the baseline is kept if training does not lower the loss
        if self._method.baseline is not None:  # it is solved: nothing is left to train
            position.finished = True
        while not position.finished and position.epoch < settings.epochs:
            self._epoch()

    def _keep(self) -> None:
        """End the selection: keep the scores of its best weights, the passes that they had seen, and the warnings."""
        run = self._best_run()
        warnings = (*self._warnings, *self._judged())
        kept = Kept.of(run.validation_scores(self._validation, self._progress), self._validation, self._out)
        self._files.begin_refit(kept.save(self._out), warnings)

    def _refit(self) -> None:
        """Train on the training and the validation part, from the same initial weights, as many passes as were best."""
        share = self._validation.share * self._config.training.share
        position = self._position
        self._begin(Together(self._train, self._validation.sampled(share)))
        whole = math.floor(position.passes)
        rest = round((position.passes - whole) * self._batches_per_epoch)
        while position.epoch < whole:
            self._epoch()
        if position.epoch == whole and rest:
            self._epoch(rest)
        if self._files.record.last is None:  # nothing is trained beside the baseline
            self._save(best=True)

    def _begin(self, part: Part | Together) -> bool:
        """Start on a part from the initial weights, or from the checkpoint. Returns True if there was one."""
        self._part = part
        self._learner = Learner(self._method, part.dataset, self._config, self._seed, self._start)
        last = self._files.last()
        if last is not None:
            self._learner.load(last)
        elif self._start is None:
            solve_into(self._learner.network, self._method, part, self._progress)
        self._saved_at = time.monotonic()
        self._per_epoch = self._batches.samples(part, self._seed)
        self._batches_per_epoch = self._batches.number(self._per_epoch)
        return last is not None

    # One epoch

    def _epoch(self, most: int | None = None) -> None:
        """Go on with the current epoch, to its end or to its first `most` batches."""
        position, settings, selecting = self._position, self._config.training, self._position.stage == "selection"
        stage = "" if selecting else f" {position.stage},"
        size = min(self._per_epoch, most * settings.batch_size) if most else self._per_epoch
        what = f"{self._method.label}, seed {self._seed},{stage} epoch {position.epoch + 1}"
        self._progress.start(what, size, "impressions")
        self._progress.advance(min(size, position.batch * settings.batch_size))
        rng = np.random.default_rng([self._seed, position.epoch])
        batches = self._batches.of(self._part, rng)
        check_every = max(1, math.ceil(self._batches_per_epoch / settings.checks_per_epoch))
        sums, since, logged = np.zeros(2), time.monotonic(), 0
        for batch in islice(batches, position.batch, most):
            loss, scalars = self._step(batch)
            position.batch += 1
            position.step += 1
            sums += loss * len(batch), len(batch)
            logged += len(batch)
            note = f"loss {sums[0] / sums[1]:.5f}"
            self._progress.advance(len(batch), note)
            now = time.monotonic()
            if now - since > LOG_SECONDS:
                rate = logged / (now - since)
                self._files.log({"loss": sums[0] / sums[1], "impressions_per_second": rate, **scalars()})
                since, logged = now, 0
            # the validation at the end of the epoch comes below, after the last batch
            if selecting and position.batch % check_every == 0 and position.batch < self._batches_per_epoch:
                self._validate()
                if position.finished:
                    break
            elif now - self._saved_at > 60 * settings.checkpoint_minutes:
                self._save()
        else:
            position.epoch, position.batch = position.epoch + 1, 0
            loss = sums[0] / sums[1] if sums[1] else math.nan
            if selecting:
                self._validate(loss)
            else:
                self._end_of_refit_epoch(loss)
        state = f"loss {sums[0] / max(1, sums[1]):.5f}"
        if selecting and len(self._validation):
            best = " (best so far)" if position.worse == 0 else ""
            state += f", {NAMES[self._watched]} {self._latest_loss:.5f}{best}"
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

    # The validation part

    def _validate(self, train_loss: float | None = None) -> None:
        """Compute the validation loss; keep the weights if it is the lowest, stop after `patience` higher ones."""
        position = self._position
        self._learner.finish()
        self._latest_loss = self._validation_loss() if len(self._validation) else math.nan
        self._train_loss = math.nan if train_loss is None else train_loss
        better = not self._latest_loss >= position.best  # without a validation part the last weights are the best
        position.worse = 0 if better else position.worse + 1
        if better:
            position.best = self._latest_loss
            position.passes = position.epoch + position.batch / self._batches_per_epoch
        position.finished = position.worse >= self._config.training.patience
        line: dict[str, Any] = {"validation_loss": self._latest_loss, "best": better}
        if self._watched != "own":
            line["watch"] = self._watched
        self._files.log(line if train_loss is None else {"loss": train_loss, **line})
        self._save(best=better)

    def _end_of_refit_epoch(self, train_loss: float) -> None:
        self._learner.finish()
        self._train_loss = train_loss
        self._files.log({"loss": train_loss})
        self._save(best=True)

    def _validation_loss(self) -> float:
        """What is watched on the validation part. Raises: RunError if it is not finite."""
        loss = self._own_loss() if self._watch is None else self._watch.loss(self._learner.network)
        if math.isinf(loss):
            raise RunError(
                "the validation loss must be finite",
                f"{loss} after step {self._position.step} of {self._method.label}",
                where=str(self._out),
                do=lower(self._config.optimizer.learning_rate),
            )
        return loss

    def _own_loss(self) -> float:
        """The method's loss on its samples of the validation part; each validation uses the same samples.

        NaN: it has no samples there. Inf: the loss is not finite.
        """
        total, count = 0.0, 0
        for batch in self._batches.of(self._validation, np.random.default_rng([self._seed, 0])):
            total += self._learner.loss(batch) * len(batch)
            count += len(batch)
        if not count:
            return math.nan
        return total / count if math.isfinite(total) else math.inf

    def _judged(self) -> Iterator[str]:
        """A warning if the network is worse by the method's own loss than the base rates.

        It is judged on the validation part, if selection is done, otherwise by the loss of the last epoch.
        Raises: RunError if training diverged.
        """
        validated = self._position.stage == "selection" and math.isfinite(self._position.best)
        loss = self._train_loss
        if validated:
            loss = self._position.best if self._watch is None else self._own_loss()
        rng = np.random.default_rng([self._seed, 0])
        batches = self._batches.of(self._validation if validated else self._part, rng)
        rates = self._method.base_rates(self._train.dataset.train.counts)
        base = base_rate_loss(self._method, rates, batches if validated else islice(batches, BASE_RATE_BATCHES))
        part, rate = "validation" if validated else "training", self._config.optimizer.learning_rate
        warning = judge(self._method.label, part, loss, base, rate, self._out)
        if warning is not None:
            yield warning

    # Files

    def _save(self, best: bool = False) -> None:
        self._files.save(self._learner.state(), best)
        self._saved_at = time.monotonic()

    def _best_run(self) -> Run:
        """The run with the best weights, which the learner's network gets, too."""
        network = self._learner.network
        network.load_state_dict(self._files.best())
        layout = Layout.open(self._out)
        network.lookups = TORCH  # as in a run that is opened from its folder
        run = Run(self._out, self._method, self._seed, self._config, layout, network.eval(), self._reference)
        return replace(run, kept=self._files.record.validation)

    def _finish(self) -> Run:
        """Write the best weights, remove the checkpoints, and return the run with these weights."""
        run = self._best_run()
        before = self._files.record.warnings if self._position.stage == "refit" else self._warnings
        warnings = (*before, *self._judged())
        save_coefficients(self._out, run.network, run.layout.rates)
        data, part = self._train.dataset, self._validation
        found = calibrated(self._config, data, part, lambda: run.validation_scores(part, self._progress))
        self._files.finish(run.network.state_dict(), warnings, found)
        for warning in warnings:
            self._progress.warn(warning)
        return run.ready()
