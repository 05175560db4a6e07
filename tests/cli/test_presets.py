"""--preset: which command takes which by default, and how --config and --set change it."""

from __future__ import annotations

import json
import tomllib

from entirespace.config import Config
from entirespace.presets import preset
from entirespace.runs.record import RunRecord

FEW = ["--set", "training.epochs=1", "--set", "training.threads=1", "-q"]


def recorded(folder) -> Config:
    return Config.model_validate(RunRecord.open(folder).config)


def test_train_takes_best_and_compare_the_paper_and_each_can_be_changed(run, dataset, tmp_path):
    ran = run("train", "BASE", dataset.path, "-o", tmp_path / "best", *FEW)
    assert ran.code == 0, ran.err
    best = preset("best", dataset)
    found = recorded(tmp_path / "best")
    assert found.network == best.network
    assert found.training.precision in ("bf16", "fp32")
    assert found.training.batch_size == best.training.batch_size
    (tmp_path / "mine.toml").write_text("[training]\nbatch_size = 100\n[network]\nhidden = [8]\n")
    ran = run("train", "BASE", dataset.path, "-o", tmp_path / "mine", "--config", tmp_path / "mine.toml", *FEW)
    assert ran.code == 0, ran.err
    found = recorded(tmp_path / "mine")
    assert (found.training.batch_size, found.network.tower.hidden, found.training.calibrate) == (100, (8,), "auto")
    options = ["--methods", "BASE", "--seeds", "1", "--jobs", "1", "--json", "--set", "network.hidden=[4]"]
    ran = run("compare", dataset.path, "-o", tmp_path / "report", *options, *FEW)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["config"]["training"] == {
        **preset("paper").training.model_dump(mode="json"), "epochs": 1, "threads": 1
    }  # fmt: skip


def test_config_prints_a_preset(run, dataset):
    for words, name in (([], "paper"), ([dataset.path], "best"), ([dataset.path, "--preset", "paper"], "paper")):
        ran = run("config", "ESMM", *words)
        assert ran.code == 0, ran.err
        printed = Config.model_validate({k: v for k, v in tomllib.loads(ran.out).items() if k != "method"})
        assert printed == preset(name, dataset)
    assert "give DATASET" in run("config", "ESMM", "--preset", "best").err
    for command in ("config ESMM", "train ESMM data -o run", "compare data -o report", "tune ESMM data -o study"):
        ran = run(*command.split(), "--preset", "papr")
        assert (ran.code, "Did you mean 'paper'" in ran.err) == (2, True), ran.err
