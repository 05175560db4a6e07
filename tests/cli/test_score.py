"""`score`: rows of files and of standard input come out in order with three columns more."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.errors import DataError
from entirespace.scoring.score import score


@pytest.fixture(scope="module")
def simulated(dataset, simulated_log, quick, tmp_path_factory):
    """A run on the simulated log, and the raw rows of its test part."""
    run = es.fit(es.ESMM(), dataset.train, config=quick, out=tmp_path_factory.mktemp("score") / "run")
    rows = pl.read_parquet(simulated_log / "impressions*.parquet").tail(len(dataset.test))
    return run, rows, simulated_log / "common.parquet"


@pytest.fixture(scope="module")
def flat(quick, tmp_path_factory):
    """A run on a log that CSV can hold, with a side table."""
    rng = np.random.default_rng(1)
    n = 400
    log = pl.DataFrame(
        {
            "t": np.arange(n),
            "uid": [f"u{i}" for i in rng.integers(0, 30, n)],
            "item": rng.integers(0, 40, n),
            "price": rng.random(n).round(3),
            "name": rng.choice(["a, b", 'the "c"', "d"], n),
            "y": rng.integers(0, 2, n),
            "z": rng.integers(0, 2, n),
        }
    )
    users = pl.DataFrame({"uid": [f"u{i}" for i in range(25)], "age": rng.integers(18, 80, 25).astype(float)})
    data = es.from_frame(
        log,
        click="y",
        conversion="z",
        order="t",
        fields=["item", "price", "name"],
        tables={"user": es.SideTable(users, key="uid")},
        out=tmp_path_factory.mktemp("flat") / "dataset",
    )
    reference = es.reference_ctr(data.train, config=quick)
    run = es.fit(es.BASE(), data.train, config=quick, reference=reference, out=data.path.parent / "run")
    return run, log.tail(200), users, data


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def scores(frame: pl.DataFrame) -> np.ndarray:
    return frame.select("pctr", "pcvr", "pctcvr").cast(pl.Float32).to_numpy()


def expected(p) -> np.ndarray:
    return np.stack([p.pctr, p.pcvr, p.pctcvr], axis=1)


def test_the_rows_of_the_test_part_have_the_scores_of_the_part(run, dataset, simulated, tmp_path):
    made, rows, common = simulated
    rows.write_parquet(tmp_path / "rows.parquet")
    ran = run("score", made.folder, "rows.parquet", "--side", f"common={common}", "-o", "out.parquet", "-q")
    assert ran.code == 0, ran.err
    out = pl.read_parquet(tmp_path / "out.parquet")
    assert out.drop("pctr", "pcvr", "pctcvr").equals(rows)
    np.testing.assert_array_equal(scores(out), expected(made.predict(dataset.test)))
    assert f"out.parquet: {len(rows):,} rows" in ran.out
    assert "unseen %" in ran.out


def test_csv_keeps_text_and_order_and_jsonl_and_parquet_score_alike(run, flat, tmp_path):
    made, rows, users, data = flat
    want = expected(made.predict(data.test))
    users.write_csv(tmp_path / "users.csv")
    rows.write_csv(tmp_path / "rows.csv")
    rows.write_ndjson(tmp_path / "rows.jsonl")
    rows.write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows2.csv.gz").write_bytes(gzip.compress((tmp_path / "rows.csv").read_bytes()))
    read = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}
    for name in ("rows.csv", "rows2.csv.gz", "rows.jsonl", "rows.parquet"):
        for kind in ("csv", "jsonl", "parquet"):
            out = tmp_path / f"out-{name}.{kind}"
            ran = run("score", made.folder, name, "--side", "user=users.csv", "-o", out, "--json", "-q")
            assert ran.code == 0, ran.err
            assert json.loads(ran.out)["rows"] == 200
            found = read[kind](out)
            np.testing.assert_array_equal(scores(found), want)
            assert found["name"].to_list() == rows["name"].to_list()
            assert found["item"].cast(pl.Int64).to_list() == rows["item"].to_list()
    joined = rows.join(users, on="uid", how="left")
    known = joined["age"].is_not_null().to_numpy()  # a user without a row is "unseen" only where the table is given
    joined.write_csv(tmp_path / "joined.csv")
    ran = run("score", made.folder, "joined.csv", "-o", "joined.parquet", "-q")
    assert ran.code == 0, ran.err
    np.testing.assert_allclose(scores(pl.read_parquet(tmp_path / "joined.parquet"))[known], want[known], rtol=1e-5)


def test_several_files_and_standard_input_to_standard_output(run, flat, tmp_path):
    made, rows, users, data = flat
    users.write_csv(tmp_path / "users.csv")
    for i in range(2):
        rows[100 * i : 100 * (i + 1)].write_csv(tmp_path / f"part{i}.csv")
    ran = run("score", made.folder, "part0.csv", "part1.csv", "--side", "user=users.csv", "-o", "out.csv", "-q")
    assert ran.code == 0, ran.err
    np.testing.assert_array_equal(scores(pl.read_csv(tmp_path / "out.csv")), expected(made.predict(data.test)))
    command = [sys.executable, "-c", "from entirespace.cli import main; main()", "score", str(made.folder), "-"]
    command += ["--format", "jsonl", "--side", "user=users.csv", "-o", "-", "-q"]
    piped = subprocess.run(command, input=rows.write_ndjson().encode(), capture_output=True, cwd=tmp_path)
    assert piped.returncode == 0, piped.stderr
    np.testing.assert_array_equal(scores(pl.read_ndjson(piped.stdout)), expected(made.predict(data.test)))
    assert b"200 rows" in piped.stderr


BAD = "t,uid,item,price,name,y,z\n1,u1,3,0.5,d,0,0\n2,u1,3,dear,d,0,0\n3,u1\n4,u2,3,0.5,d,0,0\n"


def test_a_row_that_cannot_be_read(run, flat, tmp_path):
    made, _, users, _ = flat
    users.write_csv(tmp_path / "users.csv")
    (tmp_path / "rows.csv").write_text(BAD)
    command = ("score", made.folder, "rows.csv", "--side", "user=users.csv", "-o", "out.csv", "-q")
    ran = run(*command)
    assert ran.code == 1
    assert "rows.csv, line 4: each line must be a row of the file, however: '3,u1'" in ran.err
    (tmp_path / "rows.csv").write_text(BAD.replace("3,u1\n", ""))
    ran = run(*command)
    assert ran.code == 1
    assert "rows.csv, line 3: field 'price' must hold a number, however: 'dear'" in ran.err
    assert not (tmp_path / "out.csv").exists()
    assert [p.name for p in tmp_path.glob("*.partial")] == []
    pl.read_csv(tmp_path / "rows.csv").write_parquet(tmp_path / "rows.parquet")
    ran = run("score", made.folder, "rows.parquet", "--side", "user=users.csv", "-o", "out.csv", "-q")
    assert "rows.parquet, row 2: field 'price' must hold a number" in ran.err
    (tmp_path / "rows.csv").write_text(BAD)
    ran = run(*command, "--bad-rows", "empty")
    assert ran.code == 0, ran.err
    out = pl.read_csv(tmp_path / "out.csv")
    assert out["pcvr"].is_null().to_list() == [False, True, True, False]
    assert out["t"].to_list() == [1, 2, None, 4]
    assert "4 rows, 2 of them could not be scored" in ran.out
    assert "rows.csv, line 4: the line is no row" in ran.out


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("t,uid,item,price,name,pcvr\n1,u1,3,0.5,d,1\n", (), "the rows must have no column 'pcvr', which is added"),
        ("t,uid,item,name\n1,u1,3,d\n", (), "must have the column 'price'"),
        ("", (), "a CSV file must begin with a line of column names"),
        ("t,t\n1,2\n", (), "each column of a file must have a different name, however: 't' occurs twice"),
        (BAD, ("--side", "usr=users.csv"), "a side table must be one of the layout's, however: 'usr'; the layout has"),
        (BAD, ("--side", "user"), "--side must read NAME=FILE"),
        (BAD, ("--delimiter", "||"), "--delimiter must be one ASCII character"),
    ],
)
def test_what_is_refused(run, flat, tmp_path, content, options, said):
    made, _, users, _ = flat
    users.write_csv(tmp_path / "users.csv")
    (tmp_path / "rows.csv").write_text(content)
    side = () if "--side" in options else ("--side", "user=users.csv")
    ran = run("score", made.folder, "rows.csv", *side, *options, "-o", "out.csv", "-q")
    assert ran.code in (1, 2)
    assert said in " ".join(ran.err.split())
    assert not (tmp_path / "out.csv").exists()


def test_an_output_that_is_there_is_not_replaced(run, flat, tmp_path):
    made, rows, users, _ = flat
    users.write_csv(tmp_path / "users.csv")
    rows.write_csv(tmp_path / "rows.csv")
    (tmp_path / "out.csv").write_text("precious")
    command = ("score", made.folder, "rows.csv", "--side", "user=users.csv", "-o", "out.csv", "-q")
    assert run(*command).code == 2
    assert (tmp_path / "out.csv").read_text() == "precious"
    assert run(*command, "--force").code == 0
    Path("folder").mkdir()
    Path("link").symlink_to("out.csv")
    Path("nowhere").symlink_to("gone.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    read = "the output must be a file that may be written, however: it is also read"
    for out, said in {
        "rows.csv": read,
        "users.csv": read,
        "folder": "it is a folder",
        "nowhere": "is a link to gone",
    }.items():
        ran = run(*command[:-3], "-o", out, "-q", "--force", "--out-format", "csv")
        assert ran.code == 1
        assert f"error: {out}: " in ran.err
        assert said in ran.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    with pytest.raises(DataError, match="it exists"):
        score(made, ["rows.csv"], "out.csv", tables={"user": "users.csv"})
    Path("out.csv").write_text("old")
    assert run(*command[:-3], "-o", "link", "-q", "--force", "--out-format", "csv").code == 0
    assert Path("link").is_symlink()
    assert Path("out.csv").read_bytes() == before[tmp_path / "out.csv"]
    ran = run("score", made.folder, "rows.dat", "-o", "new.csv", "-q")
    assert "the file's ending must give its format" in ran.err


@pytest.mark.parametrize("name", ["run.json", "weights.safetensors", "vocabulary/item.parquet", "reference/run.json"])
def test_a_file_of_the_run_is_never_replaced(run, flat, tmp_path, name):
    """Not even with --force; other files in its folder are."""
    made, rows, users, _ = flat
    users.write_csv(tmp_path / "users.csv")
    rows.write_csv(tmp_path / "rows.csv")
    before = (made.folder / name).read_bytes()
    command = (
        "score",
        made.folder,
        "rows.csv",
        "--side",
        "user=users.csv",
        "--force",
        "--out-format",
        "csv",
        "-q",
        "-o",
    )
    ran = run(*command, made.folder / name)
    assert (ran.code, "it is also read" in ran.err) == (1, True)
    assert (made.folder / name).read_bytes() == before
    (made.folder / "scored.csv").write_text("old")
    assert run(*command, made.folder / "scored.csv").code == 0
    (made.folder / "scored.csv").unlink()


def test_json_values_of_several_types_are_text(run, flat, tmp_path):
    """An id as number in one line and as text in another is one id; a key that is missing is null."""
    made, rows, users, data = flat
    users.write_csv(tmp_path / "users.csv")
    objects = [json.loads(line) for line in rows.write_ndjson().splitlines()]
    for i, found in enumerate(objects):
        found["item"] = str(found["item"]) if i % 2 else found["item"]
        if i % 3 == 0:
            del found["y"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(found) + "\n" for found in objects))
    ran = run("score", made.folder, "rows.jsonl", "--side", "user=users.csv", "-o", "out.jsonl", "-q")
    assert ran.code == 0, ran.err
    np.testing.assert_array_equal(scores(pl.read_ndjson(Path("out.jsonl"))), expected(made.predict(data.test)))


def test_missing_numbers_are_no_unseen_ids(run, flat, tmp_path):
    """In the rows, in a side table, and where a side table has no row; in the table, in JSON and in `predict`."""
    made, rows, users, data = flat
    rows = rows[:10].with_columns(
        uid=pl.Series(["u1", "u2", "nobody", *["u3"] * 7]),
        item=pl.Series([99999, *[int(data.encoders["item"].ids[0])] * 9]),
        price=pl.Series([None, None, None, *rows["price"][3:10]]),
    )
    users = users.with_columns(age=pl.when(pl.col("uid") == "u1").then(None).otherwise("age"))
    rows.write_csv(tmp_path / "rows.csv")
    users.write_csv(tmp_path / "users.csv")
    command = ("score", made.folder, "rows.csv", "--side", "user=users.csv", "-o", "out.csv", "-q", "--force")
    found = json.loads(run(*command, "--json").out)["unseen"]
    assert found["price"] == {"numbers": 10, "missing": 3}
    assert found["age"] == {"numbers": 10, "missing": 2}
    assert found["uid"] == {"ids": 10, "unseen": 1}
    assert found["item"] == {"ids": 10, "unseen": 1}
    lines = {line.split()[0]: line.split()[1:] for line in run(*command).out.splitlines() if line.strip()}
    assert lines["price"] == ["-", "-", "-", "10", "3", "30.00"]
    assert lines["uid"] == ["10", "1", "10.00", "-", "-", "-"]
    p = made.predict(rows, tables={"user": users})
    assert (p.unseen["price"].unseen, p.unseen["price"].missing) == (0, 3)
    assert "numbers" in str(p)
