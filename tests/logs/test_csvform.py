"""CSV files as people have them: encodings, lines before the header, names that repeat, values over several lines."""

from __future__ import annotations

import csv
import io
import re

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_logs import HEAD, PLAIN

from entirespace.errors import ConfigError, DataError
from entirespace.features.values import number
from entirespace.logs import files, hints, rowfiles
from entirespace.logs.csvform import CsvForm
from entirespace.logs.schema import LabelSchema
from entirespace.logs.schema.values import ValuesSchema, value_format

ENCODINGS = ["utf-8", "utf-8-sig", "latin-1", "windows-1252", "utf-16", "utf-16-le", "utf-32"]
WORDS = ["Köln", "École", "plain", "naïve", ""]
TEXT = "a,t,y,z\r\n" + "".join(f"{word},{t},1,0\r\n" for t, word in enumerate(WORDS * 3))


def rows_of(path, form: CsvForm, columns: list[str]) -> tuple[list[tuple], list[int], list[tuple[int, str]]]:
    """(rows, the line of each, bad lines)"""
    bad: list[tuple[int, str]] = []
    found = list(files.frames(files.local(path), columns, form, lambda line, fault: bad.append((line, fault.text))))
    return [row for f in found for row in f.rows.rows()], [int(line) for f in found for line in f.lines], bad


@pytest.mark.parametrize("block", [1, 7, 1 << 24])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_encoding_gives_the_same_rows(log, monkeypatch, encoding, block):
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    monkeypatch.setattr(rowfiles, "BLOCK_BYTES", block)
    path, form = log.write("log.csv", TEXT.encode(encoding)), CsvForm(encoding=encoding)
    want = [(word, str(t)) for t, word in enumerate(WORDS * 3)]
    assert rows_of(path, form, ["a", "t"]) == (want, list(range(2, 17)), [])
    assert [
        row for batch in rowfiles.read_rows(str(path), form=form) for row in batch.rows.select("a", "t").rows()
    ] == want


def test_every_table_has_its_own_encoding(log, plain):
    log.write("log.csv", "ä,t,y,z\nKöln,1,1,0\nBonn,2,1,0\nKöln,3,1,0\nBonn,4,1,0\n".encode("latin-1"))
    log.write("side.csv.gz", "ort,größe\nKöln,1\nBonn,2\n".encode("utf-16"))
    log.write("bought.csv", "ort\nKöln\n".encode("windows-1252"))
    log.write("truth.csv", "é,è\n.5,.5\n.5,.5\n.5,.5\n.5,.5\n".encode("latin-1"))
    data = log.prepare("""
        [impressions]
        files = ["log.csv"]
        encoding = "latin-1"
        order = "t"
        labels.click = "y"
        [impressions.fields]
        a = { from = "ä" }
        [tables.side]
        files = ["side.csv.gz"]
        encoding = "utf-16"
        key = "ort"
        on = "ä"
        [tables.side.fields]
        size = { from = "größe" }
        [conversions]
        files = ["bought.csv"]
        encoding = "windows-1252"
        key = "ort"
        on = "ä"
        [truth]
        files = ["truth.csv"]
        encoding = "latin-1"
        pctr = "é"
        pcvr = "è"
        [split]
        by = "all"
        part = "train"
    """)
    assert [row["conversion"] for row in plain(data.path).part("train")] == [False, False, True, False]
    assert plain(data.path).raw_ids("train", "a") == [["Köln"], ["Bonn"], ["Köln"], ["Bonn"]]
    assert plain(data.path).raw_ids("train", "size") == [["1"], ["2"], ["1"], ["2"]]


def test_a_byte_that_is_not_utf8_is_named_with_the_key_that_reads_it(log):
    log.write("log.csv", "x,a,t,y,z\n1,b,1,1,0\n2,Köln,2,1,0\n".encode("latin-1"))
    with pytest.raises(DataError) as error:
        log.prepare(PLAIN, max_bad=0.0)
    for words in ("log.csv, line 3", r"a = 'K\xf6ln'", "byte 0xf6", 'encoding = "latin-1"'):
        assert words in str(error.value)
    log.write("log.csv", "x,ä,t,y,z\n".encode("latin-1"))
    with pytest.raises(DataError, match=r'log\.csv: .* byte 0xe4.*encoding = "latin-1"'):
        log.read(PLAIN)
    log.write("log.csv", TEXT.encode("utf-16"))
    with pytest.raises(DataError, match=r'seems to be UTF-16.*encoding = "utf-16"'):
        log.read(PLAIN)


@pytest.mark.parametrize("block", [1, 1 << 24])
def test_a_byte_that_the_declared_encoding_lacks(log, monkeypatch, block):
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    path = log.write("log.csv", b"a,t\n1,2\n\x81,3\n")
    with pytest.raises(DataError, match=r"log\.csv, line 3: the file must be text in windows-1252, however: byte 0x81"):
        rows_of(path, CsvForm(encoding="windows-1252"), ["a"])


@pytest.mark.parametrize("name", ["latin-0", "hex", "rot13", "", "base64"])
def test_what_is_no_encoding(log, name):
    with pytest.raises(ConfigError, match="no encoding of text"):
        log.schema(f'[impressions]\nencoding = "{name}"\n' + PLAIN.removeprefix("[impressions]\n"))


# Headers


def test_lines_before_the_header_and_a_header_that_is_replaced(log, plain):
    log.write("log.csv", 'sep=,\nmade "today\na,t,y,z\n1,1,1,0\n2,2,0,0\n')
    skipped = PLAIN.replace("[impressions]\n", "[impressions]\nskip = 2\n", 1) + "[split]\nby='all'\npart='train'\n"
    assert plain(log.prepare(skipped).path).raw_ids("train", "a") == [["1"], ["2"]]
    log.write("log.csv", "a,,a,t\n1,1,1,0\n2,2,0,0\n")
    named = skipped.replace("skip = 2", 'skip = 1\ncolumns = ["a", "t", "y", "z"]')
    assert plain(log.prepare(named, out=log.raw / "2").path).raw_ids("train", "a") == [["1"], ["2"]]


def test_names_that_repeat_matter_only_if_they_are_used(log):
    log.write("log.csv", "a,x,,x,,t,y,z\n1,7,8,9,9,1,1,0\n")
    (blocks, _) = log.read(PLAIN)
    assert blocks["impressions"][0].rows == 1
    log.write("log.csv", "a,a,t,y,z\n1,7,1,1,0\n")
    with pytest.raises(
        DataError, match=r"'a' occurs twice. Give all columns new names: columns = \[\.\.\.\], and skip = 1"
    ):
        log.read(PLAIN)


@pytest.mark.parametrize("name", ["A", " a", "a ", "aa"])
def test_the_nearest_name_is_offered(log, name):
    log.write("log.csv", f"{name},t,y,z\n1,1,1,0\n")
    with pytest.raises(ConfigError) as error:
        log.read(PLAIN)
    assert f"Did you mean '{name}'?" in str(error.value) or name == "aa"
    assert (repr(name) in str(error.value)) == (name != "aa")


def test_a_column_without_a_name_cannot_be_named(log):
    with pytest.raises(ConfigError, match="at least 1 character"):
        log.schema(HEAD + '[impressions.fields]\na = { from = "" }\n')


def test_rows_with_a_delimiter_at_their_end(log, plain):
    log.write("log.csv", "a,t,y,z\n1,1,1,0,\n2,2,0,0,\n")
    with pytest.raises(DataError, match=r"5 values for 4 columns.*columns = \[\.\.\.\], skip = 1"):
        log.prepare(PLAIN, max_bad=0.0)
    log.write("log.csv", "a,t,y,z,\n1,1,1,0,\n2,2,0,0,\n")
    data = log.prepare(PLAIN + "[split]\nby = 'all'\npart = 'train'\n")
    assert plain(data.path).raw_ids("train", "a") == [["1"], ["2"]]


# Values over several lines

CELLS = st.lists(st.sampled_from(["1", "x", ",", '"', "\n", "\r\n", " ", "ä"]), max_size=4).map("".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=8), block=st.integers(1, 30))
def test_multiline_equals_the_csv_module(tmp_path, rows, block):
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(("a", "b"))
    lines = []
    for row in rows:
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    path, form = tmp_path / "log.csv", CsvForm(multiline=True)
    path.write_text(text.getvalue(), newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK_BYTES", block)
        patch.setattr(rowfiles, "BLOCK_BYTES", block)
        assert rows_of(path, form, ["a", "b"]) == (rows, lines, [])
        batches = list(rowfiles.read_rows(str(path), form=form))
    assert [row for batch in batches for row in batch.rows.rows()] == rows
    places = [batch.where(i) for batch in batches for i in range(len(batch.rows))]
    assert places == [f"{path}, line {line}" for line in lines]


def test_multiline_keeps_bad_rows_apart_and_truth_in_step(log, plain):
    log.write("log.csv", 'a,t,y,z\n"x\ny",1,1,0\nbad\n"\n\n",2,0,0\n')
    log.write("truth.csv", "pctr,pcvr\n.1,.1\n.2,.2\n.3,.3\n")
    schema = PLAIN.replace("[impressions]\n", "[impressions]\nmultiline = true\n", 1)
    data = log.prepare(schema + "[truth]\nfiles = ['truth.csv']\n[split]\nby = 'all'\npart = 'train'\n")
    dataset = plain(data.path)
    assert dataset.raw_ids("train", "a") == [["x\ny"], ["\n\n"]]
    assert [round(row["true_pctr"], 3) for row in dataset.part("train")] == [0.1, 0.3]
    assert "log.csv,4,impressions,unparsable_line,bad" in (data.path / "quarantine.csv").read_text()


def test_an_open_quote(log):
    log.write("log.csv", 'a,t,y,z\n1,1,1,0\n"x\ny",2,1,0\n')
    with pytest.raises(DataError, match=r"line 3: .*A quote is not closed.*multiline = true"):
        log.prepare(PLAIN, max_bad=0.0)
    log.write("log.csv", 'a,t,y,z\n1,1,1,0\n"x,2,1,0\n3,3,1,0\n')
    with pytest.raises(DataError, match=r"log\.csv, line 3: each quote of a CSV file must be closed"):
        log.read(PLAIN.replace("[impressions]\n", "[impressions]\nmultiline = true\n", 1))


# What a person is told about a value


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ("NULL", {"missing": ["NULL"]}),
        ("?", {"missing": ["?"]}),
        ("$5", {"symbols": ["$"]}),
        ("-$1,234.50", {"symbols": ["$"], "thousands": ","}),
        ("12%", {"symbols": ["%"]}),
        ("12 %", {"symbols": ["%"]}),
        ("US$ 7", {"symbols": ["US$"]}),
        ("3 km", {"symbols": ["km"]}),
        ("69,487.00", {"thousands": ","}),
        ("1,00,000", {"thousands": ","}),
        ("1.234,5", {"thousands": ".", "decimal": ","}),
        ("0,5", {"decimal": ","}),
        ("€1.234,5", {"thousands": ".", "decimal": ",", "symbols": ["€"]}),
    ],
)
def test_the_advice_reads_the_number(value, keys):
    advice = hints.of_number(value)
    assert re.findall(r"(\w+) = ", advice) == [k for k in ("missing", "decimal", "thousands", "symbols") if k in keys]
    column = pl.Series([value])
    assert number(column)[1].all()
    values, unread = number(column, value_format(ValuesSchema.model_validate(keys)))
    assert not unread.any()
    assert ("missing" in keys) == (values != values).all()


@pytest.mark.parametrize("value", ["", "12e", "1-2-3-4", "a1"])
def test_no_advice_is_better_than_a_wrong_one(value):
    assert "thousands" not in hints.of_number(value)
    assert hints.of_time(value) == ""


@pytest.mark.parametrize(
    "text", ["1/26/16", "26.1.2016", "26-Jan-16", "1/26/2016 8:05 PM", "2016/01/26 18:00:01", "5 March 2016"]
)
def test_the_advised_format_reads_the_time(text):
    from entirespace.core.rows import ValueFormat
    from entirespace.features.times import read

    (form, *_) = hints.time_formats(text)
    found = read(pl.Series([text]), ValueFormat(time_format=form)).microseconds
    assert found.cast(pl.Datetime("us")).dt.year().to_list() == [2016]
    assert form in hints.of_time(text)


def test_an_ambiguous_date_has_two_formats():
    assert hints.time_formats("1/2/2016") == ["%m/%d/%Y", "%d/%m/%Y"]
    assert hints.time_formats("2016-01-26") in ([], ["%Y-%m-%d"])


@pytest.mark.parametrize(
    ("label", "value", "says"),
    [
        ({"from": "c"}, "3", "at_least = 3"),
        ({"from": "c"}, "", "present = true"),
        ({"from": "c"}, "1/2/16", "present = true"),
        ({"from": "c"}, "opened", 'values = ["opened"]'),
        ({"from": "c", "values": [2]}, "1", "others = [0, '1']"),
        ({"from": "c", "at_least": 4}, "4,5", 'decimal = ","'),
    ],
)
def test_the_advice_on_a_label(label, value, says):
    assert says in hints.of_label("conversion", LabelSchema.model_validate(label))(value)


def test_missing_values_of_a_label_are_its_own(log, plain):
    log.write("log.csv", "a,t,r\n99,1,99\n7,2,5\n99,3,1\n")
    data = log.prepare("""
        [impressions]
        files = ["log.csv"]
        order = "t"
        [impressions.labels]
        click = { from = "r", present = true, missing = [99] }
        conversion = { from = "r", at_least = 4, missing = [99], unclicked = 0 }
        [impressions.fields]
        a = {}
        [split]
        by = "all"
        part = "train"
    """)
    rows = plain(data.path).part("train")
    assert [(row["click"], row["conversion"]) for row in rows] == [(False, False), (True, True), (True, False)]
    assert plain(data.path).raw_ids("train", "a") == [["99"], ["7"], ["99"]]
