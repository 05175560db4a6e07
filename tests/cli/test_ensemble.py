"""train --seeds N: an ensemble, from the command line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.core.calibrators import ENOUGH

SETTINGS = {
    "training.epochs": 3, "training.batch_size": 256, "optimizer.learning_rate": 0.01, "network.embedding_size": 4,
    "network.tower.hidden": [8], "training.threads": 1,
}  # fmt: skip
QUICK = [
    "--preset",
    "paper",
    *(word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")),
    "-q",
]


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """The folder of the ensemble that the tests share."""
    return tmp_path_factory.mktemp("cli") / "run"


@pytest.fixture
def ensemble(run, trained, dataset):
    """An ensemble that the command line has trained, once for all tests."""
    if not trained.exists():
        ran = run("train", "ESMM", dataset.path, "-o", trained, "--seeds", 3, "--seed", 7, *QUICK)
        assert ran.code == 0, ran.err
    return trained


def test_train_says_what_it_made(run, ensemble, dataset):
    again = run("train", "ESMM", dataset.path, "-o", ensemble, "--seeds", 3, "--seed", 7, *QUICK)
    assert f"{ensemble}: ESMM, ensemble of 3, seeds 7, 8, 9, " in again.out
    report = json.loads(
        run("train", "ESMM", dataset.path, "-o", ensemble, "--seeds", 3, "--seed", 7, *QUICK, "--json").out
    )
    assert report["members"] == [{"run": f"{ensemble}/members/{k}", "seed": 7 + k} for k in range(3)]
    assert sorted(path.name for path in ensemble.iterdir()) == [
        "layout.json", "members", "reference", "run.json", "vocabulary",
    ]  # fmt: skip
    single = run("train", "ESMM", dataset.path, "-o", ensemble, "--seed", 7, *QUICK)
    assert (single.code, "it is an ensemble of 3. Choose another folder" in single.err) == (1, True)
    assert run("train", "ESMM", dataset.path, "-o", ensemble, "--seeds", 0, *QUICK).code == 2


def test_evaluate_and_calibrate(run, ensemble, dataset, monkeypatch, tmp_path):
    monkeypatch.setitem(ENOUGH, "platt", 5)
    shutil.copytree(ensemble, tmp_path / "run")
    ran = run("evaluate", tmp_path / "run", dataset.path, "--calibrate", "platt", "--save", "-q")
    assert f"{tmp_path / 'run'}: ESMM, ensemble of 3, seeds 7, 8, 9, test part, calibrated by Platt" in ran.out
    report = json.loads(run("evaluate", tmp_path / "run", dataset.path, "--json", "-q").out)
    assert [member["seed"] for member in report["members"]] == [7, 8, 9]
    assert report["calibration"]["kind"] == "platt"
    member = run("evaluate", tmp_path / "run" / "members" / "1", dataset.path, "-q")
    assert "ESMM, seed 8, test part, not calibrated" in member.out
    assert "members" not in json.loads(run("evaluate", f"{ensemble}/members/1", dataset.path, "--json", "-q").out)


def test_score_and_a_file_of_the_run_as_output(run, ensemble, dataset, simulated_log, tmp_path):
    rows = pl.read_parquet(simulated_log / "impressions*.parquet").tail(50)
    rows.write_parquet(tmp_path / "rows.parquet")
    side = f"common={simulated_log / 'common.parquet'}"
    ran = run("score", ensemble, tmp_path / "rows.parquet", "--side", side, "-o", tmp_path / "out.parquet", "-q")
    assert ran.code == 0, ran.err
    found, want = pl.read_parquet(tmp_path / "out.parquet"), es.load(ensemble).predict(dataset.test)
    for name in ("pctr", "pcvr", "pctcvr"):
        np.testing.assert_allclose(found[name].to_numpy(), getattr(want, name)[-50:], rtol=1e-5)
    own = ensemble / "members" / "0" / "metrics.jsonl"
    before = own.read_bytes()
    ran = run("score", ensemble, tmp_path / "rows.parquet", "--side", side, "-o", own, "--force", "-q")
    assert (ran.code, own.read_bytes()) == (1, before)
    assert "it is also read" in ran.err


def test_an_ensemble_starts_from_an_ensemble(run, ensemble, dataset, tmp_path):
    options = ["train", "ESMM", dataset.path, "-o", tmp_path / "next", "--from", ensemble, *QUICK]
    ran = run(*options)
    assert (ran.code, "must be a single run, however: it is an ensemble of 3" in ran.err) == (1, True)
    assert not (tmp_path / "next").exists()
    ran = run(*options, "--seeds", 3)
    assert ran.code == 0, ran.err
    assert "ensemble of 3, seeds 0, 1, 2" in ran.out
