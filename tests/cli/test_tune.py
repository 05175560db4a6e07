"""`entirespace tune` and `train --track` as a person meets them."""

from __future__ import annotations

import json

import pytest

SMALL = [
    f"--set={setting}"
    for setting in ("training.epochs=1", "training.threads=1", "network.hidden=[8]", "network.embedding_size=4")
]


def test_tune_then_train_with_the_best(run, dataset, tmp_path):
    pytest.importorskip("optuna")
    study = tmp_path / "study"
    command = ["tune", "AMAN", dataset.path, "-o", study, *SMALL, "--set", "training.batch_size=512"]
    ran = run(*command, "--trials", 2)
    assert ran.code == 0, ran.err
    assert "Best: trial " in ran.out
    assert f"--config {study / 'best.toml'}" in ran.out
    assert "[2/2] CTCVR AUC % " in ran.err
    more = run(*command, "--trials", 3, "--json", "--quiet")
    about = json.loads(more.out)
    assert [t["trial"] for t in about["trials"]] == [1, 2, 3]
    assert about["space"].keys() == {"optimizer.learning_rate", "network.embedding_std", "method.rate"}
    assert more.err == ""
    trained = run("train", "AMAN", dataset.path, "-o", tmp_path / "run", "--config", study / "best.toml", "--json")
    best = about["trials"][about["best"] - 1]["values"]
    assert json.loads(trained.out)["method"] == {"name": "AMAN", "rate": best["method.rate"]}


def test_a_configuration_gives_where_the_search_begins(run, dataset, tmp_path):
    """A rate in a file is searched from there; a rate in METHOD is not searched."""
    pytest.importorskip("optuna")
    (tmp_path / "aman.toml").write_text('[method]\nname = "AMAN"\nrate = 0.5\n')
    command = ["--config", tmp_path / "aman.toml", *SMALL, "--trials", 1, "--json", "-q"]
    about = json.loads(run("tune", "AMAN", dataset.path, "-o", tmp_path / "a", *command).out)
    assert about["trials"][0]["values"]["method.rate"] == 0.5
    about = json.loads(run("tune", "AMAN(rate=0.5)", dataset.path, "-o", tmp_path / "b", *command).out)
    assert "method.rate" not in about["space"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("tune ESSM data -o study", 2, "Did you mean 'ESMM'?"),
        ("tune CTR data -o study", 2, "needs a method that predicts pCVR"),
        ("tune ESMM data -o study --trials 0", 2, "'--trials'"),
        ("tune ESMM data -o study --objective auc", 2, "'ctcvr_auc', 'cvr_log_loss'"),
        (
            "tune ESMM data -o study --space space.toml --set network.embedding_std=1",
            2,
            "'network.embedding_std' is both",
        ),
        (
            "tune ESMM data -o study --space hidden.toml --set network.hidden=[8]",
            2,
            "'network.tower.hidden' is both",
        ),
        ("tune ESMM data -o study --space bad.toml", 2, "Did you mean 'learning_rate'?"),
        ("tune ESMM data -o study", 1, "a dataset must be a folder"),
        ("train ESMM data -o run --track tensorbord", 2, "'tensorboard', 'mlflow', 'none'"),
    ],
)
def test_what_cannot_be_is_said(arguments, code, said, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.toml").write_text("network.embedding_std = { low = 0.1, high = 0.2 }")
    (tmp_path / "hidden.toml").write_text("network.tower.hidden = { choices = [[8], [80]] }")
    (tmp_path / "bad.toml").write_text("optimizer.learning_rte = { low = 0.1, high = 0.2 }")
    ran = run(*arguments.split())
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err.strip().splitlines()[-1], ran.err


def test_train_tracks_where_it_is_told(run, dataset, tmp_path):
    pytest.importorskip("tensorboard")
    for options, there in (([], True), (["--track", "tensorboard"], True), (["--track", "none"], False)):
        folder = tmp_path / f"run{len(options)}{there}"
        assert run("train", "BASE", dataset.path, "-o", folder, *SMALL, *options).code == 0
        for part in (folder, folder / "reference"):
            assert (part / "tensorboard").is_dir() == there
