"""The true probabilities of a simulated log."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from raw_logs import PLAIN

from entirespace.errors import ConfigError, DataError

TRUTH = PLAIN + '[truth]\nfiles = ["truth*"]\npctr = "p"\npcvr = "q"\n'


@pytest.mark.parametrize("block", [16, 10**6])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_quarantined_row_does_not_shift_the_truth(log, monkeypatch, block, kind):
    monkeypatch.setattr("entirespace.logs.files.BLOCK_BYTES", block)
    monkeypatch.setattr("entirespace.logs.files.PARQUET_ROWS", 3)
    log.write("log_1.csv", "a,t,y,z\nx,1,1,0\nx,2,7,0\n\nx,3,0,1\nbroken\nx,4,0,0\n")
    log.write("log_2.parquet", {"a": [1, 2, 3, 4], "t": [5, 6, 7, 8], "y": [1, 9, 1, 0], "z": [0, 0, 0, 0]})
    log.write("log_3.csv", "a,t,y,z\nx,9,0,0\n")
    rows = range(11)  # 1 2 blank 3 broken 4, 5 6 7 8, 9
    log.write(f"truth.{kind}", {"q": [i / 100 for i in rows], "p": [i / 10 for i in rows]})
    blocks, _ = log.read(TRUTH, on_orphan="drop")
    assert np.concatenate([b.order for b in blocks["impressions"]]).tolist() == [1, 4, 5, 7, 8, 9]
    for i, scale in ((0, 10), (1, 100)):
        truth = np.concatenate([b.truth[i] for b in blocks["impressions"]])
        np.testing.assert_allclose(truth * scale, [0, 5, 6, 8, 9, 10], rtol=1e-6)
        assert truth.dtype == np.float32


@pytest.mark.parametrize(
    ("rows", "message"), [(2, "it has 2 rows, and there are more"), (4, "it has 4 rows, and there are 3 impressions")]
)
def test_a_truth_of_another_length_is_refused(log, rows, message):
    log.write("log.csv", "a,t,y,z\n" + "x,1,1,0\n" * 3)
    log.write("truth.parquet", {"p": [0.5] * rows, "q": [0.5] * rows})
    message = f"truth.parquet: the truth must have one row for each impression, however: {message}"
    with pytest.raises(DataError, match=message):
        log.read(TRUTH)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "p,q\n0.5,0.5\n0.5,x\n0.5,0.5\n",
            r"truth\.csv, line 3: the truth must be numbers from 0 to 1, however: '.*x'",
        ),
        ("p,q\n0.5,0.5\n0.5\n0.5,0.5\n", r"truth\.csv, line 3: the truth must be numbers from 0 to 1, however: '0.5'"),
        ("p,q\n0.5,0.5\n1.7,0.5\n", r"truth\.csv, line 3: .*from 0 to 1, however: 'p = 1\.7, q = 0\.5'"),
        ("q,p\n0.5,0.5\n-0.1,0.5\n", r"truth\.csv, line 3: .*'p = 0\.5, q = -0\.1'"),
        ("p,q\n0.5,0.5\nnan,0.5\n", r"truth\.csv, line 3: .*'p = nan, q = 0\.5'"),
        ("p,q\n0.5,0.5\n0.5,\n", r"truth\.csv, line 3: .*'p = 0\.5, q = '"),
        ("p\n0.5\n", r"truth\.csv: the truth must have a column 'q'"),
    ],
)
def test_a_truth_that_is_not_a_number(log, content, message):
    log.write("log.csv", "a,t,y,z\n" + "x,1,1,0\n" * 3)
    log.write("truth.csv", content)
    with pytest.raises(DataError, match=message):
        log.read(TRUTH)


def test_files_of_one_name_do_not_share_their_truth(log):
    """A file's rows of the truth are taken by position among the rows read, not by file name and line."""
    for folder, t in (("a", 1), ("b", 3)):
        (log.raw / folder).mkdir()
        log.write(f"{folder}/log.csv", f"a,t,y,z\nx,{t},1,0\nx,{t + 1},1,0\n")
    log.write("truth.csv", {"p": [0.1, 0.2, 0.3, 0.4], "q": [0.5] * 4})
    blocks, _ = log.read(TRUTH.replace("log*", "*/log.csv"))
    truth = np.concatenate([b.truth[0] for b in blocks["impressions"]])
    np.testing.assert_allclose(truth, [0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_truth_files_come_in_the_order_of_the_files_of_the_log(log):
    for i, name in enumerate(["a/9", "a/10", "b/2", "b/11"]):
        for kind in ("log", "truth"):
            (log.raw / kind / name).parent.mkdir(parents=True, exist_ok=True)
        log.write(f"log/{name}.csv", f"a,t,y,z\nx,{i},1,1\n")
        log.write(f"truth/{name}.csv", f"p,q\n0.{i},0.{i}\n")
    schema = TRUTH.replace('"log*"', '"log/*/*.csv"').replace('"truth*"', '"truth/*/*.csv"')
    blocks, _ = log.read(schema)
    assert np.concatenate([b.order for b in blocks["impressions"]]).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(
        np.concatenate([b.truth[0] for b in blocks["impressions"]]) * 10, [0, 1, 2, 3], rtol=1e-6
    )


@pytest.mark.parametrize("table", ["impressions", "truth"])
def test_no_table_may_name_files_outside_the_log(log, table):
    log.write("log.csv", "a,t,y,z\nx,1,1,1\n")
    (log.raw.parent / "truth.csv").write_text("p,q\n0.5,0.5\n")
    (log.raw.parent / "log.csv").write_text("a,t,y,z\nx,1,1,1\n")
    old, new = ('"log*"', '"../log*"') if table == "impressions" else ('"truth*"', '"../truth*"')
    log.write("truth.csv", "p,q\n0.5,0.5\n")
    schema = TRUTH.replace(old, new)
    with pytest.raises(ConfigError, match=r"'\.\./.* names .*--allow-outside"):
        log.read(schema)
    assert log.read(schema, allow_outside=True)[0]["impressions"][0].rows == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("p;q\n0.1;0.01\n0.2;0.02\n", 'delimiter = ";"'),
        ("0.1\t0.01\n0.2\t0.02\n", 'delimiter = "\\t"\ncolumns = ["p", "q"]'),
    ],
)
def test_a_truth_is_written_as_any_other_table(log, content, says):
    log.write("log.csv", "a,t,y,z\nx,1,1,0\nx,2,0,0\n")
    log.write("truth.csv", content)
    blocks, _ = log.read(TRUTH + says)
    np.testing.assert_allclose(blocks["impressions"][0].truth, [[0.1, 0.2], [0.01, 0.02]], rtol=1e-6)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_truth_with_two_columns_of_one_name(log, kind):
    log.write("log.csv", "a,t,y,z\nx,1,1,0\n")
    if kind == "csv":
        log.write("truth.csv", "p,q,p\n0.1,0.01,0.9\n")
    else:
        arrays = [pa.array([0.1]), pa.array([0.01]), pa.array([0.9])]
        log.write("truth.parquet", pa.Table.from_arrays(arrays, names=["p", "q", "p"]))
    with pytest.raises(DataError, match=r"truth\.\w+: each column of a file must have a different name, however: 'p'"):
        log.read(TRUTH)
