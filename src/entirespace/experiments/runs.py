"""The runs of a comparison, and the scores of rivals and blends beside them: each is made once, or several at a time.

The name of a run's folder has the digest of its key, which is all that decides its numbers; see `keys`. A run whose
folder has its evaluation is not trained again; an interrupted training is resumed.

With training.calibrate the test part is measured after calibration: every row alike, rivals and blends too, by
calibrators from its own validation scores, and the pCTR of the reference CTR network by its own, which is the same for
every row of a seed. All that is chosen, such as the best of a family or the weights of a blend, is chosen by
uncalibrated scores, because calibrated ones have learned from the validation part.
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
from ..reports.comparison import BID, HEADLINES, Check
from ..reports.evaluation import Evaluation
from ..rivals import BLEND, BlendWeights
from ..rivals.scores import RivalScores
from ..rivals.typed import Entry, leaves
from ..runs.calibration import Calibration, choose_all
from ..runs.coefficients import Coefficients
from ..runs.outputs import Outputs
from ..runs.record import COEFFICIENTS, METRICS, REFERENCE, RUN, RunRecord
from ..training import Run, fit, reference_ctr
from .keys import SHORT, Key, Keys, differences, reason
from .pool import Pool
from .protocol import evaluated

EVALUATION, SCORES, BLENDED, KEY = "evaluation.json", "test-scores.npy", "blend.json", "key.json"
SMALL = 1 << 22
"""Impressions x fields x runs to train, at most, for which starting processes takes longer than they would save."""
SCORED = ("cvr", "ctcvr", "ctr", BID)
"""The rows of test-scores.npy, in this order: pCVR, (reference pCTR) x pCVR, reference pCTR, and pCTCVR for bids."""

Found = dict[Entry, dict[int, dict[str, Evaluation]]]
"""entry -> seed -> part -> evaluation."""


class Runs:
    """Trains and evaluates the runs of a folder. It keeps one reference CTR network in memory, of the latest seed."""

    def __init__(self, data: Dataset, config: Config, folder: Path, keys: Keys) -> None:
        self.data, self.config, self.folder, self.keys = data, config, folder, keys
        self._parts = [part for part in (data.validation, data.test) if len(part)]
        self._truths: dict[str, Truths] = {}
        self._reference: tuple[int, Run, dict[str, np.ndarray]] | None = None

    def there(self, entry: Entry, seed: int) -> dict[str, Evaluation] | None:
        """The evaluation by part of a run that was made earlier; None if there is none, or no scores with it."""
        if self._reference_sha256(seed) is None:
            return None
        path, scores = (self._of(entry, seed) / name for name in (EVALUATION, SCORES))
        if not (path.exists() and scores.exists() and len(np.load(scores, mmap_mode="r")) == len(SCORED)):
            return None
        return {part: Evaluation.model_validate(found) for part, found in json.loads(path.read_bytes()).items()}

    def scores(self, entry: Entry, seed: int) -> Probabilities:
        """The outputs "cvr", "ctcvr", "ctr" and "bid" of an entry for the test part. Shape: float32 (N,) each."""
        return dict(zip(SCORED, np.load(self._of(entry, seed) / SCORES, mmap_mode="r"), strict=True))

    def learning(self, entry: Entry, seed: int) -> list[Check]:
        """The lines that training wrote to metrics.jsonl, one for each validation; none of a rival or a blend."""
        path = self._of(entry, seed) / METRICS
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        return [Check.model_validate(line) for line in lines if "validation_loss" in line]

    def weights(self, blend: BLEND, seed: int) -> dict[str, float]:
        """The weight of the first part of a finished blend, by head."""
        return json.loads((self._of(blend, seed) / BLENDED).read_bytes())

    def coefficients(self, method: Method, seed: int) -> dict[str, Coefficients]:
        """The coefficients of the logistic baseline of a finished run, by head."""
        stored = json.loads((self._of(method, seed) / COEFFICIENTS).read_bytes())
        return {head: Coefficients.model_validate(one) for head, one in stored.items()}

    def warnings(self, entry: Entry, seed: int) -> tuple[str, ...]:
        """The warnings of the record of a finished run; none of a rival or a blend."""
        return RunRecord.open(self._of(entry, seed)).warnings if isinstance(entry, Method) else ()

    def evaluation(self, entry: Entry, seed: int, progress: Progress = SILENT) -> dict[str, Evaluation]:
        """Train and evaluate, by part. Raises: RunError as `fit`, or if a method predicts no pCVR."""
        by_part = self._outputs(entry, seed, progress)
        folder, found = self._of(entry, seed), dict[str, Evaluation]()
        if any(outputs.pcvr is None for outputs in by_part.values()):
            raise RunError("a method must predict pCVR to be compared", f"{entry.label} does not")
        calibration = self._calibration(by_part)
        for name, uncalibrated in by_part.items():
            is_test = name == self.data.test.name
            outputs = calibration.apply(uncalibrated) if is_test else uncalibrated
            found[name] = evaluated(outputs, self._truths_of(name), name)
            if is_test:
                if calibration.choices:
                    about = {"kind": calibration.kind, **calibration.why()}
                    found[name] = found[name].model_copy(update={"calibration": about})
                tasks = outputs.tasks
                scores = [tasks["cvr"], tasks["ctcvr"], tasks["ctr_reference"], outputs.bid()["ctcvr"]]
                np.save(folder / SCORES, np.stack(scores))
        save_json(folder / KEY, self._key(entry, seed))
        save_json(folder / EVALUATION, {part: evaluation.as_dict() for part, evaluation in found.items()})
        return found

    def _outputs(self, entry: Entry, seed: int, progress: Progress) -> dict[str, Outputs]:
        """The uncalibrated outputs by part, with the pCTR of the reference CTR network beside them; it trains what is
        not there."""
        if isinstance(entry, BLEND):
            return self._blended(entry, seed, progress)
        reference, pctr = self.reference(seed, progress)
        folder, config = self._of(entry, seed), self.config
        if isinstance(entry, Method):
            train = self.data.train
            run = fit(entry, train, seed=seed, config=config, reference=reference, out=folder, progress=progress)
            return {part.name: run.own_scores(part, progress).beside(pctr[part.name]) for part in self._parts}
        scores = RivalScores.there(folder)
        if scores is None:
            scores = RivalScores.of(entry.fit(self.data, seed=seed, config=config, progress=progress), self.data.test)
            scores.save(folder)
        return {part.name: scores.by_part[part.name].beside(pctr[part.name]) for part in self._parts}

    def _blended(self, blend: BLEND, seed: int, progress: Progress) -> dict[str, Outputs]:
        """The outputs of a blend by part. Its weights are fitted on the validation part, and kept in its folder."""
        first, second = (self._outputs(part, seed, progress) for part in blend.parts)
        name = self.data.validation.name
        truths = self._truths_of(name)
        weights = BlendWeights.fit(first[name], second[name], truths.click, truths.conversion)
        folder = self._of(blend, seed)
        folder.mkdir(exist_ok=True)
        save_json(folder / BLENDED, weights.as_dict())
        return {part: weights.of(first[part], second[part]) for part in first}

    def _calibration(self, by_part: dict[str, Outputs]) -> Calibration:
        """The calibrators that the validation scores choose, with training.calibrate; else none."""
        name = self.data.validation.name
        if self.config.training.calibrate == "none" or name not in by_part:
            return Calibration()
        truths = self._truths_of(name)
        return choose_all(by_part[name], truths.click, truths.conversion)

    def _truths_of(self, name: str) -> Truths:
        if name not in self._truths:
            self._truths[name] = Truths.of(next(part for part in self._parts if part.name == name))
        return self._truths[name]

    def reference(self, seed: int, progress: Progress = SILENT) -> tuple[Run, dict[str, np.ndarray]]:
        """The reference CTR network of a seed, and its pCTR for each part. Shape: float32 (N,) each."""
        if self._reference is None or self._reference[0] != seed:
            run = reference_ctr(
                self.data.train, seed=seed, config=self.config, out=self._of(CTR(), seed), progress=progress
            )
            self._reference = seed, run, {part.name: run.own_pctr(part, progress) for part in self._parts}
        return self._reference[1], self._reference[2]

    def changed(self, entry: Entry, seed: int) -> str | None:
        """What has changed since the most similar run of this method and seed; None if there is none.

        A run on another share of the training part is a point of another sampling curve.
        """
        found: list[list[str]] = []
        key = self._key(entry, seed)
        for path in self.folder.glob(f"{_name(entry, seed)}-*/{KEY}"):
            before = json.loads(path.read_bytes())
            if before["config"]["training"].get("share") == self.config.training.share:
                found.append(differences(before, key))
        least = min(found, key=len, default=[])
        return reason(least) if least else None

    def _of(self, entry: Entry, seed: int) -> Path:
        return self.folder / f"{_name(entry, seed)}-{digest(self._key(entry, seed))[:SHORT]}"

    def _key(self, entry: Entry, seed: int) -> Key:
        """The key of an entry. The reference CTR network must be trained before those of all others are known."""
        parts = entry.parts if isinstance(entry, BLEND) else ()
        members = {part.label: digest(self._key(part, seed)) for part in parts}
        if entry != CTR() and (sha256 := self._reference_sha256(seed)) is not None:
            members[REFERENCE] = sha256
        return self.keys.key(entry, seed, members)

    def _reference_sha256(self, seed: int) -> str | None:
        """The SHA-256 of the weights of the seed's reference CTR network; None before it is trained."""
        folder = self._of(CTR(), seed)
        weights = RunRecord.open(folder).weights if (folder / RUN).exists() else None
        return None if weights is None else weights.sha256


def evaluate_all(
    runs: Runs,
    entries: Sequence[Entry],
    seeds: Sequence[int],
    jobs: int = 1,
    progress: Progress = SILENT,
    *,
    processes: bool = True,
) -> Found:
    """Train and evaluate every method and rival from every seed, `jobs` of them at a time; then the blends of them.

    Args:
        processes: False: if the log is small, train in this process, one run after the other. Each run has the threads
            that one of the jobs would have, so that the numbers are the same.

    Raises: RunError as `fit`.
    """
    blends = [entry for entry in entries if isinstance(entry, BLEND)]
    others = list(dict.fromkeys(leaf for entry in entries for leaf in leaves(entry)))
    found: Found = {}
    for some in (others, blends):  # a blend reads the scores of its parts
        if some:
            found |= _evaluate(runs, some, seeds, jobs, progress, processes=processes)
    return {entry: found[entry] for entry in entries}


def _evaluate(
    runs: Runs,
    entries: Sequence[Entry],
    seeds: Sequence[int],
    jobs: int,
    progress: Progress,
    *,
    processes: bool,
) -> Found:
    runs.folder.mkdir(parents=True, exist_ok=True)
    found: Found = {entry: {} for entry in entries}
    missing: list[tuple[Entry, int]] = []
    for seed in seeds:
        for entry in entries:
            there = runs.there(entry, seed)
            if there is None:
                missing.append((entry, seed))
            else:
                found[entry][seed] = there
    if len(missing) < len(seeds) * len(entries):
        progress.say(f"{len(seeds) * len(entries) - len(missing)} of {len(seeds) * len(entries)} runs exist already")
    _say_why(runs, missing, progress)
    done = 0

    def report(entry: Entry, seed: int, evaluation: dict[str, Evaluation]) -> None:
        nonlocal done
        done += 1
        found[entry][seed] = evaluation
        tasks = evaluation["test"].tasks
        aucs = ", ".join(f"{task.upper()} AUC {_brief(tasks[task].auc)}" for task in HEADLINES if task in tasks)
        progress.say(f"[{done}/{len(missing)}] {entry.label}, seed {seed}: {aucs}")

    jobs = min(jobs, len(missing))
    small = len(runs.data.train) * len(runs.data.fields) * len(missing) <= SMALL
    if jobs < 2 or (small and not processes):
        with _threads_of_a_job(jobs):
            for entry, seed in missing:
                report(entry, seed, runs.evaluation(entry, seed, Hushed(progress, f"[{done + 1}/{len(missing)}] ")))
    else:
        _evaluate_in_processes(runs, missing, jobs, progress, report)
    return found


def _evaluate_in_processes(
    runs: Runs,
    missing: Sequence[tuple[Entry, int]],
    jobs: int,
    progress: Progress,
    report: Callable[[Entry, int, dict[str, Any]], None],
) -> None:
    """Train in separate processes: first the reference CTR network of each seed, then the missing runs in order."""
    with Pool(jobs, partial(_begin, runs.data.path, runs.config, runs.folder, runs.keys, _threads(jobs))) as pool:
        seeds = list(dict.fromkeys(seed for _, seed in missing))
        progress.start("training reference CTR networks", len(seeds), "networks")
        for _ in pool.results(_reference, seeds):
            progress.advance(1)
        progress.done()
        progress.start(f"training {len(missing)} runs, {jobs} at a time", len(missing), "runs")
        for (entry, seed), evaluation in pool.results(_evaluation, missing):
            report(entry, seed, evaluation)
            progress.advance(1)
        progress.done()


def _name(entry: Entry, seed: int) -> str:
    """The name of a run's folder, without the digest of its key."""
    name = "".join(c if c.isalnum() or c in "-." else "-" for c in entry.label).rstrip("-")
    return f"{name}-seed{seed}"


def _say_why(runs: Runs, missing: Sequence[tuple[Entry, int]], progress: Progress) -> None:
    """Say of runs that were trained before, but not for these numbers, what has changed."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for entry, seed in missing:
        if (why := runs.changed(entry, seed)) is not None:
            seeds.setdefault((why, entry.label), []).append(seed)
    entries: dict[tuple[str, str], list[str]] = {}
    for (why, label), some in seeds.items():
        of_seeds = f"seed{'s' if len(some) > 1 else ''} {', '.join(map(str, some))}"
        entries.setdefault((why, of_seeds), []).append(label)
    for (why, of_seeds), labels in entries.items():
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


def _evaluation(runs: Runs, task: tuple[Entry, int]) -> dict[str, Any]:
    return runs.evaluation(*task)


def _brief(value: Any) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, float) else "undefined"
