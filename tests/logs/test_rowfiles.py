"""Files of rows to score: endings, and files that are not whole."""

from __future__ import annotations

import json
import os

import polars as pl
import pytest

from entirespace.errors import DataError
from entirespace.logs import lines, rowfiles
from entirespace.logs.rowfiles import read_rows

ROWS = {"a": [str(i) for i in range(300)], "b": ["x"] * 300}


@pytest.mark.parametrize("name", ["ROWS.CSV", "rows.Csv.GZ", "ROWS.JSONL.ZST", "rows.PARQUET"])
def test_endings_in_capitals(log, name):
    frame = pl.DataFrame(ROWS)
    content = frame.write_ndjson() if "JSON" in name else frame
    path = log.write(name.lower(), content).rename(log.raw / name)
    assert pl.concat([batch.rows for batch in read_rows(str(path))]).to_dict(as_series=False) == ROWS


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.jsonl"])
@pytest.mark.parametrize("change", [lambda size: size // 2, lambda size: size + 6])
def test_a_file_that_changes_while_it_is_read_is_an_error(log, monkeypatch, name, change):
    monkeypatch.setattr(rowfiles, "BLOCK_BYTES", 100)
    frame = pl.DataFrame(ROWS)
    path = log.write(name, frame.write_ndjson() if "json" in name else frame)
    batches = read_rows(str(path))
    next(batches)
    os.truncate(path, change(path.stat().st_size))
    with pytest.raises(DataError, match=r"must not change while it is read|must be readable"):
        list(batches)


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.jsonl"])
def test_a_line_that_would_fill_the_memory_is_refused(log, monkeypatch, name):
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    monkeypatch.setattr(rowfiles, "BLOCK_BYTES", 50)
    path = log.write(name, ("a\n1\n" if "csv" in name else '{"a": 1}\n{"a": 2}\n') + "0" * 999)
    with pytest.raises(DataError, match=r"line 3: a line, or a series of blank lines, may have at most 100 bytes"):
        list(read_rows(str(path)))


@pytest.mark.parametrize(("name", "came"), [("", "it is a folder"), ("rows.csv", "there is no such file")])
def test_what_is_there_instead_of_the_file(tmp_path, name, came):
    with pytest.raises(DataError, match=f"the file must be readable, however: {came}"):
        list(read_rows(str(tmp_path / name)))


def test_a_json_value_nested_deep_is_no_row(tmp_path):
    deep = "[" * 10**5 + "]" * 10**5
    (tmp_path / "rows.jsonl").write_text(json.dumps({"a": 1}) + f'\n{{"a": {deep}}}\n')
    (batch,) = read_rows(str(tmp_path / "rows.jsonl"))
    assert list(batch.broken) == [1]
