"""The reader of star logs: what happens to each row, and how it is reported."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import polars as pl
import pytest
from raw_logs import HEAD, PLAIN

from entirespace.errors import ConfigError, DataError
from entirespace.logs.schema import STAGES

STAR = (
    PLAIN
    + """
[tables.user]
files = ["user*"]
key = "uid"
[tables.user.fields]
age = { kind = "number" }
likes = { kind = "ids", separator = "|", weights = "how" }
"""
)
BAGS = HEAD + '[impressions.fields]\nb = { kind = "ids", separator = "|", weights = "w" }\nn = { kind = "number" }\n'


def joined(blocks: list, name: str) -> list:
    of = [b.labels if name in STAGES else b for b in blocks]
    return np.concatenate([getattr(part, name) for part in of]).tolist()


def ids(source: Any, field: str, codes: list[int]) -> list[str]:
    raw = source.ids(field).to_pylist()
    return [raw[c] for c in codes]


def reasons(log: Any, table: str = "impressions") -> dict[str, int]:
    return {slug: about["rows"] for slug, about in log.audit.as_dict()["tables"][table]["reasons"].items()}


def quarantined(log: Any) -> list[tuple[str, ...]]:
    """(file, line, table, reason) of each quarantined row."""
    path = log.raw.parent / "quarantine.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "line", "table", "reason", "text"]
    return [tuple(row[:4]) for row in rows[1:]]


def test_labels_times_and_ids(log):
    log.write("log.csv", "a,t,y,z\nx,10,1,0\nw,11,1,1\nx,12,0,0\n")
    blocks, source = log.read(PLAIN)
    (block,) = blocks["impressions"]
    assert block.labels.click.tolist() == [True, True, False]
    assert block.labels.conversion.tolist() == [False, True, False]
    assert block.order.tolist() == [10, 11, 12]
    assert ids(source, "a", block.fields["a"].values.tolist()) == ["x", "w", "x"]
    assert (block.part, block.fingerprint, block.truth, block.links) == (None, None, None, {})
    assert log.audit.report() == "impressions: 3 rows read, 3 kept"


def test_parquet_and_csv_files_are_one_log_in_the_order_of_the_patterns(log):
    log.write("log_2.csv", "a,t,y,z\n7,20,1,0\n")
    log.write("log_1.parquet", {"z": [0, 0], "y": [True, False], "a": [7, None], "t": [1, 2]})
    blocks, source = log.read(PLAIN)
    codes = [c for b in blocks["impressions"] for c in b.fields["a"].values.tolist()]
    assert ids(source, "a", codes) == ["7", "", "7"]  # an id is compared as text, whatever its type
    assert joined(blocks["impressions"], "order") == [1, 2, 20]


def test_a_bad_row_goes_to_the_quarantine_with_file_line_and_reason(log):
    log.write("log_1.csv", "a,t,y,z\nx,1,1,0\nx,2,2,0\nx,3,1,\nx,,1,0\nx,5\n")
    log.write("log_2.csv.gz", "a,t,y,z\nx,noon,1,0\nx,6,1,0\n")
    blocks, _ = log.read(PLAIN)
    assert joined(blocks["impressions"], "order") == [1, 6]
    assert quarantined(log) == [
        ("log_1.csv", "6", "impressions", "unparsable_line"),
        ("log_1.csv", "3", "impressions", "bad_label"),
        ("log_1.csv", "4", "impressions", "bad_label"),
        ("log_1.csv", "5", "impressions", "bad_order"),
        ("log_2.csv.gz", "2", "impressions", "bad_order"),
    ]
    assert "bad_label" in log.audit.report()
    assert "log_1.csv, line 3: y = '2' in: y=2 z=0 t=2 a=x" in log.audit.report()
    assert (log.audit.rows_read("impressions"), log.audit.kept("impressions")) == (7, 2)


def test_a_bad_row_of_parquet_is_named_by_its_number(log, monkeypatch):
    monkeypatch.setattr("entirespace.logs.files.PARQUET_ROWS", 2)
    log.write("log.parquet", {"a": [1, 2, 3], "t": [1, 2, 3], "y": [1, 0, 7], "z": [0, 0, 0]})
    log.read(PLAIN)
    assert quarantined(log) == [("log.parquet", "3", "impressions", "bad_label")]


@pytest.mark.parametrize(
    ("b", "w", "n", "reason"),
    [
        ("1|2", "1", "1", "wrong_feature_count"),
        ("1", "", "1", "wrong_feature_count"),
        ("", "1", "1", "wrong_feature_count"),
        ("1|2", "1|nan", "1", "bad_weight"),
        ("1|2", "1|-0.5", "1", "bad_weight"),
        ("1|2", "inf|1", "1", "bad_weight"),
        ("1|2", "1|x", "1", "bad_weight"),
        ("1|2", "1|0.5", "1,5", "bad_value"),
        ("1|2", "1|0.5", "many", "bad_value"),
        ("1|2", "1", "many", "wrong_feature_count"),  # one reason per row: that of the first bad field
    ],
)
def test_a_bad_bag_or_number(log, b, w, n, reason):
    row = '"{}","{}","{}",1,0,0\n'
    log.write("log.csv", "b,w,n,t,y,z\n" + row.format("5", "2", "") + row.format(b, w, n) + row.format("", "", "3"))
    blocks, source = log.read(BAGS)
    assert quarantined(log) == [("log.csv", "3", "impressions", reason)]
    (block,) = blocks["impressions"]
    bag = block.fields["b"]
    assert (ids(source, "b", bag.values.tolist()), bag.offsets.tolist()) == (["5"], [0, 1, 1])
    assert bag.weights.tolist() == [2.0]
    np.testing.assert_array_equal(block.fields["n"].values, [np.nan, 3.0])


def test_a_block_without_a_good_row_is_empty(log, monkeypatch):
    monkeypatch.setattr("entirespace.logs.files.BLOCK_BYTES", 12)
    log.write("log.csv", "b,w,n,t,y,z\n" + "1,2,3,4,9,0\n" * 4 + "1,2,3,4,1,0\n")
    blocks, _ = log.read(BAGS)
    assert sum(b.rows for b in blocks["impressions"]) == 1
    assert {b.fields["b"].values.dtype for b in blocks["impressions"]} == {np.dtype(np.int32)}


# Conversions without a click


ORPHANS = "a,t,y,z\nx,1,0,1\nx,2,1,1\nx,3,0,0\nx,4,0,1\n"


@pytest.mark.parametrize(
    ("on_orphan", "times", "outcome"), [("keep", [1, 2, 3, 4], "changed"), ("drop", [2, 3], "left out")]
)
def test_a_conversion_without_a_click(log, on_orphan, times, outcome):
    log.write("log.csv", ORPHANS)
    blocks, _ = log.read(PLAIN, on_orphan=on_orphan)
    assert joined(blocks["impressions"], "order") == times
    assert sum(joined(blocks["impressions"], "conversion")) == 1
    met = log.audit.as_dict()["tables"]["impressions"]["reasons"]["conversion_without_click"]
    assert (met["rows"], met["outcome"], met["examples"]) == (
        2,
        outcome,
        ["log.csv, line 2", "log.csv, line 5"],
    )
    assert log.audit.kept("impressions") == len(times)


def test_a_conversion_without_a_click_can_be_an_error(log):
    log.write("log.csv", "a,t,y,z\nx,1,0,0\nx,2,0,2\n" + "x,3,0,1\n")
    with pytest.raises(DataError, match=r"log\.csv, line 4: a conversion needs a click") as raised:
        log.read(PLAIN, on_orphan="error")
    assert "--on-orphan keep" in str(raised.value)


# Time


@pytest.mark.parametrize("block", [8, 10**6])
def test_rows_out_of_time_order_are_kept_and_counted(log, monkeypatch, block):
    monkeypatch.setattr("entirespace.logs.files.BLOCK_BYTES", block)
    times = [5, 3, 5, 9, 8, 9, 1]
    log.write("log.csv", "a,t,y,z\n" + "".join(f"x,{t},0,0\n" for t in times))
    blocks, _ = log.read(PLAIN)
    assert joined(blocks["impressions"], "order") == times
    assert reasons(log) == {"out_of_time_order": 3}


def test_without_an_order_column_rows_have_no_time(log):
    log.write("log.csv", "a,y,z\nx,0,0\n")
    blocks, _ = log.read(PLAIN.replace('order = "t"\n', ""))
    assert blocks["impressions"][0].order is None


# Side tables


USERS = "uid,age,likes,how\nu1,30,a|b,1|0.5\nu2,,,\n"


def test_an_impression_refers_to_its_side_row(log):
    log.write("user.csv", USERS)
    log.write("log.csv", "uid,a,t,y,z\nu2,x,1,0,0\nu1,x,2,0,0\nu9,x,3,0,0\n,x,4,0,0\n")
    blocks, source = log.read(STAR)
    (user,) = blocks["user"]
    assert user.rows == 2
    assert user.fields["likes"].offsets.tolist() == [0, 2, 2]
    assert ids(source, "likes", user.fields["likes"].values.tolist()) == ["a", "b"]
    assert np.concatenate([b.links["user"] for b in blocks["impressions"]]).tolist() == [1, 0, -1, -1]
    assert reasons(log) == {"missing_side_row": 2}
    assert "log.csv, line 4" in log.audit.report()


def test_keys_are_compared_as_text_and_may_have_another_name(log):
    log.write("user.parquet", {"uid": [7, 8], "age": [1, 2], "likes": [["x"], []], "how": [[1.0], []]})
    log.write("log.csv", "who,a,t,y,z\n8,x,1,0,0\n07,x,2,0,0\n7,x,3,0,0\n")
    blocks, _ = log.read(STAR.replace('key = "uid"', 'key = "uid"\non = "who"').replace(', separator = "|"', ""))
    assert blocks["impressions"][0].links["user"].tolist() == [1, -1, 0]


@pytest.mark.parametrize("block", [20, 10**6])
def test_the_first_good_row_with_a_key_is_used(log, monkeypatch, block):
    monkeypatch.setattr("entirespace.logs.files.BLOCK_BYTES", block)
    rows = ["u1,1,a,-1", "u1,2,a,1", "u2,3,a,1", "u1,4,a,1", ",5,a,1", "u2,6,a,nan", "u2,7,a,1"]
    log.write("user.csv", "\n".join(["uid,age,likes,how", *rows]))
    log.write("log.csv", "uid,a,t,y,z\nu1,x,1,0,0\nu2,x,1,0,0\n")
    blocks, _ = log.read(STAR)
    assert [a for b in blocks["user"] for a in b.fields["age"].values.tolist()] == [2, 3]
    assert blocks["impressions"][0].links["user"].tolist() == [0, 1]
    assert sorted(quarantined(log), key=lambda q: int(q[1])) == [
        ("user.csv", "2", "user", "bad_weight"),
        ("user.csv", "5", "user", "duplicate_key"),
        ("user.csv", "6", "user", "bad_key"),
        ("user.csv", "7", "user", "bad_weight"),
        ("user.csv", "8", "user", "duplicate_key"),
    ]


def test_a_side_table_without_a_row(log):
    log.write("user.csv", "uid,age,likes,how\n")
    log.write("log.csv", "uid,a,t,y,z\nu1,x,1,0,0\n")
    blocks, _ = log.read(STAR)
    assert "user" not in blocks
    assert blocks["impressions"][0].links["user"].tolist() == [-1]


# Parts


@pytest.mark.parametrize("by", ["column", "file"])
def test_the_part_by_column_or_by_file(log, by):
    how = {
        "column": "by = 'column'\ncolumn = 'p'\ntrain = ['a', '']\ntest = ['b']",
        "file": "by = 'file'\ntrain = ['log_a*']\ntest = ['*_b.csv']",
    }
    rows = {"log_a.csv": "a", "log_b.csv": "b", "log_c.csv": "c"}
    for i, (name, part) in enumerate(rows.items()):
        log.write(name, f"a,t,y,z,p\nx,{i},0,0,{part}\nx,{i},0,1,{part}\nx,{i},3,1,{part}\n")
    blocks, _ = log.read(f"{PLAIN}\n[split]\n{how[by]}", on_orphan="drop")
    assert joined(blocks["impressions"], "part") == [0, 1]
    # the row of another part is not counted as an orphan, too
    assert reasons(log) == {"bad_label": 3, "other_part": 2, "conversion_without_click": 2}


# Columns


def test_the_part_by_folder(log):
    for folder, name in (("a", "0"), ("b", "0"), ("a/old", "1")):
        (log.raw / folder).mkdir(exist_ok=True)
        log.write(f"{folder}/{name}.csv", f"a,t,y,z\n{folder},1,1,0\n")
    split = "[split]\nby = 'file'\ntrain = ['a/**']\ntest = ['b/*']\n"
    blocks, _ = log.read(PLAIN.replace('"log*"', '"**/*.csv"') + split)
    assert joined(blocks["impressions"], "part") == [0, 0, 1]
    blocks, _ = log.read(PLAIN.replace('"log*"', '"**/*.csv"') + split.replace("a/**", "a/*"))
    assert joined(blocks["impressions"], "part") == [0, 1]
    assert log.audit.as_dict()["tables"]["impressions"]["reasons"]["other_part"]["examples"] == ["a/old/1.csv, line 2"]


def test_the_audit_notes_files_that_are_skipped(log):
    log.write("_SUCCESS", "")
    log.write("part-00000", "a,t,y,z\nx,1,1,0\n")
    blocks, _ = log.read(PLAIN.replace('"log*"', '"*"'))
    assert joined(blocks["impressions"], "order") == [1]
    assert any("_SUCCESS" in note for note in log.audit.notes)


def test_every_file_must_have_every_column_of_the_schema(log):
    log.write("log_1.csv", "a,t,y,z\nx,1,0,0\n")
    log.write("log_2.csv", "a,time,y,z\nx,1,0,0\n")
    with pytest.raises(ConfigError) as raised:
        log.read(PLAIN)
    message = str(raised.value)
    assert message.startswith(
        "log_2.csv: the file must have the column that the schema's [impressions] names for order"
    )
    assert "no column 't'; it has a, time, y, z" in message


@pytest.mark.parametrize(
    ("header", "purpose"),
    [
        ("uid,t,y,z", "fields.a"),
        ("uid,a,t,z", "click"),
        ("uid,a,t,y", "conversion"),
        ("a,t,y,z", "tables.user.on"),
    ],
)
def test_a_missing_column_is_named_with_its_purpose(log, header, purpose):
    log.write("user.csv", USERS)
    log.write("log.csv", header + "\n")
    with pytest.raises(ConfigError, match=rf"names for {purpose}, however: no column"):
        log.read(STAR)


def test_a_missing_column_of_a_side_table(log):
    log.write("user.csv", "uid,age,likes\n")
    with pytest.raises(ConfigError, match=r"the schema's \[tables\.user\] names for fields\.likes\.weights"):
        log.read(STAR)


def test_a_wrong_delimiter_is_suggested_as_the_cause(log):
    log.write("log.csv", "a;t;y;z\nx;1;0;0\n")
    with pytest.raises(ConfigError, match=r"it has a;t;y;z\. .*delimiter"):
        log.read(PLAIN)


def test_a_column_name_that_occurs_twice(log):
    log.write("log.csv", "a,t,y,z,t\nx,1,0,0,1\n")
    with pytest.raises(DataError, match=r"log\.csv: each column of a file must have a different name, however: 't'"):
        log.read(PLAIN)


def test_unused_columns_are_reported(log):
    log.write("log.csv", "a,t,y,z,long_view,b\nx,1,0,0,1,1\n")
    log.read(PLAIN)
    assert log.audit.notes == ["log.csv: columns not used: long_view, b"]


@pytest.mark.parametrize(
    ("column", "purpose"),
    [("a", "fields.a"), ("t", "order"), ("y", "click"), ("z", "conversion"), ("uid", "tables.user.on")],
)
def test_lists_are_allowed_only_in_bags(log, column, purpose):
    log.write("user.csv", USERS)
    columns: dict[str, list] = {"uid": ["u1"], "a": ["x"], "t": [1], "y": [1], "z": [0]}
    log.write("log.parquet", {**columns, column: [columns[column]]})
    with pytest.raises(ConfigError, match=rf"log\.parquet: the column for {purpose} must hold one value per row"):
        log.read(STAR)


def test_a_struct_or_a_list_of_lists_is_refused(log):
    for bag in ([{"x": 1}], [[[1]]]):
        log.write("log.parquet", {"b": bag, "w": [1.0], "n": [1], "t": [1], "y": [1], "z": [0]})
        with pytest.raises(ConfigError, match=r"the column for fields\.b must hold one value per row"):
            log.read(BAGS)


def test_a_pandas_category_is_read_as_text(log):
    frame = pl.DataFrame({"a": ["q", "p"], "t": ["5", "6"], "y": ["1", "0"], "z": ["0", "0"]})
    log.write("log.parquet", frame.with_columns(pl.all().cast(pl.Categorical)))
    blocks, source = log.read(PLAIN)
    assert joined(blocks["impressions"], "order") == [5, 6]
    assert ids(source, "a", blocks["impressions"][0].fields["a"].values.tolist()) == ["q", "p"]


# How many bad rows are too many


def test_too_many_bad_rows_are_an_early_error_with_their_reasons(log, monkeypatch):
    monkeypatch.setattr("entirespace.logs.files.BLOCK_BYTES", 1000)
    log.write("log.csv", "a,t,y,z\n" + "x,1,5,0\n" * 5000)
    with pytest.raises(DataError) as raised:
        log.read(PLAIN, max_bad=0.5)
    assert "at most 50 % of the rows of table 'impressions' may be bad" in str(raised.value)
    assert "bad_label (a label is neither 0 nor 1). First: log.csv, line 2: y = '5' in: y=5 z=0 t=1 a=x" in str(
        raised.value
    )
    assert log.audit.rows_read("impressions") < 4000  # stops when the bad rows exceed the limit of the whole table


@pytest.mark.parametrize(("bad", "fine"), [(1, True), (2, False)])
def test_max_bad_is_the_largest_share_of_bad_rows(log, bad, fine):
    log.write("log.csv", "a,t,y,z\n" + "x,1,1,0\n" * (1000 - bad) + "x,1,5,0\n" * bad)
    if fine:
        blocks, _ = log.read(PLAIN, max_bad=0.001)
        assert sum(b.rows for b in blocks["impressions"]) == 999
    else:
        with pytest.raises(DataError, match=r"--max-bad 0\.003"):
            log.read(PLAIN, max_bad=0.001)


# Exact copies


def test_a_fingerprint_is_the_same_for_the_same_columns_only(log):
    log.write("log_1.csv", "a,b,t,y,z\nx,1,1,0,0\nx,2,1,1,0\ny,1,1,0,0\n")
    log.write("log_2.csv", "b,t,a,z,y\n9,1,x,1,1\n9,,x,1,1\n9,2,x,1,1\n")
    schema = PLAIN.replace('order = "t"', 'order = "t"\nunique = ["a", "t"]')
    blocks, _ = log.read(schema)
    prints = [tuple(p) for b in blocks["impressions"] for p in b.fingerprint.tolist()]
    assert [prints.index(p) for p in prints] == [0, 0, 2, 0, 4]
