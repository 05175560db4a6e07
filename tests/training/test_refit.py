"""`training.refit`: training again on training and validation part, and the kept scores of the selection model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

import entirespace as es
from entirespace.batches.feed import Feed
from entirespace.cli import app
from entirespace.config import Config
from entirespace.core.calibrators import ENOUGH
from entirespace.dataset.dataset import Dataset
from entirespace.dataset.together import Together
from entirespace.errors import ConfigError, DataError, RunError
from entirespace.experiments.compare import compare
from entirespace.experiments.space import Searched, Space
from entirespace.experiments.tune import tune
from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, RATES, UNBIAS
from entirespace.runs.record import VALIDATION, RunRecord
from entirespace.training import Run, fit, rates, reference_ctr
from entirespace.training.learner import Learner

trainer_module = sys.modules["entirespace.training.trainer"]


def refitting(config: Config, **training: Any) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update={"refit": True, **training})})


def without(config: Config) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update={"refit": False})})


def same(a: Run, b: Run) -> bool:
    pairs = zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def equal(a: Any, b: Any) -> bool:
    """Whether two `Outputs` are equal, bit for bit."""
    if (a.reference_pctr is None) != (b.reference_pctr is None) or a.own.keys() != b.own.keys():
        return False
    reference = a.reference_pctr is None or np.array_equal(a.reference_pctr, b.reference_pctr)
    return reference and all(np.array_equal(p, b.own[name]) for name, p in a.own.items())


@pytest.fixture(scope="module")
def twice(quick: Config) -> Config:
    return refitting(quick, checks_per_epoch=2)


@pytest.fixture(scope="module")
def references(dataset: Dataset, twice: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The reference CTR network, without and with the refit."""
    out = tmp_path_factory.mktemp("references")
    one, other = (
        reference_ctr(dataset.train, config=c, out=out / str(i)) for i, c in enumerate((without(twice), twice))
    )
    return one, other


@pytest.fixture(scope="module")
def esmm(dataset: Dataset, twice: Config, references, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("esmm") / "run"
    return fit(ESMM(), dataset.train, seed=2, config=twice, reference=references[1], out=out)


# The impressions


def test_together_reads_each_impression_of_both_parts_once(small_pieces) -> None:
    ids = pl.DataFrame({"id": range(300), "y": [i % 3 == 0 for i in range(300)], "z": [i % 6 == 0 for i in range(300)]})
    data = es.from_frame(ids, click="y", conversion="z", fields={"id": {"hash": 100_000}}, train=0.8, validation=0.3)
    both = Together(data.train, data.validation)
    assert len(both) == len(data.train) + len(data.validation)
    assert both.counts["click"] == data.train.counts["click"] + data.validation.counts["click"]

    def read(chunks) -> list[int]:
        return [i for rows in chunks for i in rows.fields["id"].values.tolist()]

    apart = read(data.train.chunks()) + read(data.validation.chunks())
    assert read(both.chunks()) == apart
    orders = [read(both.chunks(np.random.default_rng(seed))) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(apart)
    last = len(data.validation)
    assert sorted(orders[0][-last:]) != sorted(apart[-last:]), "the row groups of both parts are mixed"
    half = Together(data.train.sampled(0.5), data.validation.sampled(0.5))
    assert len(read(half.chunks(np.random.default_rng(0)))) == len(half) < len(both)


# How long


@pytest.mark.parametrize("method", [ESMM(), BASE(), AMAN(rate=0.5)], ids=lambda m: m.label)
def test_a_refit_makes_the_same_passes_over_both_parts_from_the_same_weights(
    method, dataset, quick, references, tmp_path
) -> None:
    config = refitting(quick, checks_per_epoch=3, epochs=4)
    run = fit(method, dataset.train, seed=3, config=config, reference=references[1], out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = [line for line in lines if line.get("best")][-1]
    assert all(line.get("stage", "selection") == "selection" for line in lines if "validation_loss" in line)

    def batches(part) -> int:
        rng = np.random.default_rng(3)
        return -(-sum(int(method.samples(labels, rng).sum()) for labels in part.labels()) // 256)

    both = Together(dataset.train, dataset.validation)
    ends = [line["step"] for line in lines if "validation_loss" in line and "loss" in line]
    before, in_epoch = best["epoch"], best["step"] - ([0, *ends][best["epoch"]])
    steps = round(in_epoch / batches(dataset.train) * batches(both))
    learner = Learner(method, dataset, config, 3)
    feed = Feed.of(dataset, run.chosen)
    for epoch in range(before + 1):
        shuffled = feed.shuffled(
            both, method.samples, batch_size=256, shuffle_rows=1 << 20, rng=np.random.default_rng([3, epoch])
        )
        for i, rows in enumerate(shuffled):
            if epoch == before and i == steps:
                break
            learner.step(feed.batch(rows))
        learner.finish()  # as for a checkpoint
    weights = learner.network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in run.network.state_dict().items())
    passes = before + in_epoch / batches(dataset.train)
    assert RunRecord.open(tmp_path / "run").position.passes == pytest.approx(passes)
    assert same(run, Run.open(tmp_path / "run"))


def test_selection_is_that_of_a_run_without_the_refit_and_its_scores_are_kept(esmm, dataset, twice, references) -> None:
    alone = fit(ESMM(), dataset.train, seed=2, config=without(twice), reference=references[0])
    assert not same(esmm, alone)
    kept = esmm.validation_scores()
    assert equal(kept, alone.validation_scores(dataset.validation))
    assert equal(kept, esmm.validation_scores(dataset.validation))
    assert not np.array_equal(kept.pcvr, esmm.outputs(dataset.validation).pcvr)
    assert alone.kept_validation is None
    assert alone.validation_scores().own.keys() == kept.own.keys()
    np.testing.assert_array_equal(esmm.kept_validation.column("click"), dataset.validation.column("click"))
    assert esmm.kept_validation.counts == dataset.validation.counts
    assert np.array_equal(references[1].validation_scores().pctr, kept.reference_pctr), "also the reference's is fair"


def test_a_method_without_pctr_has_the_fair_pctr_of_the_reference(dataset, twice, references) -> None:
    """Also a run without the refit: its reference has learned from the validation part."""
    run = fit(BASE(), dataset.train, config=without(twice), reference=references[1])
    fair = references[0].own_pctr(dataset.validation)
    np.testing.assert_array_equal(run.validation_scores().pctr, fair)
    np.testing.assert_array_equal(run.scores(dataset.validation).reference_pctr, fair)
    assert not np.array_equal(run.reference.outputs(dataset.validation).pctr, fair)


def test_a_refit_learns_from_the_share_of_both_parts(dataset, twice, monkeypatch) -> None:
    seen: list[int] = []
    begin = trainer_module.Trainer._begin

    def spied(self, part):
        seen.append(len(part))
        return begin(self, part)

    monkeypatch.setattr(trainer_module.Trainer, "_begin", spied)
    fit(CTR(), dataset.train, config=refitting(twice, share=0.5, epochs=1))
    assert seen == [n := len(dataset.train.sampled(0.5)), n + len(dataset.validation.sampled(0.5))]


# What uses the kept scores


def test_what_is_measured_on_the_validation_part_are_the_kept_scores(esmm, dataset, twice, references) -> None:
    alone = fit(ESMM(), dataset.train, seed=2, config=without(twice), reference=references[0])
    mine, theirs = (run.evaluate(dataset.validation) for run in (esmm, alone))
    assert mine.tasks == theirs.tasks
    assert "scores of the selection model" in str(mine)
    assert "selection" not in str(theirs)
    assert esmm.evaluate(dataset.test).tasks != alone.evaluate(dataset.test).tasks
    with pytest.raises(RunError, match=r"must be measured on the validation scores that it keeps"):
        esmm.scores(dataset.validation.sampled(0.5))


def test_calibrators_use_the_kept_scores_and_refuse_the_part(esmm, dataset, twice, references, monkeypatch) -> None:
    monkeypatch.setitem(ENOUGH, "platt", 5)
    alone = fit(ESMM(), dataset.train, seed=2, config=without(twice), reference=references[0])
    by_hand = alone.calibrate(dataset.validation, "platt").calibration
    assert esmm.calibrate(kind="platt").calibration == by_hand
    assert alone.calibrate(kind="platt").calibration == by_hand, "the part of the dataset it was trained on"
    with pytest.raises(ConfigError, match=r"must be calibrated on the validation scores that it keeps.*Leave out"):
        esmm.calibrate(dataset.validation, "platt")
    with pytest.raises(ConfigError, match="however: the test part"):
        esmm.calibrate(dataset.test, "platt")


def test_a_copied_run_calibrates_without_its_dataset(esmm, dataset, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(ENOUGH, "platt", 5)
    shutil.copytree(esmm.folder, tmp_path / "copy")
    monkeypatch.setattr(Dataset, "__init__", lambda *_: pytest.fail("the dataset was opened"))
    copy = Run.open(tmp_path / "copy")
    assert (tmp_path / "copy" / "reference" / VALIDATION).exists(), "the reference keeps its own"
    assert equal(copy.validation_scores(), esmm.validation_scores())
    assert copy.calibrate(kind="platt", save=True).calibration == Run.open(tmp_path / "copy").calibration


def test_damaged_scores_are_refused(esmm, tmp_path) -> None:
    shutil.copytree(esmm.folder, tmp_path / "copy")
    path = tmp_path / "copy" / VALIDATION
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"validation\.safetensors.*its SHA-256 differs"):
        Run.open(tmp_path / "copy").validation_scores()


def test_the_command_line_trains_calibrates_and_evaluates(dataset, twice, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(ENOUGH, "platt", 5)
    settings = ["network.embedding_size=4", "network.hidden=[8]", "training.epochs=1", "training.refit=true"]
    train = ["train", "ESMM", str(dataset.path), "-o", str(tmp_path / "run"), "--track", "none", "--preset", "paper"]
    result = CliRunner().invoke(app, [*train, *(x for s in settings for x in ("--set", s))])
    assert result.exit_code == 0, result.output
    assert "2,700 training impressions and 300 of the validation part; passes: 1" in result.output
    assert "ESMM, seed 0, refit, epoch 1" in result.output
    evaluate = ["evaluate", str(tmp_path / "run"), str(dataset.path)]
    result = CliRunner().invoke(app, [*evaluate, "--part", "validation", "--calibrate", "platt", "--save"])
    assert result.exit_code == 0, result.output
    assert "scores of the selection model" in result.output
    assert Run.open(tmp_path / "run").calibration.kind == "platt"


def test_a_comparison_chooses_by_the_kept_scores(dataset, twice, tmp_path) -> None:
    compare([AMAN(rate=0.1), BASE()], dataset, seeds=1, config=twice, out=tmp_path / "report")
    folders = sorted((tmp_path / "report" / "runs").iterdir())
    (base,) = (folder for folder in folders if folder.name.startswith("BASE"))
    run = Run.open(base)
    found = json.loads((base / "evaluation.json").read_text())
    assert found["validation"]["tasks"] == run.evaluate(dataset.validation).as_dict()["tasks"]
    assert run.kept_validation is not None
    assert run.reference.kept_validation is not None


def test_trials_of_tune_are_not_refitted(dataset, twice, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(trainer_module.Trainer, "_refit", lambda *_: pytest.fail("refitted"))
    space = Space(BASE(), refitting(twice, watch="ctcvr", epochs=1), {"training.epochs": Searched(choices=(1, 2))})
    tune(space, dataset, trials=1, objective="cvr_log_loss", out=tmp_path / "study")
    assert "refit = true" in (tmp_path / "study" / "best.toml").read_text()


# Errors


def test_a_refit_needs_a_validation_part(dataset, twice) -> None:
    with pytest.raises(DataError, match=r"training\.refit needs a validation part.*empty.*training\.refit to false"):
        fit(CTR(), dataset.train, config=twice, validation=dataset.validation.sampled(0.0))
    with pytest.raises(ConfigError, match=r"must be given the validation part.*the test part was given"):
        fit(CTR(), dataset.train, config=twice, validation=dataset.test)


# Interrupted


class Killed(Exception):
    pass


@pytest.mark.parametrize("method", [UNBIAS(), DIVISION()], ids=lambda m: m.label)
@pytest.mark.parametrize("at", [*range(1, 26, 4), "before", "keep", "record", "save"])
def test_an_interrupted_refit_ends_with_the_same_bits(
    at, method, dataset, quick, references, tmp_path, monkeypatch
) -> None:
    config = refitting(quick, checks_per_epoch=2, checkpoint_minutes=1e-9, batch_size=512)
    settings = {"seed": 1, "config": config, "reference": references[1]}
    whole = fit(method, dataset.train, out=tmp_path / "whole", **settings)
    trainer, files, kept = trainer_module.Trainer, trainer_module.Files, trainer_module.Kept
    left = iter(range(at if isinstance(at, int) else 1000))
    step = trainer._step

    def dying(self, batch):
        if next(left, None) is None:
            raise Killed
        return step(self, batch)

    def dead(*_, **__):
        raise Killed

    monkeypatch.setattr(trainer, "_step", dying)
    if at == "before":  # selection is done, and nothing is kept yet
        monkeypatch.setattr(kept, "save", dead)
    if at == "keep":  # the scores are written, and not recorded
        monkeypatch.setattr(files, "begin_refit", dead)
    if at == "record":  # the refit is recorded, and has not begun
        monkeypatch.setattr(trainer, "_refit", dead)
    if at == "save":  # the refit is done
        monkeypatch.setattr(files, "finish", dead)
    try:
        fit(method, dataset.train, out=tmp_path / "cut", **settings)
    except Killed:
        with pytest.raises(RunError, match="must be finished"):
            Run.open(tmp_path / "cut")
    else:
        assert isinstance(at, int), "it was not interrupted"
    monkeypatch.undo()
    resumed = fit(method, dataset.train, out=tmp_path / "cut", **settings)
    assert same(whole, resumed)
    assert equal(whole.validation_scores(), resumed.validation_scores())
    one, other = ({p.name for p in (tmp_path / name).iterdir()} for name in ("whole", "cut"))
    assert one == other
    lines = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps)), "each line is in metrics.jsonl once"
    assert lines[-1]["stage"] == "refit"


SCRIPT = """
import os, signal, sys
import entirespace as es
from entirespace.training import fit as _
trainer = sys.modules["entirespace.training.trainer"].Trainer
step, stage, left = trainer._step, sys.argv[3], 5
def dying(self, batch):
    global left
    if self._position.stage == stage:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch)
trainer._step = dying
config = es.Config.model_validate_json(sys.argv[4])
run = es.fit(es.ESMM(), es.open(sys.argv[1]).train, config=config, out=sys.argv[2])
"""


@pytest.mark.parametrize("stage", ["selection", "refit"])
def test_a_killed_process_is_resumed_in_both_stages(stage, dataset, quick, tmp_path) -> None:
    config = refitting(quick, checkpoint_minutes=1e-9, batch_size=300)
    arguments = [str(dataset.path), str(tmp_path / "run"), stage, config.model_dump_json()]
    source = Path(sys.modules["entirespace"].__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    record = RunRecord.open(tmp_path / "run")
    assert (record.status, record.position.stage) == ("training", stage)
    whole = fit(ESMM(), dataset.train, config=config)
    assert same(whole, fit(ESMM(), dataset.train, config=config, out=tmp_path / "run"))


# The logistic baseline


def test_the_baseline_is_solved_again_on_both_parts(history, quick, tmp_path) -> None:
    run = fit(RATES(), history.train, config=refitting(quick), out=tmp_path / "run")
    both = Together(history.train, history.validation)
    solved = rates.solve_baseline(both)
    x, y = [], []
    for part in (history.train, history.validation):
        for rows in part.chunks():
            x.append(rows.numbers)
            y.append(rows.labels.click)
    numbers = np.concatenate(x)
    np.testing.assert_allclose(solved["ctr"].mean, numbers.astype(np.float64).mean(axis=0), rtol=1e-6, atol=1e-9)
    bias = run.network.baseline.regression("ctr").bias.item()
    assert bias == pytest.approx(solved["ctr"].intercept)
    assert bias != pytest.approx(rates.solve_baseline(history.train)["ctr"].intercept, rel=1e-6)
    alone = fit(RATES(), history.train, config=quick)
    assert equal(run.validation_scores(), alone.validation_scores())
    assert (
        run.coefficients["ctr"].intercept
        == json.loads((run.folder / "coefficients.json").read_text())["ctr"]["intercept"]
    )


def test_a_network_that_never_beats_the_baseline_is_the_baseline_of_both_parts(history, quick, tmp_path) -> None:
    config = refitting(quick, epochs=1)
    config = config.model_copy(
        update={
            "network": config.network.model_copy(update={"offset": "rates"}),
            "optimizer": config.optimizer.model_copy(update={"learning_rate": 0.3}),
        }
    )
    run = fit(ESMM(), history.train, config=config, out=tmp_path / "run")
    if RunRecord.open(tmp_path / "run").position.passes:
        pytest.skip("training beat the baseline")
    baseline = fit(RATES(), history.train, config=refitting(quick))
    np.testing.assert_allclose(run.outputs(history.test).pcvr, baseline.outputs(history.test).pcvr, rtol=1e-5)


def test_the_rates_of_a_refit_know_no_outcome_of_their_own(history, tmp_path) -> None:
    """Each row has the rates of its part: a training row knows the other folds, a validation row the training part."""
    both = Together(history.train, history.validation)
    apart = [rows.numbers for part in (history.train, history.validation) for rows in part.chunks()]
    np.testing.assert_array_equal(np.concatenate([rows.numbers for rows in both.chunks()]), np.concatenate(apart))
    spoiled = replace(
        history.history.history,
        counts={key: _other_validation(c) for key, c in history.history.history.counts.items()},
        overall=_other_validation(history.history.history.overall[None])[0],
    )
    history.history.history = spoiled
    after = [rows.numbers for rows in both.chunks()]
    np.testing.assert_array_equal(np.concatenate(after), np.concatenate(apart))
    before = np.concatenate([rows.numbers for rows in Dataset(history.path).test.chunks()])
    test = np.concatenate([rows.numbers for rows in history.test.chunks()])
    assert not np.array_equal(test, before), "the test part knows the outcomes of the validation part"


def _other_validation(counts: np.ndarray) -> np.ndarray:
    """The counts with other outcomes in the validation part, the third group from the end."""
    changed = counts.copy()
    changed[:, -3, 1:] = changed[:, -3, :1]
    return changed
