"""The runs of a comparison: each is trained and evaluated once, one after the other or several at a time.

The name of a run's folder has the digest of its key, which is all that decides its numbers; see `keys`. A run whose
folder has its evaluation is not trained again; an interrupted training is resumed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import Config, digest
from ..dataset.dataset import Dataset
from ..errors import RunError
from ..kernels.threads import threads, use_threads
from ..methods import CTR, Method
from ..metrics.evaluation import Probabilities, Truths
from ..progress import SILENT, Hushed, Progress
from ..records import save_json
from ..reports.comparison import HEADLINES, Check
from ..reports.evaluation import Evaluation
from ..runs.coefficients import Coefficients
from ..runs.record import COEFFICIENTS, METRICS, REFERENCE, RUN, RunRecord
from ..training import Run, fit, reference_ctr
from .keys import SHORT, Key, Keys, differences, reason
from .pool import Pool
from .protocol import evaluated

EVALUATION, SCORES, KEY = "evaluation.json", "test-scores.npy", "key.json"
SMALL = 1 << 22
"""Impressions x fields x runs to train, at most, for which starting processes takes longer than they would save."""
SCORED = {"cvr": "cvr", "ctcvr": "ctcvr", "ctr": "ctr_reference"}
"""The rows of test-scores.npy, in this order, and the task of each: pCVR, (reference pCTR) x pCVR, reference pCTR."""

Found = dict[Method, dict[int, dict[str, Evaluation]]]
"""method -> seed -> part -> evaluation."""


class Runs:
    """Trains and evaluates the runs of a folder. It keeps one reference CTR network in memory, of the latest seed."""

    def __init__(self, data: Dataset, config: Config, folder: Path, keys: Keys) -> None:
        self.data, self.config, self.folder, self.keys = data, config, folder, keys
        self._parts = [part for part in (data.validation, data.test) if len(part)]
        self._truths: dict[str, Truths] = {}
        self._reference: tuple[int, Run, dict[str, np.ndarray]] | None = None

    def there(self, method: Method, seed: int) -> dict[str, Evaluation] | None:
        """The evaluation by part of a run that was made earlier; None if there is none, or no scores with it."""
        if self._reference_sha256(seed) is None:
            return None
        path, scores = (self._of(method, seed) / name for name in (EVALUATION, SCORES))
        if not (path.exists() and scores.exists() and len(np.load(scores, mmap_mode="r")) == len(SCORED)):
            return None
        return {part: Evaluation.model_validate(found) for part, found in json.loads(path.read_bytes()).items()}

    def scores(self, method: Method, seed: int) -> Probabilities:
        """The outputs "cvr", "ctcvr" and "ctr" of the method's run for the test part. Shape: float32 (N,) each."""
        return dict(zip(SCORED, np.load(self._of(method, seed) / SCORES, mmap_mode="r"), strict=True))

    def learning(self, method: Method, seed: int) -> list[Check]:
        """The lines that training wrote to metrics.jsonl, one for each validation."""
        lines = [
            json.loads(line) for line in (self._of(method, seed) / METRICS).read_text(encoding="utf-8").splitlines()
        ]
        return [Check.model_validate(line) for line in lines if "validation_loss" in line]

    def coefficients(self, method: Method, seed: int) -> dict[str, Coefficients]:
        """The coefficients of the logistic baseline of a finished run, by head."""
        stored = json.loads((self._of(method, seed) / COEFFICIENTS).read_bytes())
        return {head: Coefficients.model_validate(one) for head, one in stored.items()}

    def warnings(self, method: Method, seed: int) -> tuple[str, ...]:
        """The warnings of the record of a finished run."""
        return RunRecord.open(self._of(method, seed)).warnings

    def evaluation(self, method: Method, seed: int, progress: Progress = SILENT) -> dict[str, Evaluation]:
        """Train a run and evaluate it, by part. Raises: RunError as `fit`, or if the method predicts no pCVR."""
        reference, pctr = self.reference(seed, progress)
        run = fit(
            method,
            self.data.train,
            seed=seed,
            config=self.config,
            reference=reference,
            out=self._of(method, seed),
            progress=progress,
        )
        found: dict[str, Evaluation] = {}
        for part in self._parts:
            outputs = run.outputs(part, progress).beside(pctr[part.name])
            if outputs.pcvr is None:
                raise RunError("a method must predict pCVR to be compared", f"{method.label} does not")
            if part.name not in self._truths:
                self._truths[part.name] = Truths.of(part)
            found[part.name] = evaluated(outputs, self._truths[part.name], part.name)
            if part is self.data.test:
                np.save(run.folder / SCORES, np.stack([outputs.tasks[task] for task in SCORED.values()]))
        save_json(run.folder / KEY, self._key(method, seed))
        save_json(run.folder / EVALUATION, {part: evaluation.as_dict() for part, evaluation in found.items()})
        return found

    def reference(self, seed: int, progress: Progress = SILENT) -> tuple[Run, dict[str, np.ndarray]]:
        """The reference CTR network of a seed, and its pCTR for each part. Shape: float32 (N,) each."""
        if self._reference is None or self._reference[0] != seed:
            run = reference_ctr(
                self.data.train, seed=seed, config=self.config, out=self._of(CTR(), seed), progress=progress
            )
            self._reference = seed, run, {part.name: run.own_pctr(part, progress) for part in self._parts}
        return self._reference[1], self._reference[2]

    def changed(self, method: Method, seed: int) -> str | None:
        """What has changed since the most similar run of this method and seed; None if there is none.

        A run on another share of the training part is a point of another sampling curve.
        """
        found: list[list[str]] = []
        key = self._key(method, seed)
        for path in self.folder.glob(f"{_name(method, seed)}-*/{KEY}"):
            before = json.loads(path.read_bytes())
            if before["config"]["training"].get("share") == self.config.training.share:
                found.append(differences(before, key))
        least = min(found, key=len, default=[])
        return reason(least) if least else None

    def _of(self, method: Method, seed: int) -> Path:
        return self.folder / f"{_name(method, seed)}-{digest(self._key(method, seed))[:SHORT]}"

    def _key(self, method: Method, seed: int) -> Key:
        """The key of a run. That of the reference CTR network must be trained before those of other methods."""
        sha256 = None if method == CTR() else self._reference_sha256(seed)
        return self.keys.key(method, seed, {} if sha256 is None else {REFERENCE: sha256})

    def _reference_sha256(self, seed: int) -> str | None:
        """The SHA-256 of the weights of the seed's reference CTR network; None before it is trained."""
        folder = self._of(CTR(), seed)
        weights = RunRecord.open(folder).weights if (folder / RUN).exists() else None
        return None if weights is None else weights.sha256


def evaluate_all(
    runs: Runs,
    methods: Sequence[Method],
    seeds: Sequence[int],
    jobs: int = 1,
    progress: Progress = SILENT,
    *,
    processes: bool = True,
) -> Found:
    """Train and evaluate every method from every seed, `jobs` runs at a time.

    Args:
        processes: False: if the log is small, train in this process, one run after the other. Each run has the threads
            that one of the jobs would have, so that the numbers are the same.

    Raises: RunError as `fit`.
    """
    runs.folder.mkdir(parents=True, exist_ok=True)
    found: Found = {method: {} for method in methods}
    missing: list[tuple[Method, int]] = []
    for seed in seeds:
        for method in methods:
            there = runs.there(method, seed)
            if there is None:
                missing.append((method, seed))
            else:
                found[method][seed] = there
    if len(missing) < len(seeds) * len(methods):
        progress.say(f"{len(seeds) * len(methods) - len(missing)} of {len(seeds) * len(methods)} runs exist already")
    _say_why(runs, missing, progress)
    done = 0

    def report(method: Method, seed: int, evaluation: dict[str, Evaluation]) -> None:
        nonlocal done
        done += 1
        found[method][seed] = evaluation
        tasks = evaluation["test"].tasks
        aucs = ", ".join(f"{task.upper()} AUC {_brief(tasks[task].auc)}" for task in HEADLINES if task in tasks)
        progress.say(f"[{done}/{len(missing)}] {method.label}, seed {seed}: {aucs}")

    jobs = min(jobs, len(missing))
    small = len(runs.data.train) * len(runs.data.fields) * len(missing) <= SMALL
    if jobs < 2 or (small and not processes):
        with _threads_of_a_job(jobs):
            for method, seed in missing:
                report(method, seed, runs.evaluation(method, seed, Hushed(progress, f"[{done + 1}/{len(missing)}] ")))
    else:
        _evaluate_in_processes(runs, missing, jobs, progress, report)
    return found


def _evaluate_in_processes(
    runs: Runs,
    missing: Sequence[tuple[Method, int]],
    jobs: int,
    progress: Progress,
    report: Callable[[Method, int, dict[str, Any]], None],
) -> None:
    """Train in separate processes: first the reference CTR network of each seed, then the missing runs in order."""
    with Pool(jobs, partial(_begin, runs.data.path, runs.config, runs.folder, runs.keys, _threads(jobs))) as pool:
        seeds = list(dict.fromkeys(seed for _, seed in missing))
        progress.start("training reference CTR networks", len(seeds), "networks")
        for _ in pool.results(_reference, seeds):
            progress.advance(1)
        progress.done()
        progress.start(f"training {len(missing)} runs, {jobs} at a time", len(missing), "runs")
        for (method, seed), evaluation in pool.results(_evaluation, missing):
            report(method, seed, evaluation)
            progress.advance(1)
        progress.done()


def _name(method: Method, seed: int) -> str:
    """The name of a run's folder, without the digest of its key."""
    name = "".join(c if c.isalnum() or c in "-." else "-" for c in method.label).rstrip("-")
    return f"{name}-seed{seed}"


def _say_why(runs: Runs, missing: Sequence[tuple[Method, int]], progress: Progress) -> None:
    """Say of runs that were trained before, but not for these numbers, what has changed."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for method, seed in missing:
        if (why := runs.changed(method, seed)) is not None:
            seeds.setdefault((why, method.label), []).append(seed)
    methods: dict[tuple[str, str], list[str]] = {}
    for (why, label), some in seeds.items():
        of_seeds = f"seed{'s' if len(some) > 1 else ''} {', '.join(map(str, some))}"
        methods.setdefault((why, of_seeds), []).append(label)
    for (why, of_seeds), labels in methods.items():
        progress.say(f"trained again: {', '.join(labels)} ({of_seeds}), because {why}")


def _threads(jobs: int) -> int:
    """How many threads each of some jobs has."""
    return max(1, torch.get_num_threads() // max(1, jobs))


@contextmanager
def _threads_of_a_job(jobs: int) -> Iterator[None]:
    """Run with as many threads as one of some jobs would have."""
    before = torch.get_num_threads(), threads()
    if jobs > 1:
        count = _threads(jobs)
        torch.set_num_threads(count)
        use_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        use_threads(before[1])


def _begin(path: Path, config: Config, folder: Path, keys: Keys, count: int) -> Runs:
    torch.set_num_threads(count)
    use_threads(count)
    return Runs(Dataset(path), config, folder, keys)


def _reference(runs: Runs, seed: int) -> None:
    runs.reference(seed)


def _evaluation(runs: Runs, task: tuple[Method, int]) -> dict[str, Any]:
    return runs.evaluation(*task)


def _brief(value: Any) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, float) else "undefined"
