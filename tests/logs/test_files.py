"""Files to frames: every good row has its line number and every bad line is reported, whatever the file's format."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entirespace.errors import DataError
from entirespace.logs import files, lines
from entirespace.logs.csvform import CsvForm
from entirespace.logs.find import find

Bad = list[tuple[int, str]]


def read(path: Path, wanted: tuple[str, ...] = ("a", "b"), **how) -> tuple[list[tuple], list[int], Bad]:
    """(rows, the line of each, bad lines) of one file."""
    bad: Bad = []
    (file,) = find((path.name,), path.parent)
    frames = list(files.frames(file, list(wanted), CsvForm(**how), lambda line, fault: bad.append((line, fault.text))))
    rows = [row for frame in frames for row in frame.rows.select(wanted).rows()]
    lines = [int(line) for frame in frames for line in frame.lines]
    assert sum(f.raw_rows for f in frames) == len(rows) + len(bad)
    return rows, lines, bad


GOOD = [("1", "2"), ("3", "4")]


@pytest.mark.parametrize(
    ("content", "rows", "lines", "bad"),
    [
        pytest.param(b"a,b\n1,2\n3,4\n", GOOD, [2, 3], [], id="plain"),
        pytest.param(b"a,b\n1,2\n3,4", GOOD, [2, 3], [], id="no final newline"),
        pytest.param(b"a,b\r\n1,2\r\n3,4\r\n", GOOD, [2, 3], [], id="CR LF"),
        pytest.param(b"a,b\r\n1,2\r\n3,4", GOOD, [2, 3], [], id="CR LF, no final newline"),
        pytest.param(b"\xef\xbb\xbfa,b\n1,2\n3,4\n", GOOD, [2, 3], [], id="BOM"),
        pytest.param(b'\xef\xbb\xbf"a",b\n1,2\n3,4\n', GOOD, [2, 3], [], id="BOM before a quoted name"),
        pytest.param(b"a,b\n1,2\n3,4\n\n\r\n\n", GOOD, [2, 3], [], id="blank lines at the end are no rows"),
        pytest.param(b"a,b\n1,2\n\n3,4\n", GOOD, [2, 4], [(3, "")], id="a blank line"),
        pytest.param(b"a,b\r\n\r\n1,2\r\n3,4\r\n", GOOD, [3, 4], [(2, "")], id="a blank line, CR LF"),
        pytest.param(b'a,b\n"1,5",2\n"q""q",4\n', [("1,5", "2"), ('q"q', "4")], [2, 3], [], id="quoted comma"),
        pytest.param(b'a,b\n5" screen,2\n3,4\n', [('5" screen', "2"), ("3", "4")], [2, 3], [], id="inner quote"),
        pytest.param(b"a,b\n1,2\n5\n6,7,8\n3,4\n", GOOD, [2, 5], [(3, "5"), (4, "6,7,8")], id="ragged lines"),
        # pyarrow alone would read the rest of the block as one value of the open quote
        pytest.param(b'a,b\n1,2\n"5,6\n3,4\n', GOOD, [2, 4], [(3, '"5,6')], id="a quote left open"),
        pytest.param(b'a,b\n1,"x\ny"\n3,4\n', [("3", "4")], [4], [(2, '1,"x'), (3, 'y"')], id="a value over two lines"),
        pytest.param(b"a,b\n1,2\n5,\r6\n3,4\n", GOOD, [2, 4], [(3, "5,\r6")], id="a CR inside a line"),
        pytest.param(b"a,b\n1,2\n\xff,6\n3,4\n", GOOD, [2, 4], [(3, "\\xff,6")], id="not UTF-8"),
        pytest.param(b"a,b\n1,2\n\xff\n3,4\n", GOOD, [2, 4], [(3, "\\xff")], id="not UTF-8 and ragged"),
        pytest.param("a,b\nä,漢\n".encode() + b'"\xe4,1\n', [("ä", "漢")], [2], [(3, '"\\xe4,1')], id="UTF-8 and not"),
        pytest.param(b"a,b\n1,2\n3,4\n5\n\xfe,9\n", GOOD, [2, 3], [(4, "5"), (5, "\\xfe,9")], id="in line order"),
        pytest.param(b"a,b\n,\n", [("", "")], [2], [], id="empty values"),
        pytest.param(b"a,b\nNULL,NaN\n007,1.0\n", [("NULL", "NaN"), ("007", "1.0")], [2, 3], [], id="text stays"),
        pytest.param(b"a,b\n", [], [], [], id="header only"),
        pytest.param(b"a,b", [], [], [], id="header only, no newline"),
        pytest.param(b"a,b\n5\n6\n", [], [], [(2, "5"), (3, "6")], id="not one good line"),
        pytest.param(b"b,x,a\n2,\xff,1\n4,x,3\n", GOOD, [2, 3], [], id="other bytes in a column not used"),
    ],
)
@pytest.mark.parametrize("block", [5, 16 * 1024 * 1024])
def test_csv(tmp_path, monkeypatch, content, rows, lines, bad, block):
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    (tmp_path / "log.csv").write_bytes(content)
    assert read(tmp_path / "log.csv") == (rows, lines, bad)


# A slow reference: one line at a time, with the standard library's reader


def slow_line(line: bytes, columns: int) -> tuple[str, ...] | None:
    line = line.removesuffix(b"\r")
    if not line or b"\r" in line:
        return None
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return None
    cells, *more = csv.reader([text, "\n"])
    if not more:  # a quote is left open, so the next line belongs to the row
        return None
    return tuple(cells) if len(cells) == columns else None


LINES = st.lists(st.lists(st.sampled_from([b"1", b"x", b",", b",", b'"', b"\xc3\xa4", b"\xff", b"\r"])).map(b"".join))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES, end=st.sampled_from([b"\n", b"\r\n"]), final=st.booleans(), block=st.integers(1, 40))
def test_csv_equals_the_slow_reference(tmp_path, lines, end, final, block):
    content = end.join([b"a,b", *lines]) + (end if final else b"")
    (tmp_path / "log.csv").write_bytes(content)
    text = content.split(b"\n")[1:]
    while text and not text[-1].strip(b"\r"):
        text.pop()
    slow = [(number, slow_line(line, 2)) for number, line in enumerate(text, start=2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK_BYTES", block)
        rows, at, bad = read(tmp_path / "log.csv")
    assert list(zip(at, rows, strict=True)) == [(n, row) for n, row in slow if row is not None]
    assert sorted(n for n, _ in bad) == [n for n, row in slow if row is None]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2"])
def test_compressed(log, ending):
    path = log.write("log.csv" + ending, "a,b\n1,2\n3,4\n")
    assert (path.read_bytes()[:3] == b"a,b") == (ending == "")
    assert read(path) == (GOOD, [2, 3], [])


@pytest.mark.parametrize("name", ["LOG.CSV", "LOG.CSV.GZ", "log.csv.Zst", "part-00000", "part-00000.c000"])
def test_endings_in_capitals_and_other_endings(log, name):
    plain = log.write("plain.csv" + Path(name.lower()).suffix, "a,b\n1,2\n3,4\n")
    path = plain.rename(log.raw / name)
    assert read(path) == (GOOD, [2, 3], [])


@pytest.mark.parametrize("ending", [".gz", ".zst", ".bz2", ".lz4"])
def test_a_compressed_file_without_an_ending_is_known_by_its_first_bytes(log, ending):
    codec = files.CODECS[ending]
    with pa.output_stream(log.raw / "part-00000", compression=codec) as stream:
        stream.write(b"a,b\n1,2\n3,4\n")
    assert read(log.raw / "part-00000") == (GOOD, [2, 3], [])


@pytest.mark.parametrize("name", ["LOG.PARQUET", "log.Pq", "part-00000", "part-00000-abc.snappy"])
def test_parquet_in_capitals_or_without_an_ending(log, name):
    path = log.write("x.parquet", {"a": ["1", "3"], "b": ["2", "4"]}).rename(log.raw / name)
    assert read(path) == (GOOD, [1, 2], [])


def test_a_header_longer_than_the_first_piece_that_is_read(log, monkeypatch):
    monkeypatch.setattr(lines, "HEADER_BYTES", 7)
    monkeypatch.setattr(files, "BLOCK_BYTES", 11)
    path = log.write("log.csv", "a," + "x" * 100 + ",b\n1,y,2\n3,y,4\n")
    assert read(path) == (GOOD, [2, 3], [])


def test_a_header_of_two_megabytes(log):
    names = [f"column_{i}_{'x' * 50}" for i in range(30_000)]
    path = log.write("log.csv", ",".join(["a", *names, "b"]) + "\n" + "1," + "," * len(names) + "2\n")
    (file,) = find((path.name,), log.raw)
    assert files.columns_of(file) == ["a", *names, "b"]


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "line"), [(b"a,b\n1,2\n" + b"0" * 999, 3), (b"0" * 999, 1), (b"a,b\n1,2\n" + b"\n" * 999, 3)]
)
def test_a_line_that_would_fill_the_memory_is_refused(log, monkeypatch, ending, content, line):
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    monkeypatch.setattr(lines, "HEADER_BYTES", 50)
    monkeypatch.setattr(files, "BLOCK_BYTES", 50)
    path = log.write("log.csv" + ending, content)
    with pytest.raises(DataError, match="may have at most 100 bytes, however: it is longer") as raised:
        read(path)
    assert raised.value.where == f"log.csv{ending}, line {line}"


@pytest.mark.parametrize(
    ("content", "what"), [(b"PK\x03\x04..", "a zip archive"), (gzip.compress(b"a,b\n", mtime=0), "compressed by gzip")]
)
def test_text_that_is_something_else_is_named(log, content, what):
    with pytest.raises(DataError, match=f"^log.csv: a CSV file must be plain text, however: it is {what}"):
        read(log.write("log.csv", content))


# Files that change while they are read


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_after_a_line(path: Path) -> None:
    data = path.read_bytes()
    os.truncate(path, data.find(b"\n", len(data) // 2) + 1)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"5,6\n")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    """A shorter file, complete in itself, takes the place of the file."""
    path.with_name("new").write_bytes(path.read_bytes()[:4])
    path.with_name("new").rename(path)


@pytest.mark.parametrize("change", [cut, cut_after_a_line, grow, touch, remove, replace])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_file_that_changes_while_it_is_read_is_an_error(log, monkeypatch, change, ending):
    monkeypatch.setattr(files, "BLOCK_BYTES", 100)
    monkeypatch.setattr(files, "PARQUET_ROWS", 7)
    rows = {"a": [str(i) for i in range(900)], "b": ["1"] * 900}
    path = log.write("log" + ending, rows if ending == ".parquet" else pl.DataFrame(rows))
    (file,) = find((path.name,), log.raw)
    frames = files.frames(file, ["a", "b"], CsvForm(), lambda *_: None)
    next(frames)
    change(path)
    with pytest.raises(DataError, match=f"^log{ending}: (a file must not change|the file must be readable)"):
        list(frames)


@pytest.mark.parametrize("ending", ["gz", "zst", "bz2", "lz4"])
@pytest.mark.parametrize("members", [1, 2])
def test_a_compressed_file_cut_anywhere_is_an_error(log, ending, members):
    path = log.write(f"log.csv.{ending}", b"a,b\n" + b"1,2\n" * 50) if ending != "lz4" else log.raw / "log.csv.lz4"
    with pa.output_stream(path, compression=files.CODECS[f".{ending}"]) as stream:
        stream.write(b"1,2\n" * 50)
    data = path.read_bytes() * members
    for end in range(0, len(data)):
        if members == 2 and end == len(data) // 2:
            continue  # the first member is whole
        path.write_bytes(data[:end])
        with pytest.raises(DataError):
            read(path, columns=("a", "b"))


def test_without_a_header_the_first_line_is_a_row(log):
    path = log.write("log.csv", "2,x,1\n4,x,3\n5\n")
    assert read(path, columns=("b", "c", "a")) == (GOOD, [1, 2], [(3, "5")])


def test_another_delimiter(log):
    path = log.write("log.tsv", "a\tb\n1\t2\n3,3\t4\n")
    assert read(path, delimiter="\t")[0] == [("1", "2"), ("3,3", "4")]


def test_a_block_holds_whole_lines_and_has_their_numbers(log, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 10)
    (file,) = find((log.write("log.csv", "a,b\n" + "".join(f"{i},{i}\n" for i in range(20))).name,), log.raw)
    frames = list(files.frames(file, ["a"], CsvForm(), lambda *_: None))
    assert len(frames) > 5
    assert [line for f in frames for line in f.lines] == list(range(2, 22))
    assert [place for f in frames for place in f.places] == [i for f in frames for i in range(f.raw_rows)]
    assert sum(f.bytes for f in frames) == pytest.approx(file.size, abs=10)


def test_parquet_rows_keep_their_types_and_number(log, monkeypatch):
    monkeypatch.setattr(files, "PARQUET_ROWS", 2)
    path = log.write("log.parquet", {"a": [1, None, 3], "b": [[1], [], [2, 3]], "c": [0, 0, 0]})
    rows, lines, bad = read(path)
    assert (lines, bad) == ([1, 2, 3], [])
    assert rows == [(1, [1]), (None, []), (3, [2, 3])]


def test_categories_and_bytes_are_read_as_text(log):
    category = pa.array(["x", "y", "x"]).dictionary_encode()
    path = log.write("log.parquet", pa.table({"a": category, "b": pa.array([b"1", b"\xc3\xa4", None])}))
    assert read(path)[0] == [("x", "1"), ("y", "ä"), ("x", None)]


def test_bytes_that_are_not_utf8_are_read_as_digits(log):
    path = log.write("log.parquet", pa.table({"a": pa.array([b"\xff", b"b", None])}))
    assert read(path, ("a",))[0] == [("0xff",), ("b",), (None,)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b"", "the file is empty"),
        ("log.csv", b"\n\n", "the file is empty"),
        ("log.csv", b"\na,b\n1,2\n", "its first line is empty"),
        ("log.csv", b"a,b\r1,2\r3,4\r", "a CR that is not followed by LF"),
        ("log.csv", "a,b\n1,2\n".encode("utf-16"), "must be text in UTF-8"),
        ("log.csv", b"a,\xe4\n1,2\n", "must be text in UTF-8"),
        ("log.csv.gz", b"a,b\n1,2\n", "must be readable"),
        ("log.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 999, mtime=0)[:-9], "must be readable"),
        ("log.csv.zst", b"a,b\n1,2\n", "must be readable"),
        ("log.parquet", b"", "must be readable"),
        ("log.parquet", b"a,b\n1,2\n", "must be readable"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path / name)
    assert raised.value.where == name


def test_a_damaged_parquet_file_is_named(log, rng):
    table = pl.DataFrame({"a": rng.integers(0, 9**9, 5000), "b": rng.integers(0, 9**9, 5000)}).to_arrow()
    path = log.raw / "log.parquet"
    pq.write_table(table, path, compression="gzip")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 8
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"^log\.parquet: the file must be readable"):
        read(path)
    path.write_bytes(data[:-4])
    with pytest.raises(DataError, match=r"^log\.parquet: the file must be readable"):
        read(path)


def test_columns_of(log):
    def columns(path: Path, **how) -> list[str]:
        (file,) = find((path.name,), log.raw)
        return files.columns_of(file, CsvForm(**how))

    assert columns(log.write("a.csv", '\ufeffx,"y,z",\n')) == ["x", "y,z", ""]
    assert columns(log.write("a.tsv", "x\ty\n"), delimiter="\t") == ["x", "y"]
    assert columns(log.write("b.csv", "1,2\n"), columns=("x", "y")) == ["x", "y"]
    assert columns(log.write("c.parquet", {"p": np.arange(2), "q": [1, 2]})) == ["p", "q"]
