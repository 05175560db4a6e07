"""`entirespace compare` and `config`: METHOD as it is printed, and the files that `config` and `tune` write."""

from __future__ import annotations

import json
import tomllib

import pytest

SMALL = ["--set", "training.epochs=1", "--set", "network.hidden=[4]", "--set", "network.embedding_size=2"]


def test_compare_takes_what_config_writes_and_labels_as_they_are_printed(run, dataset, tmp_path):
    written = run("config", "aman(rate=0.5)", "--set", "training.batch_size=512", "--set", "training.threads=1", *SMALL)
    assert tomllib.loads(written.out)["method"] == {"name": "AMAN", "rate": 0.5}
    (tmp_path / "best.toml").write_text(written.out)
    methods = "base,AMAN,ESMM(share_embedding=False)"
    command = ["compare", dataset.path, "-o", tmp_path / "report", "--seeds", "1", "--jobs", "1", "-q"]
    ran = run(*command, "--config", tmp_path / "best.toml", "--methods", methods, "--json")
    assert ran.code == 0, ran.err
    lines = json.loads(ran.out)["methods"]
    assert [(line["name"], line["label"]) for line in lines] == [
        ("BASE", "BASE"),
        ("AMAN", "AMAN(rate=0.5)"),
        ("ESMM-NS", "ESMM-NS"),
    ]
    assert json.loads(ran.out)["config"]["training"]["batch_size"] == 512
    printed = ",".join(line["label"] for line in lines)
    before = sorted(path.name for path in (tmp_path / "report" / "runs").iterdir())
    (tmp_path / "plain.toml").write_text("[network]" + written.out.partition("[network]")[2])
    again = run(*command, "--config", tmp_path / "plain.toml", "--methods", printed, "--json")
    assert [line["tasks"] for line in json.loads(again.out)["methods"]] == [line["tasks"] for line in lines]
    assert sorted(path.name for path in (tmp_path / "report" / "runs").iterdir()) == before, "the same methods"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("compare data -o report --methods BASE,ESMM --config aman.toml", "AMAN(rate=0.5) is not among BASE, ESMM"),
        ("compare data -o report --methods AMAN --set method.rate=0.5", "a method must be named"),
        ("compare data -o report --set method.name=AMAN --set method.rat=0.5", "Did you mean 'rate'?"),
        ("train BASE data -o run --config aman.toml", "must be of the method that was typed, however: AMAN, not BASE"),
        ("tune BASE data -o study --config aman.toml", "must be of the method that was typed, however: AMAN, not BASE"),
        ("config BASE --config aman.toml", "must be of the method that was typed, however: AMAN, not BASE"),
        ("compare data -o report --methods BASE,LigtGBM", "Did you mean 'LightGBM'?"),
        ("compare data -o report --methods BLEND(ESMM)", "a blend must be written BLEND(A, B)"),
        ("train lightgbm data -o run", "METHOD must be a method, however: lightgbm is a rival or a blend."),
        ("tune BLEND(ESMM,BASE) data -o study", "METHOD must be a method, however: BLEND(ESMM,BASE) is a rival"),
        ("config LightGBM", "METHOD must be a method"),
        ("config AMAN(rate=2)", "AMAN's rate must be a share from 0 to 1"),
    ],
)
def test_a_method_table_that_does_not_fit(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aman.toml").write_text('[method]\nname = "AMAN"\nrate = 0.5\n')
    ran = run(*arguments.split())
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err.strip().splitlines()[-1], ran.err
