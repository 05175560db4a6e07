"""`training.calibrate`: a training that ends with calibrators where they help, and says why where it has none."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

import entirespace as es
from entirespace.cli import app
from entirespace.config import Config
from entirespace.core import choice
from entirespace.core.calibrators import Platt
from entirespace.errors import ConfigError, RunError
from entirespace.methods import BASE, DIVISION, ESMM
from entirespace.runs.calibration import CALIBRATION, Calibration, calibrate
from entirespace.runs.record import RUN, WEIGHTS, RunRecord
from entirespace.training import Run, fit, fit_ensemble, reference_ctr

files_module = sys.modules["entirespace.training.files"]
ensemble_module = sys.modules["entirespace.training.ensemble"]


def calibrating(config: Config, **training: Any) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update={"calibrate": "auto", **training})})


def same(a: Run, b: Run) -> bool:
    pairs = zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every calibrator that can be fitted is used: the margin is below any difference."""
    monkeypatch.setattr(choice, "ERRORS", -1e9)


@pytest.fixture(scope="module")
def auto(quick: Config) -> Config:
    return calibrating(quick)


@pytest.fixture
def esmm(always, dataset, auto, reference, tmp_path) -> Run:
    return fit(ESMM(), dataset.train, config=auto, reference=reference, out=tmp_path / "run")


def test_training_ends_with_the_calibrators_of_run_calibrate(esmm, dataset, quick, reference) -> None:
    plain = fit(ESMM(), dataset.train, config=quick, reference=reference)
    assert plain.calibration == Calibration()
    assert not (plain.folder / CALIBRATION).exists()
    assert same(plain, esmm), "the weights are those of a training without it"
    by_hand = plain.calibrate(dataset.validation, "auto").calibration
    assert esmm.calibration == by_hand
    assert esmm.calibration.kind == "auto"
    assert {name: c.kind for name, c in by_hand.calibrators.items()} == dict.fromkeys(
        ("pctr", "pctr_reference", "pcvr"), "platt"
    )
    again = Run.open(esmm.folder)
    assert again.calibration == esmm.calibration
    p, q = again.predict(dataset.test), plain.predict(dataset.test)
    np.testing.assert_array_equal(p.pctr, by_hand.calibrators["pctr"](q.pctr))
    np.testing.assert_array_equal(p.pctcvr, p.pctr * p.pcvr)
    y = dataset.validation.column("click")
    assert again.predict(dataset.validation).pctr.sum(dtype=float) == pytest.approx(y.sum(), abs=2)


def test_honest_scores_stay_as_they_are_and_it_is_said(dataset, auto, reference, tmp_path) -> None:
    """Without the fixture `always`: 300 impressions of a trained network prove no distortion."""
    run = fit(BASE(), dataset.train, config=auto, reference=reference, out=tmp_path / "run")
    found = Run.open(run.folder).calibration
    assert sorted(found.choices) == ["pctr_reference", "pcvr"]
    assert not found.calibrators
    assert str(found).endswith("chosen on the validation part (300 impressions): nothing")
    assert len(found.sentences()) == 2
    assert all("not calibrated, because nothing lowers the log loss over 5 folds" in said for said in found.sentences())
    p, q = (one.predict(dataset.test) for one in (run, run.calibrate(kind="none")))
    np.testing.assert_array_equal(p.pctcvr, q.pctcvr)


def test_the_reference_ctr_network_is_calibrated_alone_and_in_the_runs_that_use_it(
    always, dataset, auto, quick, reference, tmp_path
) -> None:
    mine = reference_ctr(dataset.train, config=auto, out=tmp_path / "ctr")
    assert same(mine, reference)
    assert [*mine.calibration.calibrators] == ["pctr"]
    base = fit(BASE(), dataset.train, config=auto, reference=mine, out=tmp_path / "run")
    assert base.calibration.calibrators["pctr_reference"] == mine.calibration.calibrators["pctr"]
    np.testing.assert_array_equal(base.predict(dataset.test).pctr, mine.scores(dataset.test).pctr)


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("at", ["weights", "calibration", "record"])
def test_an_interrupted_end_is_made_again_with_the_same_bits(
    at, refit, always, dataset, auto, tmp_path, monkeypatch
) -> None:
    """calibration.json is written after the weights and before run.json says that the run is finished."""
    config = calibrating(auto, refit=refit)
    whole = fit(DIVISION(), dataset.train, config=config, out=tmp_path / "whole")

    class Killed(Exception):
        pass

    def dead(*_: Any, **__: Any) -> None:
        raise Killed

    if at == "record":
        write = files_module.Files.write
        monkeypatch.setattr(
            files_module.Files, "write", lambda self, **v: dead() if v.get("status") == "finished" else write(self, **v)
        )
    else:
        save = files_module.save_tensors
        if at == "calibration":
            monkeypatch.setattr(files_module, "save_calibration", dead)
        else:
            monkeypatch.setattr(
                files_module, "save_tensors", lambda path, t: dead() if path.name == WEIGHTS else save(path, t)
            )
    with pytest.raises(Killed):
        fit(DIVISION(), dataset.train, config=config, out=tmp_path / "cut")
    assert (tmp_path / "cut" / CALIBRATION).exists() == (at == "record")
    with pytest.raises(RunError, match="must be finished"):
        Run.open(tmp_path / "cut")
    if at == "record":  # a file of another training would be replaced
        (tmp_path / "cut" / CALIBRATION).write_text("{}")
    monkeypatch.undo()
    monkeypatch.setattr(choice, "ERRORS", -1e9)
    resumed = fit(DIVISION(), dataset.train, config=config, out=tmp_path / "cut")
    assert same(whole, resumed)
    assert (tmp_path / "cut" / CALIBRATION).read_bytes() == (tmp_path / "whole" / CALIBRATION).read_bytes()
    assert resumed.calibration.calibrators


def test_a_refit_is_calibrated_by_the_scores_of_its_selection_model(always, dataset, auto, tmp_path) -> None:
    config = calibrating(auto, refit=True)
    ctr = reference_ctr(dataset.train, config=config, out=tmp_path / "ctr")
    run = fit(ESMM(), dataset.train, config=config, reference=ctr, out=tmp_path / "run")
    kept = run.kept_validation
    assert kept is not None
    assert run.calibration == calibrate(
        Calibration(), lambda: kept.outputs, kept, "auto", trained_on=dataset.train.counts
    )
    assert run.calibrate(kind="auto").calibration == run.calibration
    on_itself = calibrate(Calibration(), lambda: run.outputs(dataset.validation), dataset.validation, "auto")
    assert on_itself.calibrators["pcvr"] != run.calibration.calibrators["pcvr"]


@pytest.mark.parametrize("refit", [False, True])
def test_an_ensemble_is_calibrated_as_one(refit, always, dataset, auto, tmp_path, monkeypatch) -> None:
    config = calibrating(auto, refit=refit, epochs=1)
    ctr = reference_ctr(dataset.train, config=config, out=tmp_path / "ctr")
    same_ = {"seeds": 2, "config": config, "reference": ctr}
    run = fit_ensemble(ESMM(), dataset.train, out=tmp_path / "run", **same_)
    assert run.calibration == run.calibrate(kind="auto").calibration
    assert sorted(run.calibration.calibrators) == ["pctr", "pctr_reference", "pcvr"]
    assert run.calibration.calibrators["pcvr"] not in [m.calibration.calibrators["pcvr"] for m in run.members]
    plain = run.calibrate(kind="none")
    p, q = run.predict(dataset.test), plain.predict(dataset.test)
    np.testing.assert_array_equal(p.pcvr, run.calibration.calibrators["pcvr"](q.pcvr)), "uncalibrated members"
    # killed between calibration.json and run.json
    write = ensemble_module.RunRecord.write
    monkeypatch.setattr(
        ensemble_module.RunRecord, "write", lambda self, path: write(self, path) if not self.members else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        fit_ensemble(ESMM(), dataset.train, out=tmp_path / "cut", **same_)
    assert (tmp_path / "cut" / CALIBRATION).exists()
    assert not (tmp_path / "cut" / RUN).exists()
    monkeypatch.setattr(ensemble_module.RunRecord, "write", write)
    resumed = fit_ensemble(ESMM(), dataset.train, out=tmp_path / "cut", **same_)
    assert resumed.calibration == run.calibration
    assert (tmp_path / "cut" / CALIBRATION).read_bytes() == (run.folder / CALIBRATION).read_bytes()


def test_a_pcvr_above_1_is_left_as_it_is_and_it_is_said(always, dataset, auto, reference) -> None:
    run = fit(DIVISION(), dataset.train, config=auto, reference=reference)
    outputs = run.outputs(dataset.validation)
    y = dataset.validation.column("click")
    own = {**outputs.own, "pcvr": np.where(y, outputs.own["pcvr"] + 1, outputs.own["pcvr"]).astype(np.float32)}
    found = calibrate(Calibration(), lambda: type(outputs)(own), dataset.validation, "auto")
    assert sorted(found.calibrators) == ["pctr"]
    (said,) = (s for s in found.sentences() if s.startswith("pCVR"))
    assert "pCVR: not calibrated, because" in said
    assert f"{y.sum()} of the predictions exceed 1" in said


def test_an_own_pctcvr_is_kept_bit_for_bit_if_no_factor_of_it_is_calibrated(dataset, auto, reference) -> None:
    run = fit(DIVISION(), dataset.train, config=auto, reference=reference)
    outputs = run.outputs(dataset.test).beside(run.reference_pctr(dataset.test))
    only = Calibration("auto", calibrators={"pctr_reference": Platt(2.0, 1.0)})
    np.testing.assert_array_equal(only.apply(outputs).own["pctcvr"], outputs.own["pctcvr"])
    assert (only.apply(outputs).reference_pctr != outputs.reference_pctr).any()


def test_without_a_validation_part_it_is_said_that_there_is_nothing_to_fit_on(always, dataset, auto) -> None:
    run = fit(ESMM(), dataset.train, config=auto, validation=dataset.validation.sampled(0.0))
    assert not run.calibration.calibrators
    assert "pCVR: not calibrated, because 0 positives of 0: " in " ".join(run.calibration.sentences())
    with pytest.raises(ConfigError, match=r"training\.calibrate must be given the validation part.*calibrate to none"):
        fit(ESMM(), dataset.train, config=auto, validation=dataset.test)


def test_a_copy_without_its_reference_keeps_its_own_calibrators(esmm, dataset, auto, tmp_path) -> None:
    shutil.copytree(esmm.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("reference"))
    copy = Run.open(tmp_path / "copy")
    assert sorted(copy.calibration.calibrators) == ["pctr", "pcvr"]
    np.testing.assert_array_equal(copy.predict(dataset.test).pcvr, esmm.predict(dataset.test).pcvr)
    other = reference_ctr(dataset.train, seed=5, config=auto, out=tmp_path / "other")
    with pytest.raises(RunError, match="the run has other weights"):
        Run.open(esmm.folder, reference=other)
    alone = fit(ESMM(), dataset.train, config=auto, out=tmp_path / "alone")
    assert sorted(alone.calibration.calibrators) == ["pctr", "pcvr"]
    beside = Run.open(alone.folder, reference=other)
    assert beside.calibration == alone.calibration, "it needs none of the reference CTR network"


def test_a_reference_of_another_layout_is_refused_before_training(dataset, auto, tmp_path, monkeypatch) -> None:
    log = pl.DataFrame({"id": range(400), "y": [i % 3 == 0 for i in range(400)], "z": [i % 6 == 0 for i in range(400)]})
    other = es.from_frame(log, click="y", conversion="z", fields=["id"], train=0.8, validation=0.3)
    ctr = reference_ctr(other.train, config=auto, out=tmp_path / "ctr")
    monkeypatch.setattr(sys.modules["entirespace.training.trainer"].Trainer, "run", lambda self: 1 / 0)
    with pytest.raises(RunError, match="must be prepared with the layout of the run"):
        fit(ESMM(), dataset.train, config=auto, reference=ctr)


# From the command line, with `score` and `predict`


def invoke(*words: object) -> str:
    result = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_train_and_evaluate_say_what_was_fitted_and_score_uses_it(
    always, dataset, simulated_log: Path, quick, tmp_path
) -> None:
    network = ["network.embedding_size=4", "network.hidden=[8]", "optimizer.learning_rate=0.01"]
    settings = [*network, "training.batch_size=256", "training.epochs=3", "training.threads=1"]
    sets = [word for s in (*settings, "training.calibrate=auto") for word in ("--set", s)]
    run = tmp_path / "run"
    said = invoke("train", "ESMM", dataset.path, "-o", run, "-q", *sets)
    assert "calibrated where it helps, chosen on the validation part (300 impressions): pCTR by Platt scaling" in said
    assert "\npCVR: calibrated by Platt scaling (slope" in said
    assert "for un-clicked ones clicks cannot tell" in said
    evaluated = invoke("evaluate", run, dataset.path, "-q")
    assert "\npCVR: calibrated by Platt scaling (slope" in evaluated
    plain = invoke("evaluate", run, dataset.path, "-q", "--calibrate", "none")
    assert "test part, not calibrated" in plain
    assert "Platt" not in plain
    temperature = invoke("evaluate", run, dataset.path, "-q", "--calibrate", "temperature")
    assert "calibrated by temperature, fitted on the validation part (300 impressions)" in temperature
    assert invoke("evaluate", run, dataset.path, "-q", "--calibrate", "auto") == evaluated
    rows, common = (next(simulated_log.glob(f"{name}*.parquet")) for name in ("impressions", "common"))
    invoke("score", run, rows, "--side", f"common={common}", "-o", tmp_path / "s.parquet", "-q")
    scored = pl.read_parquet(tmp_path / "s.parquet")
    opened, frame, tables = es.load(run), pl.read_parquet(rows), {"common": pl.read_parquet(common)}
    p = opened.predict(frame, tables=tables)
    np.testing.assert_array_equal(scored["pcvr"].to_numpy().astype(np.float32), p.pcvr)
    uncalibrated = opened.calibrate(kind="none").predict(frame, tables=tables)
    np.testing.assert_array_equal(p.pcvr, opened.calibration.calibrators["pcvr"](uncalibrated.pcvr))
    assert (p.pcvr != uncalibrated.pcvr).any()


def test_a_moved_base_rate_is_a_warning_of_the_run_and_of_its_evaluation(auto, quick, tmp_path) -> None:
    rng = np.random.default_rng(0)
    n = 4_000
    late = np.arange(n) > 0.55 * n  # the validation part is the last tenth of the first 60 %
    click = rng.random(n) < np.where(late, 0.5, 0.25)
    log = pl.DataFrame({"t": range(n), "id": rng.integers(0, 9, n), "y": click, "z": click & (rng.random(n) < 0.3)})
    data = es.from_frame(log, click="y", conversion="z", fields={"id": "id"}, order="t", train=0.6, validation=0.1)
    moved = "A base rate moved: the CTR is 2"
    ctr = reference_ctr(data.train, config=quick)
    run = fit(ESMM(), data.train, config=auto, reference=ctr, out=tmp_path / "run")
    assert any(w.startswith(moved) for w in RunRecord.open(run.folder).warnings)
    assert moved in str(run.evaluate(data.test))
    assert run.evaluate(data.test).as_dict()["calibration"]["moved"] == list(run.calibration.moved)
    plain = fit(ESMM(), data.train, config=quick, reference=ctr, out=tmp_path / "plain")
    assert not any(w.startswith(moved) for w in RunRecord.open(plain.folder).warnings), "it is not calibrated"
    by_hand = plain.calibrate(data.validation, "temperature", save=True)
    assert moved in str(by_hand.evaluate(data.test))
    assert Run.open(plain.folder).calibration == by_hand.calibration
    assert run.calibration.choices["pctr"].chosen != "none", "pCTR of the training part is half of what it is now"
