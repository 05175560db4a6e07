"""`score BUNDLE ROWS` is `score RUN ROWS`: the same options, files, errors and counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from exported import small_log

NAMES = ("pctr", "pcvr", "pctcvr")


@pytest.fixture
def logs(exported, tmp_path, monkeypatch):
    """The run, the bundle's folder, and the files of a later log in the working folder."""
    monkeypatch.chdir(tmp_path)
    rows, tables = small_log(120, seed=8)
    for name, table in tables.items():
        table.write_parquet(f"{name}.parquet")
    rows.write_parquet("rows.parquet")
    rows.write_ndjson("rows.jsonl")
    text = rows.with_columns(pl.col("words").list.join(" ").map_elements(lambda t: f"[{t}]", pl.String))
    text.write_csv("rows.csv")
    return *exported, ("--side", "user=user.parquet", "--side", "item=item.parquet", "-q")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_format_scores_as_the_run(run, logs, ending):
    made, folder, options = logs
    found = {}
    for name, scorer in (("run", made.folder), ("bundle", folder)):
        ran = run("score", scorer, f"rows.{ending}", *options, "--json", "-o", f"{name}.parquet")
        assert ran.code == 0, ran.err
        found[name] = pl.read_parquet(f"{name}.parquet"), json.loads(ran.out)
    (one, about), (other, also) = found["run"], found["bundle"]
    assert one.drop(NAMES).equals(other.drop(NAMES))
    assert about["unseen"] == also["unseen"]
    assert also["rows"] == 120
    for name in NAMES:
        np.testing.assert_allclose(one[name].to_numpy(), other[name].to_numpy(), rtol=0, atol=1e-6)


def test_bad_rows_and_bad_commands(run, logs):
    _, folder, options = logs
    lines = Path("rows.csv").read_text().splitlines()
    place = lines[0].split(",").index("price")
    cells = lines[2].split(",")
    cells[place] = "dear"
    Path("bad.csv").write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
    ran = run("score", folder, "bad.csv", *options, "-o", "out.csv")
    assert ran.code == 1
    assert "bad.csv, line 3: field 'price' must hold a number, however: 'dear'" in ran.err
    assert not Path("out.csv").exists()
    ran = run("score", folder, "bad.csv", *options, "-o", "out.parquet", "--bad-rows", "empty")
    assert ran.code == 0, ran.err
    assert pl.read_parquet("out.parquet")["pctr"].is_null().to_list() == [False, True, *[False] * 118]
    ran = run("score", folder, "rows.csv", *options, "-o", "out2.csv", "--method", "ESMM")
    assert ran.code == 2
    assert "--reference and --method are for runs" in " ".join(ran.err.split())


@pytest.mark.parametrize("name", ["program.onnx", "manifest.json", "vocabulary/city.parquet"])
def test_a_file_of_the_bundle_is_never_replaced(run, logs, name):
    _, folder, options = logs
    before = (folder / name).read_bytes()
    ran = run("score", folder, "rows.csv", *options, "--force", "--out-format", "csv", "-o", folder / name)
    assert (ran.code, "it is also read" in ran.err) == (1, True)
    assert (folder / name).read_bytes() == before
