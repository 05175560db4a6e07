"""Which fields a run reads, chosen on the command line."""

from __future__ import annotations

import tomllib

import polars as pl
import pytest

QUICK = ["--set", "training.epochs=1", "--set", "network.hidden=[4]", "--set", "network.embedding_size=2", "-q"]


def test_config_prints_the_choice(run):
    found = run("config", "ESMM", "--set", 'network.exclude=["user_id"]', "--set", "network.numbers=interpolate")
    network = tomllib.loads(found.out)["network"]
    assert (network["exclude"], network["numbers"], network["history"]) == (["user_id"], "interpolate", False)
    assert "# Fields that the network does not read" in found.out


def test_a_run_without_user_and_item_scores_files_without_their_columns(run, dataset, simulated_log, tmp_path):
    exclude = 'network.exclude=["user_id", "item_id"]'
    assert run("train", "BASE", dataset.path, "-o", tmp_path / "run", *QUICK, "--set", exclude).code == 0
    rows = pl.read_parquet(simulated_log / "impressions*.parquet").tail(9)
    common = pl.read_parquet(simulated_log / "common.parquet")
    outs = []
    for name, own, side in (("all", rows, common), ("few", rows.drop("item_id"), common.drop("user_id"))):
        own.write_parquet(tmp_path / f"{name}.parquet")
        side.write_parquet(tmp_path / f"{name}-common.parquet")
        outs.append(tmp_path / f"{name}-out.parquet")
        side = f"common={tmp_path / f'{name}-common.parquet'}"
        scored = run("score", tmp_path / "run", tmp_path / f"{name}.parquet", "--side", side, "-o", outs[-1], "-q")
        assert scored.code == 0, scored.err
        assert "item_id" not in scored.out + scored.err
        assert "category" in scored.out
    few, every = (pl.read_parquet(out).select("pctr", "pcvr", "pctcvr") for out in outs)
    assert few.equals(every)
    assert run("evaluate", tmp_path / "run", dataset.path, "--by", "category", "-q").code == 0


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ('network.exclude=["user_ie"]', 1, "network.exclude must name fields of the dataset, however: 'user_ie'. Did"),
        ("network.exclude=user_id", 2, "'network.exclude' must be valid, however: 'user_id' (input should be a list)"),
        ("network.numbers=linear", 2, "'linear' (input should be 'bucket' or 'interpolate')"),
        ("network.exlude=[]", 2, "'network.exlude'. Did you mean 'exclude'?"),
    ],
)
@pytest.mark.parametrize("verb", ["train BASE", "compare", "tune ESMM"])
def test_a_bad_choice_is_refused_before_training(run, dataset, tmp_path, verb, setting, code, said):
    out = tmp_path / "out"
    ran = run(*verb.split(), dataset.path, "-o", out, "--set", setting, "-q")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert not out.exists() or not list(out.iterdir())
