"""JSON lines: a value is the same id, number or bag as from CSV and Parquet, whatever else its column holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from entirespace.core.rows import Field
from entirespace.errors import DataError
from entirespace.features.values import Bags, read, text
from entirespace.logs import rowfiles
from entirespace.logs.rowfiles import RowWriter, read_rows, read_table

LARGE = 2**60 + 1


def rows_of(path: Path) -> pl.DataFrame:
    return pl.concat([batch.rows for batch in read_rows(str(path))])


def from_json(values: list[str], folder: Path) -> pl.DataFrame:
    (folder / "rows.jsonl").write_text("".join(f'{{"t": {i}, "a": {v}}}\n' for i, v in enumerate(values)))
    return rows_of(folder / "rows.jsonl")


def from_csv(values: list[str], folder: Path) -> pl.DataFrame:
    pl.DataFrame({"t": range(len(values)), "a": values}).write_csv(folder / "rows.csv")
    return rows_of(folder / "rows.csv")


def from_parquet(values: list[object], folder: Path) -> pl.DataFrame:
    pl.DataFrame({"t": range(len(values)), "a": values}, strict=False).write_parquet(folder / "rows.parquet")
    return rows_of(folder / "rows.parquet")


IDS: dict[str, tuple[list[str], list[str], list[object]]] = {
    "numbers": (["7", "8", "-0"], ["7", "8", "0"], [7, 8, 0]),
    "whole numbers as floats": (["7", "7.0", "7e0", "1e3"], ["7", "7.0", "7", "1000"], [7.0, 7.0, 7.0, 1000.0]),
    "numbers and text": (["7", '"7"', '"7.0"', "7.0"], ["7", "7", "7.0", "7.0"], ["7", "7", "7", "7"]),
    "text that is no number": (['"007"', "7", '"1e3"'], ["007", "7", "1e3"], ["007", "7", "1e3"]),
    "true and false": (["true", "false", "null"], ["True", "FALSE", ""], [True, False, None]),
    "true among numbers and text": (["true", '"True"', "1", "false"], ["true", "true", "1", "false"], []),
    "missing": (["null", '""', "7"], ["", "", "7"], [None, None, 7]),
    "nothing but missing": (["null", "null"], ["", ""], [None, None]),
    "fractions": (["0.5", "1e-7", "3"], ["0.5", "1e-7", "3"], [0.5, 1e-7, 3.0]),
    "fractions among text": (["0.5", "1e-7", '"x"'], ["0.5", "1e-7", "x"], ["0.5", "1e-7", "x"]),
    "large numbers": ([f"{LARGE}", "3"], [f"{LARGE}", "3"], [LARGE, 3]),
    "large numbers among floats": ([f"{LARGE}", "0.5", "3.0"], [f"{LARGE}", "0.5", "3"], []),
    "very large numbers": ([f"{2**63 + 9}", f"{10**25}"], [f"{2**63 + 9}", f"{10**25}"], []),
    "times": (['"2024-05-31T18:00:00Z"', "7"], ["2024-05-31 18:00:00Z", "7"], []),
    "letters": (['"K\\u00f6ln"', '"ü"', "1"], ["Köln", "ü", "1"], ["Köln", "ü", "1"]),
}


@pytest.mark.parametrize("what", IDS)
def test_an_id_is_its_value(what: str, tmp_path: Path) -> None:
    as_json, as_csv, as_arrow = IDS[what]
    found = text(from_json(as_json, tmp_path)["a"]).to_list()
    assert found == text(from_csv(as_csv, tmp_path)["a"]).to_list()
    if as_arrow:
        assert found == text(from_parquet(as_arrow, tmp_path)["a"]).to_list()


BAGS: dict[str, tuple[list[str], list[str], list[object]]] = {
    "numbers": (["[27, 9]", "[]", "null", "[3]"], ["27|9", "", "", "3"], [[27, 9], [], None, [3]]),
    "a missing id": (["[27, null]", "[null]"], [], [[27, None], [None]]),
    "a missing id among text": (["[27, null, 3]", '"27"'], ["27||3", "27"], [["27", None, "3"], ["27"]]),
    "several types": (['["7.0", 7, true, 0.5]', "[1]"], ["7.0|7|true|0.5", "1"], []),
    "large numbers": ([f"[{LARGE}, 0.5]", f"[{10**25}]"], [f"{LARGE}|0.5", f"{10**25}"], []),
    "very large numbers": ([f"[{10**25}]", "[1]"], [f"{10**25}", "1"], []),
    "one id and lists": (["[27, 9]", "9", '"27"'], ["27|9", "9", "27"], [["27", "9"], ["9"], ["27"]]),
    "words with blanks": (['["ü, x", "say \\"b\\"", "1e-7"]', '"c"'], ['ü, x|say "b"|1e-7', "c"], []),
    "fractions among text": (["[1e-7, 2.0]", '"c"'], ["1e-7|2", "c"], []),
}


def bag(rows: pl.DataFrame, separator: str | None = None) -> list[list[str]]:
    content, checks = read(rows, Field("a", kind="ids", separator=separator))
    assert isinstance(content, Bags)
    assert not any(bad.any() for _, bad in checks)
    ends = np.cumsum(content.lengths)
    return [text(content.ids).to_list()[e - n : e] for e, n in zip(ends, content.lengths, strict=True)]


@pytest.mark.parametrize("what", BAGS)
def test_a_bag_is_its_ids(what: str, tmp_path: Path) -> None:
    as_json, as_csv, as_arrow = BAGS[what]
    found = bag(from_json(as_json, tmp_path))
    if as_csv:
        assert found == bag(from_csv(as_csv, tmp_path), "|")
    if as_arrow:
        assert found == bag(from_parquet(as_arrow, tmp_path))


@pytest.mark.parametrize("values", [["0.5", "3", "null"], ['"0.5"', "3", '""'], ["5e-1", '"3.0"', "null"]])
def test_a_number_is_its_value(values: list[str], tmp_path: Path) -> None:
    numbers, checks = read(from_json(values, tmp_path), Field("a", kind="number", buckets=4))
    np.testing.assert_array_equal(numbers, [0.5, 3, np.nan])
    assert not checks[0][1].any()


LATER = {
    "fractions after whole numbers": (["7", "8"], ["7.5", "8.5"]),
    "codes after numbers": (["7", "8"], ['"007"', '"x"']),
    "large numbers after fractions": (["0.5", "1.5"], [f"{LARGE}", "3"]),
    "numbers after nothing": (["null", "null"], ["3", "4"]),
    "very large numbers": ([f"{10**25}", "3"], ["4", "5"]),
}
AS_PARQUET = ["very large numbers"]


@pytest.mark.parametrize("what", LATER)
def test_no_value_changes_where_later_rows_have_another_type(what: str, tmp_path: Path, monkeypatch) -> None:
    """Rows are read and written in batches, each with types of its own."""
    monkeypatch.setattr(rowfiles, "ROWS", 2)
    first, later = LATER[what]
    lines = [f'{{"a": {value}}}\n' for value in (*first, *later)]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    batches = list(read_rows(str(tmp_path / "rows.jsonl")))
    assert len(batches) == 2
    wanted = [str(json.loads(value) if value != "null" else "").strip('"') for value in (*first, *later)]

    def written(kind: str) -> list[str]:
        out = tmp_path / f"out.{kind}"
        with RowWriter(str(out)) as writer:
            for batch in batches:
                writer.write(batch.rows, batch.where(0))
        return [value for batch in read_rows(str(out)) for value in text(batch.rows["a"]).to_list()]

    assert written("csv") == written("jsonl") == wanted
    if what in AS_PARQUET:
        assert written("parquet") == wanted
    else:
        with pytest.raises(DataError, match=r"line 3: .* must have values of one type in column 'a', which began"):
            written("parquet")


def test_a_side_table_whose_types_differ_is_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rowfiles, "ROWS", 2)
    lines = [
        {"k": 1, "n": 5, "ids": [27, 9], "big": LARGE},
        {"k": 2, "n": 6, "ids": [3], "big": 1},
        {"k": "x", "n": 0.5, "ids": ["b c"], "big": 0.5, "late": True},
        {"k": "y", "n": None, "ids": [], "big": 2},
        {"k": "z", "n": None, "ids": "7", "big": 3},
    ]
    (tmp_path / "side.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = read_table(str(tmp_path / "side.jsonl"))
    assert text(table["k"]).to_list() == ["1", "2", "x", "y", "z"]
    assert text(table["big"]).to_list() == [f"{LARGE}", "1", "0.5", "2", "3"]
    assert text(table["late"]).to_list() == ["", "", "true", "", ""]
    np.testing.assert_array_equal(read(table, Field("n", kind="number"))[0], [5, 6, 0.5, np.nan, np.nan])
    assert bag(table.rename({"ids": "a"})) == [["27", "9"], ["3"], ["b c"], [], ["7"]]


def test_a_row_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    """Lists and structures where a field takes one value; deeper lists everywhere."""
    from entirespace.features.encoders import Hashed
    from entirespace.features.frames import FrameEncoder
    from entirespace.features.layout import Encoders

    fields = (Field("a", hash=9), Field("b", kind="ids", hash=9))
    encoder = FrameEncoder(Encoders(fields, {"a": Hashed(9), "b": Hashed(9)}, {}, None, None))
    good = {"a": [1, 2], "b": [[1], [2]]}
    assert encoder.encode(good)[1] == []
    for name, values in {"a": [[1], [2]], "b": [[[1]], [[2]]]}.items():
        with pytest.raises(DataError, match=f"field '{name}' must hold one value per row.*column '{name}' holds List"):
            encoder.encode({**good, name: values})
    for name in good:
        with pytest.raises(DataError, match=f"field '{name}' must hold one value per row.*holds Struct"):
            encoder.encode({**good, name: [{"x": 1}, {"x": 2}]})
