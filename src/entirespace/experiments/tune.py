"""Tuning: a study searches hyper-parameters by trials on the validation part. The test part is never read.

STUDY/study.json    what is tuned: method, configuration, seed, dataset, objective, space
STUDY/study.db      optuna's own record (SQLite)
STUDY/reference/    the run of the reference CTR network, if the method or the objective needs it
STUDY/trials/       the run of the current trial, deleted once it is measured
STUDY/trials.json   every trial and its objective
STUDY/best.toml     the best configuration, for `train --config`
STUDY/report.md     the table of trials, with the plot in trials.svg

The random numbers of a trial depend on the seed and on its place in the study only, and an interrupted trial is
trained again with the same values. So an interrupted study that is resumed gives the same result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Config, digest, dump
from ..dataset.dataset import Dataset
from ..dotted import flat
from ..errors import ConfigError, DataError, RunError
from ..features.chosen import ChosenFields
from ..folders import remove_own
from ..methods import Method
from ..methods.code import own_code
from ..metrics.auc import auc
from ..metrics.losses import log_loss
from ..metrics.values import Undefined
from ..places import Rule
from ..progress import SILENT, Hushed, Progress
from ..records import read_json, save_json
from ..reports.study import OBJECTIVES, Objective, Trial, Tuned, in_one_line, markdown, plot
from ..runs.record import METRICS, REFERENCE, is_of_a_run
from ..training import Run, fit, reference_ctr
from ..training.folder import completed, same_code
from ..training.precision import resolved, slow_precision
from ..training.watch import needs_reference
from .space import Space

if TYPE_CHECKING:
    import optuna

FORMAT = "entirespace-study/1"
FOLDER = Rule("a study's folder must be new, empty or hold a study", RunError)
STUDY, DATABASE, TRIALS, BEST = "study.json", "study.db", "trials.json", "best.toml"
AGAIN = "again"  # attribute of a trial: the number of the interrupted trial that it repeats
VALUES, REASON = "values", "reason"  # attributes of a trial: its settings by name, and why it failed


def tune(
    space: Space,
    data: Dataset,
    *,
    trials: int = 20,
    objective: Objective = "ctcvr_auc",
    seed: int = 0,
    out: Path | str,
    progress: Progress = SILENT,
) -> Tuned:
    """Search a method's settings for the best objective on the validation part.

    The first trial uses the configuration as given, if the space contains it. A bad trial is pruned: from its second
    validation on, it is stopped if its lowest validation loss is above the median loss of the other trials at the same
    validation. Pruning begins after five complete trials. There is none if parameters of the method are searched,
    because they change the loss.

    Args:
        trials: the number of trials in all, including those of earlier calls with the same folder.
        objective: "ctcvr_auc", the AUC of pCTR x pCVR on all impressions, with the method's own pCTR where it has
            one, or that of the reference CTR network; or "cvr_log_loss", the log loss of pCVR on clicked impressions.
        out: the study's folder. Only one process at a time may work on it.

    Raises: ConfigError if optuna is not installed. DataError if the validation part has no conversions, or no clicks
    without one. RunError if the folder holds another study or other files, or if every trial failed.
    """
    optuna = _optuna()
    FOLDER.begun(Path(out), lambda folder: (folder / STUDY).exists(), f"{STUDY}.partial".__eq__, [data.path])
    begun = [_read(Path(out) / STUDY).get("config", {})] if (Path(out) / STUDY).exists() else []
    space = replace(space, config=resolved(space.config, begun))
    if (slow := slow_precision(space.config)) is not None:
        progress.warn(slow)
    study = _Study(space, data, objective, seed, Path(out), progress)
    with FOLDER.alone(Path(out)):
        study.open(optuna)
        while (done := study.done()) < trials:
            study.trial(optuna, done, trials)
        return study.report()


class _Study:
    def __init__(
        self, space: Space, data: Dataset, objective: Objective, seed: int, out: Path, progress: Progress
    ) -> None:
        self._space, self._data, self._seed = space, data, seed
        self._objective: Objective = objective
        self._out, self._progress = out, progress
        self._up = OBJECTIVES[objective].up
        self._sign = -1 if self._up else 1  # makes a loss point in the same direction as the objective
        for config in space.ends():  # before a study is begun
            ChosenFields.of(data.layout.fields, config.network, str(data.path))
        part = data.validation
        if not 0 < part.counts["conversion"] < part.counts["click"]:
            came = str(part.counts)
            raise DataError(
                "the validation part must have clicks with and clicks without a conversion",
                came,
                where=str(data.path),
                do="Prepare the dataset with a larger validation part",
            )
        self._click, self._conversion = part.column("click"), part.column("conversion")

    def open(self, optuna: Any) -> None:
        """Begin the study, or resume that of the folder. Raises: RunError for another study."""
        about = {
            "format": FORMAT,
            "method": self._space.method.spec(),
            "config": self._space.config.model_dump(mode="json"),
            "code": own_code(self._space.method, self._space.config.network),
            "seed": self._seed,
            "dataset": {"path": str(self._data.path), "digest": self._data.digest},
            "objective": self._objective,
            "space": self._space.as_dict(),
        }
        file = self._out / STUDY
        if file.exists():
            there = _read(file)
            there["config"] = completed(there.get("config", {}), self._space.config)
            same_code(there.pop("code", None), about["code"], "study", self._out)
            self._same(flat(there), flat(json.loads(json.dumps({k: v for k, v in about.items() if k != "code"}))))
        else:
            save_json(file, about)
        self._about = {key: value for key, value in about.items() if key != "code"}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study: optuna.Study = optuna.create_study(
            storage=f"sqlite:///{(self._out / DATABASE).resolve()}",
            study_name="entirespace",
            direction="maximize" if self._up else "minimize",
            load_if_exists=True,
        )
        if not self._study.trials:
            self._study.enqueue_trial(self._space.coded(self._space.start()))
        for trial in self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):  # interrupted
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            self._study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})
        if self.done():
            self._progress.say(f"{self._out}: resuming after {self.done()} trials")

    def _same(self, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
        for name in sorted({*theirs, *mine} - {"dataset.path"}):
            if theirs.get(name) != mine.get(name):
                raise RunError(
                    "the study in this folder must have the same settings to be resumed",
                    f"it has {name} = {theirs.get(name)}, not {mine.get(name)}",
                    where=str(self._out),
                    do="Choose another folder, or delete this one",
                )

    def _ended(self) -> list[optuna.trial.FrozenTrial]:
        """The finished trials, in order, without the interrupted ones that were repeated."""
        trials = self._study.trials
        again = {trial.user_attrs.get(AGAIN) for trial in trials}
        return [trial for trial in trials if trial.state.is_finished() and trial.number not in again]

    def done(self) -> int:
        """How many trials are finished."""
        return len(self._ended())

    def trial(self, optuna: Any, place: int, of: int) -> None:
        """Train and measure one trial, the `place`-th (from 0) `of` all."""
        self._study.sampler = optuna.samplers.TPESampler(seed=int(digest([self._seed, place])[:8], 16))
        self._study.pruner = (
            optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
            if self._space.comparable
            else optuna.pruners.NopPruner()
        )
        trial: optuna.Trial = self._study.ask()
        values = self._space.suggest(trial)
        trial.set_user_attr(VALUES, values)
        method, config = self._space.at(values)
        folder = self._out / "trials" / digest([method.spec(), config.model_dump(mode="json")])[:12]
        name, state = f"[{place + 1}/{of}]", optuna.trial.TrialState
        self._read_reference(method, config)  # outside the try block: an error there is not a failure of the trial
        try:
            value = self._measure(
                self._train(optuna, trial, method, config, folder, Hushed(self._progress, f"{name} "))
            )
        except optuna.TrialPruned:
            self._study.tell(trial, state=state.PRUNED)
        except RunError as error:  # training diverged, or the objective is undefined
            trial.set_user_attr(REASON, error.came)
            self._study.tell(trial, state=state.FAIL)
        else:
            self._study.tell(trial, value)
        remove_own(folder, is_of_a_run)
        study = self._write()
        self._progress.say(f"{name} {in_one_line(study.trials[-1], study)}")

    def _train(
        self, optuna: Any, trial: optuna.Trial, method: Method, config: Config, folder: Path, progress: Progress
    ) -> Run:
        return fit(
            method,
            self._data.train,
            seed=self._seed,
            config=of_a_trial(config),
            reference=self._reference if method.reads or needs_reference(method, config) else None,
            out=folder,
            tracker=_Pruner(optuna, trial, self._sign),
            progress=progress,
        )

    def _read_reference(self, method: Method, config: Config) -> None:
        if self._needs_reference_pctr(method):
            _ = self._reference_pctr
        elif method.reads or needs_reference(method, config):
            _ = self._reference

    def _needs_reference_pctr(self, method: Method) -> bool:
        return self._objective == "ctcvr_auc" and "pctr" not in method.predicts

    def _measure(self, run: Run) -> float:
        """The objective of a trained run. Raises: RunError if it is not a finite number."""
        outputs = run.outputs(self._data.validation)
        if self._needs_reference_pctr(run.method):
            outputs = outputs.beside(self._reference_pctr)
        bid = outputs.bid()
        if self._objective == "cvr_log_loss":
            value = log_loss(bid["cvr"][self._click], self._conversion[self._click])
        else:
            value = auc(bid["ctcvr"], self._conversion)
        if isinstance(value, Undefined) or not np.isfinite(value):
            raise RunError(f"the {OBJECTIVES[self._objective].name} must be a finite number", str(value))
        return value

    @cached_property
    def _reference(self) -> Run:
        """The reference CTR network, trained once for the study, with the configuration as given."""
        return reference_ctr(
            self._data.train,
            seed=self._seed,
            config=of_a_trial(self._space.config),
            out=self._out / REFERENCE,
            progress=self._progress,
        )

    @cached_property
    def _reference_pctr(self) -> np.ndarray:
        """The reference network's pCTR for the validation part. Shape: float32 (N,)."""
        return self._reference.own_pctr(self._data.validation)

    def _write(self) -> Tuned:
        """Write trials.json, and best.toml if there is a best trial."""
        trials = [
            Trial.model_validate(
                {
                    "trial": place,
                    "state": trial.state.name.lower(),
                    "objective": trial.value if trial.state.name == "COMPLETE" else None,  # else: a loss
                    "values": trial.user_attrs.get(VALUES, {}),
                    "validation_losses": [self._sign * loss for _, loss in sorted(trial.intermediate_values.items())],
                    "seconds": trial.duration.total_seconds() if trial.duration else None,
                    "reason": trial.user_attrs.get(REASON),
                }
            )
            for place, trial in enumerate(self._ended(), 1)
        ]
        whole = [(trial.objective, trial) for trial in trials if trial.objective is not None]
        best = (max if self._up else min)(whole, key=lambda pair: pair[0])[1] if whole else None
        study = Tuned.model_validate({**self._about, "trials": trials, "best": best and best.trial})
        save_json(self._out / TRIALS, study.as_dict())
        if best is not None:
            method, config = self._space.at(best.values)
            aside = self._out / (BEST + ".partial")
            aside.write_text(dump(config, method.spec()), encoding="utf-8")
            aside.rename(self._out / BEST)
        return study

    def report(self) -> Tuned:
        """Write the report of the study and return its record. Raises: RunError if no trial has an objective."""
        study = self._write()
        if study.best is None:
            raise RunError(
                "at least one trial must end with an objective",
                f"{len(study.trials)} failed; the last one: {study.trials[-1].reason}",
                where=str(self._out),
                do="Search lower learning rates, or use another objective",
            )
        for folder in self._out.glob("trials/*/"):
            remove_own(folder, is_of_a_run)
        with suppress(OSError):  # there is none, or it holds other files
            (self._out / "trials").rmdir()
        plot(study, self._out / "trials.svg")
        (self._out / "report.md").write_text(markdown(study), encoding="utf-8")
        return study


class _Pruner:
    """A tracker that reports each validation loss to the trial, and ends training if the trial is pruned."""

    def __init__(self, optuna: Any, trial: optuna.Trial, sign: int) -> None:
        self._optuna, self._trial, self._sign, self._validations = optuna, trial, sign, 0

    def start(self, run: Path, about: Mapping[str, Any], step: int) -> None:
        if step:  # a resumed training: report its earlier validation losses to this trial
            for line in (run / METRICS).read_text(encoding="utf-8").splitlines():
                self.log(step, json.loads(line))

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        if scalars.get("validation_loss") is None:
            return
        self._validations += 1  # trials are compared by validation, not by step: their batch sizes may differ
        self._trial.report(self._sign * scalars["validation_loss"], self._validations)
        if self._trial.should_prune():
            raise self._optuna.TrialPruned

    def close(self, finished: bool) -> None: ...


def of_a_trial(config: Config) -> Config:
    """The same configuration without what comes after selection: a trial is measured by its uncalibrated selection
    model."""
    training = config.training.model_copy(update={"refit": False, "calibrate": "none"})
    return config.model_copy(update={"training": training})


def _read(file: Path) -> dict[str, Any]:
    """The content of study.json. Raises: RunError if the file is not that of a study."""
    do = "Name another folder for a new study"
    content = read_json(file, RunError, must=f"{STUDY} must be as it was written", do=do)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        FOLDER.refuse(file.parent, f"its {file.name} is not that of a study", do)
    return content


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "tuning needs the package optuna", "it is not installed", do="pip install 'entirespace[tune]'"
        ) from error
    return optuna
