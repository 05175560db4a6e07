"""Labels of every rule and storage, through `prepare`, compared with plain Python; and bad labels that are named."""

from __future__ import annotations

import csv
import datetime as dt
import math
import random
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest
from read_back import by_row, prepare_files, reasons

from entirespace.errors import DataError

SCHEMA = """
[impressions]
files = ["log*"]
MORE
[impressions.labels]
CLICK
CONVERSION
[impressions.fields]
item = {}
[roles]
segments = ["rid"]
[split]
by = "all"
part = "train"
"""
BAD, MISSING = "bad", "missing"


def as_text(cell: object) -> str:
    """What a cell says, as text: whole numbers without a point."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float | Decimal):
        return str(int(cell)) if cell == int(cell) else str(cell)
    text = str(cell).strip()
    try:
        return str(int(Decimal(text))) if set(text) <= set("-0123456789.") and Decimal(text) % 1 == 0 else text
    except ArithmeticError:
        return text


def plain(cell: object) -> object:
    text = as_text(cell).lower()
    if text == "":
        return MISSING
    return {**dict.fromkeys(["1", "true", "yes", "y", "t"], 1), **dict.fromkeys(["0", "false", "no", "n", "f"], 0)}.get(
        text, BAD
    )


def levels(cell: object) -> object:
    text = as_text(cell)
    return MISSING if text == "" else 1 if text in ("3", "4", "5") else 0 if text in ("0", "1", "2") else BAD


def at_least(cell: object) -> object:
    text = as_text(cell)
    if text == "":
        return MISSING
    try:
        return int(float(text) >= 4)
    except ValueError:
        return BAD if text not in ("true", "false") or isinstance(cell, str) else 0


def present(cell: object) -> object:
    return int(as_text(cell) != "")


RULES = {
    "plain": ('"y"', plain, '"z"'),
    "levels": (
        '{ from = "y", values = [3, "4", 5.0], others = [0, 1, "2.0"] }',
        levels,
        '{ from = "z", values = [1] }',
    ),
    "at_least": ('{ from = "y", at_least = 4 }', at_least, '{ from = "z", at_least = 0.5 }'),
    "present": ('{ from = "y", present = true }', present, '"z"'),
}
STORED: dict[str, list[object]] = {
    "csv": [
        "0",
        "1",
        "0.0",
        "1.0",
        " 1",
        " 1.0 ",
        "3",
        "3.0",
        "4",
        " 4.0",
        "5",
        "2",
        "",
        " ",
        "yes",
        "No",
        "TRUE",
        "x",
        "-1",
    ],
    "bool": [True, False, None],
    "int8": [0, 1, 2, 3, 4, 5, -1, None],
    "uint64": [0, 1, 3, 4, None],
    "float": [0.0, 1.0, 3.0, 4.0, 0.5, 4.5, None],
    "float32": [0.0, 1.0, 3.0, 4.0, None, math.nan],
    "decimal": [Decimal("0.00"), Decimal("1.00"), Decimal("3.00"), Decimal("4.50"), None],
    "dictionary": ["0", "1", "3", "4.0", "yes", None],
    "bytes": [b"0", b"1", b"3", b"4"],
}
TYPES = {
    "int8": pa.int8(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "decimal": pa.decimal128(9, 2),
    "dictionary": pa.dictionary(pa.int8(), pa.string()),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", STORED)
def test_labels_of_every_storage(tmp_path, rule, kind):
    r = random.Random(1)
    click, read, conversion = RULES[rule]
    cells = [*STORED[kind], *r.choices(STORED[kind], k=10)]
    zs = ["1" if i % 3 else "0" for i in range(len(cells))]
    rids = [f"r{i}" for i in range(len(cells))]
    if kind == "csv":
        table = [{"rid": rid, "item": "a", "y": y, "z": z} for rid, y, z in zip(rids, cells, zs, strict=True)]
    else:
        y = pa.array(cells, TYPES.get(kind) if kind != "dictionary" else pa.string())
        y = y.dictionary_encode() if kind == "dictionary" else y
        table = pa.table({"rid": pa.array(rids), "item": pa.array(["a"] * len(rids)), "y": y, "z": pa.array(zs)})
    schema = (
        SCHEMA.replace("MORE", "")
        .replace("CLICK", f"click = {click}")
        .replace("CONVERSION", f"conversion = {conversion}")
    )
    expected = {rid: read(c.decode() if isinstance(c, bytes) else c) for rid, c in zip(rids, cells, strict=True)}
    files = {"log.csv" if kind == "csv" else "log.parquet": table}
    if not {0, 1} & set(expected.values()):
        with pytest.raises(DataError, match=r"none of .* rows can be used: .* bad_label"):
            prepare_files(tmp_path, schema, files, max_bad=1.0)
        return
    data = prepare_files(tmp_path, schema, files, max_bad=1.0)
    found = by_row(data)
    good = {rid: label for rid, label in expected.items() if label in (0, 1)}
    assert {rid: int(row["click"]) for rid, row in found.items()} == good
    assert {rid for rid, row in found.items() if row["conversion"]} == {
        rid for rid, z in zip(rids, zs, strict=True) if z == "1" and good.get(rid) == 1
    }
    assert reasons(data).get("bad_label", 0) == len(cells) - len(good)
    if len(good) < len(cells):  # each is in quarantine.csv with its column and value
        with (data.path / "quarantine.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        first = 2 if kind == "csv" else 1
        bad = [i for i, rid in enumerate(rids) if rid not in good]
        assert [int(line["line"]) for line in lines] == [first + i for i in bad]
        for line, i in zip(lines, bad, strict=True):
            value = cells[i].decode() if isinstance(cells[i], bytes) else cells[i]
            assert line["text"].startswith(f"y = {value!r} in"), line
            assert line["file"].startswith("log.")


@pytest.mark.parametrize("missing", ["", "NULL", "NA"])
@pytest.mark.parametrize("rule", ["plain", "levels", "at_least"])
def test_a_missing_conversion_of_an_unclicked_row_is_0_with_unclicked(tmp_path, missing, rule):
    conversion = {
        "plain": '{ from = "z", unclicked = 0 }',
        "levels": '{ from = "z", values = ["1"], others = ["0"], unclicked = 0 }',
        "at_least": '{ from = "z", at_least = 1, unclicked = 0 }',
    }[rule]
    rows = [("0", missing), ("1", missing), ("1", "1"), ("0", "0"), ("1", "0"), ("0", "x")]
    table = [{"rid": f"r{i}", "item": "a", "y": y, "z": z} for i, (y, z) in enumerate(rows)]
    schema = SCHEMA.replace("MORE", 'missing = ["NULL", "NA"]').replace("CLICK", 'click = "y"')
    schema = schema.replace("CONVERSION", f"conversion = {conversion}")
    data = prepare_files(tmp_path, schema, {"log.csv": table}, max_bad=1.0)
    found = {rid: (row["click"], row["conversion"]) for rid, row in by_row(data).items()}
    assert found == {"r0": (False, False), "r2": (True, True), "r3": (False, False), "r4": (True, False)}
    assert reasons(data)["bad_label"] == 2


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pl.Series([dt.date(2024, 1, 2), None]), [True, False]),
        (pl.Series(["1/2/16", "NULL"]), [True, False]),
        (pl.Series(["1/2/16", " "]), [True, False]),
        (pl.Series([0, None], dtype=pl.Int64), [True, False]),
        (pl.Series([math.nan, 0.0]), [False, True]),
        (pl.Series([False, None]), [True, False]),
    ],
)
def test_a_label_that_is_1_where_there_is_a_value(tmp_path, column, expected):
    table = pl.DataFrame({"rid": ["a", "b"], "item": ["x", "x"], "y": [1, 1]}).with_columns(z=column)
    schema = SCHEMA.replace("MORE", 'missing = ["NULL"]').replace("CLICK", 'click = "y"')
    schema = schema.replace("CONVERSION", 'conversion = { from = "z", present = true }')
    found = by_row(prepare_files(tmp_path, schema, {"log.parquet": table}))
    assert [found[rid]["conversion"] for rid in "ab"] == expected


@pytest.mark.parametrize("cell", ["2", "maybe", "", "1e0", "01"])
def test_a_bad_label_is_an_error_that_names_column_value_file_and_line(tmp_path, cell):
    rows = [{"rid": f"r{i}", "item": "a", "y": "1", "z": "0"} for i in range(5)]
    rows[3]["z"] = cell
    schema = SCHEMA.replace("MORE", "").replace("CLICK", 'click = "y"').replace("CONVERSION", 'conversion = "z"')
    with pytest.raises(DataError) as error:
        prepare_files(tmp_path, schema, {"log_7.csv": rows})
    assert all(word in str(error.value) for word in ("log_7.csv", "5", f"z = {cell!r}", "label"))
