"""A block of CSV lines -> a frame of text columns, one row per line. Lines that cannot be read as a row are reported.

Usually one call of pyarrow's parser is enough. Three cases need more: an unclosed quote (pyarrow reads everything up
to the next quote as one value, so rows disappear silently), a blank line (pyarrow makes it a row of empty values), and
bytes that are not UTF-8 (pyarrow raises an error). A block with any of these is checked line by line.

With `multiline`, a row may take several lines: a line with an unclosed quote and those after it, until it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from ..errors import DataError
from .csvform import DECLARE, CsvForm, Utf8, wide_encoding

LONGEST_LINE = 64 * 1024 * 1024  # bytes; a longer line is an error, so that no file can fill the memory
NEWLINE = b"\n"
HEADER_BYTES = 1024 * 1024  # read at once to find the end of the header
_MAGIC = {
    b"PK\x03\x04": ("a zip archive", "Unpack it"),
    b"\x1f\x8b": ("compressed by gzip", "Give its name the ending .gz"),
    b"(\xb5/\xfd": ("compressed by zstd", "Give its name the ending .zst"),
    b"PAR1\x15": ("Parquet", "Give its name the ending .parquet"),
}


@dataclass(frozen=True)
class Fault:
    """A row of a CSV file that cannot be read."""

    text: str  # the line, with unreadable bytes escaped
    do: str = ""  # what is wrong with it, and what to do


BadLine = Callable[[int, Fault], None]
"""Called with (number of the line, fault) for each line that cannot be read as a row."""


def blocks(stream: Utf8, file: str, size: int, form: CsvForm = CsvForm()) -> Iterator[tuple[bytes, int, bool]]:
    """The whole lines of a stream, block by block: (lines, bytes read, whether this is the last block).

    A block may be empty; the last one always comes, and may be empty too. With `multiline` it holds whole rows.

    Args:
        file: the name of the file, for errors.
        size: bytes to read at once.

    Raises: DataError for a line that is longer than LONGEST_LINE.
    """
    remaining, line, more = b"", 1, True
    while more:
        before = stream.taken
        piece = stream.read(size)
        more = bool(piece)
        block, remaining = whole_lines(remaining + piece, last=not more)
        if form.multiline and block:
            rows, is_open = _rows(block, form.delimiter)
            at = len(block) - len(rows[-1]) - 1
            if is_open and not more:
                must, came = "each quote of a CSV file must be closed", f"one is not: {_readable(rows[-1][:100])}"
                raise DataError(must, came, where=f"{file}, line {line + block[:at].count(NEWLINE)}")
            if is_open:  # the last row goes on in the next block
                block, remaining = block[:at], block[at:] + remaining
        line += block.count(b"\n")
        if len(remaining) > LONGEST_LINE:
            raise _too_long(file, line)
        yield block, stream.taken - before, not more


def first_lines(stream: Utf8, file: str, count: int = 1) -> bytes:
    """The first bytes of a stream, with at least `count` lines. Raises: DataError as `blocks`."""
    data = bytearray()
    while data.count(b"\n") < count and (piece := stream.read(HEADER_BYTES)):
        data += piece
        if len(data) > LONGEST_LINE:
            raise _too_long(file, 1)
    return bytes(data)


def without_lines(data: bytes, count: int) -> bytes:
    r"""The data after its first `count` lines.

    >>> without_lines(b"a\nb\nc\n", 2)
    b'c\n'
    """
    for _ in range(count):
        data = data.partition(b"\n")[2]
    return data


def _too_long(file: str, line: int) -> DataError:
    must = f"a line, or a series of blank lines, may have at most {LONGEST_LINE:,} bytes"
    return DataError(must, "it is longer", where=f"{file}, line {line}", do="Is this a file of rows of text?")


def whole_lines(data: bytes, last: bool) -> tuple[bytes, bytes]:
    r"""Split the data after its last complete line: (complete lines, remaining bytes).

    Args:
        last: the data ends at the end of the file, so the last line is complete even without a newline.

    Blank lines at the end go with the remaining bytes, so blank lines at the end of a file are ignored.

    >>> whole_lines(b"1,2\n3", False), whole_lines(b"1,2\n\n", False), whole_lines(b"\n3", last=True)
    ((b'1,2\n', b'3'), (b'1,2\n', b'\n'), (b'\n3\n', b''))
    """
    if last:
        return (data + b"\n" if data.strip(b"\r\n") else b""), b""
    text = data[: data.rfind(b"\n") + 1].rstrip(b"\r\n")
    cut = data.find(b"\n", len(text)) + 1 if text else 0
    return data[:cut], data[cut:]


_UTF8 = "a CSV file must be text in UTF-8, if no other encoding is declared"


def check_is_text(data: bytes, file: str) -> None:
    """Check the first bytes of a file. Raises: DataError if it is packed, Parquet, or in UTF-16 or UTF-32."""
    for magic, (came, do) in _MAGIC.items():
        if data.startswith(magic):
            raise DataError("a CSV file must be plain text", f"it is {came}", where=file, do=do)
    encoding = wide_encoding(data)
    if encoding is not None:
        do = DECLARE.replace('"latin-1"', f'"{encoding}"')
        raise DataError(_UTF8, f"it seems to be {encoding.upper()}", where=file, do=do)


def header(data: bytes, form: CsvForm, file: str) -> list[str]:
    """The column names, from the first bytes of a file. Raises: DataError if there is no header."""
    check_is_text(data, file)
    place = "first line" if not form.skip else f"line {form.skip + 1}"
    must = "a CSV file must begin with a line of column names"
    line = without_lines(data, form.skip).split(b"\n", 1)[0].rstrip(b"\r")
    if not line.strip():
        raise DataError(must, f"its {place} is empty" if data.strip() else "the file is empty", where=file)
    if not is_text(line):
        came = f"its {place} is not: {_bad_byte(line)} in '{_readable(line)[:100]}'"
        raise DataError(_UTF8, came, where=file, do=DECLARE)
    if b"\r" in line:
        came = "the header line contains a CR that is not followed by LF"
        raise DataError("the lines of a CSV file must end in LF or CR LF", came, where=file, do="Convert them")
    if not _cells(line, form.delimiter.encode()):
        came = f"a quote in its {place} is not closed: {_readable(line)[:100]}"
        raise DataError("a CSV file must have its column names in one line", came, where=file)
    reading = pacsv.ReadOptions(use_threads=False, block_size=len(line) + 2)
    parsed = pacsv.read_csv(pa.BufferReader(line + b"\n"), reading, pacsv.ParseOptions(delimiter=form.delimiter))
    return list(parsed.column_names)


@dataclass(frozen=True)
class Parsed:
    """The rows of a block of lines: m rows, of which n are good."""

    rows: pl.DataFrame  # the good rows, as text columns (n,)
    places: np.ndarray  # of each good row its number among all rows of the block, from 0; int64 (n,)
    lines: np.ndarray  # of each row, good or bad, the line that it begins in, from 0; int64 (m,)
    height: int  # lines of the block; m, unless some rows have several lines


def parse(block: bytes, names: Sequence[str], columns: Sequence[str], form: CsvForm, bad_line: BadLine) -> Parsed:
    """Parse one block of complete lines.

    Args:
        names: the names of all columns, in order.
        columns: the columns to read. Only these must be UTF-8.
        bad_line: called with (line number in the block, from 0; fault) for each row that has the wrong number of
            columns or cannot be read.
    """
    broken: dict[int, Fault] = {}  # bad rows that the parser skipped: the parsed table has no row for them
    replaced: dict[int, Fault] = {}  # bad rows that were replaced by an empty row before parsing

    def invalid(row: pacsv.InvalidRow) -> str:
        assert row.number is not None
        broken[row.number - 1] = _wrong_width(row.text, row.actual_columns, len(names), form)
        return "skip"

    def read(data: bytes) -> pa.Table:
        return pacsv.read_csv(
            pa.BufferReader(data),
            # pyarrow reports the number of an invalid row only when it uses one thread
            pacsv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
            pacsv.ParseOptions(
                delimiter=form.delimiter,
                invalid_row_handler=invalid,
                ignore_empty_lines=False,
                newlines_in_values=form.multiline,
            ),
            pacsv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.binary())),
        )

    height, lines = block.count(b"\n"), None
    table = None if form.multiline or _needs_line_check(block, form.delimiter) else read(block)
    if table is None or table.num_rows + len(broken) != height:
        lines = _rows(block, form.delimiter)[0] if form.multiline else block.split(b"\n")[:-1]
        faults = ((i, _fault(line, form, len(names))) for i, line in enumerate(lines))
        replaced = {i: fault for i, fault in faults if fault is not None}
        empty = form.delimiter.encode() * (len(names) - 1)
        broken.clear()
        table = read(b"".join((empty if i in replaced else text) + b"\n" for i, text in enumerate(lines)))
    places = np.delete(np.arange(height if lines is None else len(lines)), np.array(list(broken), np.int64))
    if lines is not None:
        for name, column in zip(columns, table.columns, strict=True):
            for i in _not_text(column):
                here, cell = int(places[i]), column[i].as_py()
                do = f"{name} = '{_readable(cell)[:60]}' has {_bad_byte(cell)}. {DECLARE}"
                replaced.setdefault(here, Fault(_readable(lines[here]), do))
        good = ~np.isin(places, list(replaced))
        table, places = table.filter(pa.array(good)), places[good]
    first = np.arange(height) if lines is None or len(lines) == height else _begins(lines)
    for i, fault in sorted((broken | replaced).items()):
        bad_line(int(first[i]), fault)
    rows = pl.DataFrame(table.cast(pa.schema([(name, pa.string()) for name in columns])))
    return Parsed(rows, places, first, height)


def _begins(rows: list[bytes]) -> np.ndarray:
    """The line in which each row begins, from 0. Shape: int64 (m,)."""
    heights = [row.count(b"\n") + 1 for row in rows]
    return np.cumsum([0, *heights])[:-1].astype(np.int64)


def _rows(block: bytes, delimiter: str) -> tuple[list[bytes], bool]:
    r"""(the rows of a block of lines, of which some have several; whether a quote of the last one is not closed).

    >>> _rows(b'1,"a\nb"\n2,c\n3,"d\n', ",")
    ([b'1,"a\nb"', b'2,c', b'3,"d'], True)
    """
    rows: list[bytes] = []
    unclosed: list[bytes] = []  # the lines of a row with an unclosed quote
    for line in block.split(b"\n")[:-1]:
        if b'"' in line:
            row = b"\n".join([*unclosed, line])
            unclosed = []
            if _cells(row, delimiter.encode()):
                rows.append(row)
            else:
                unclosed = [row]
        elif unclosed:
            unclosed.append(line)
        else:
            rows.append(line)
    if unclosed:
        rows.append(b"\n".join(unclosed))
    return rows, bool(unclosed)


def _needs_line_check(block: bytes, delimiter: str) -> bool:
    """Whether parsing the block at once would fail, or would read a bad line as a row without the row count showing it.

    An unclosed quote joins two lines, so the row count shows it, except in the last line of a block.
    """
    last = block[block.rfind(b"\n", 0, -1) + 1 :]
    return (
        block[:1] in (b"\r", b"\n")
        or b"\n\n" in block
        or b"\n\r\n" in block
        or block.count(b"\r") != block.count(b"\r\n")
        or not _cells(last, delimiter.encode())
        or not is_text(block)
    )


def is_text(data: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_text(column: pa.ChunkedArray) -> list[int]:
    """The indices of the rows of a binary column whose bytes are not UTF-8."""
    try:
        column.cast(pa.string())
    except pa.ArrowInvalid:
        return [i for i, value in enumerate(column.to_pylist()) if not is_text(value)]
    return []


def _readable(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="backslashreplace")


def _bad_byte(data: bytes) -> str:
    """The first byte that is not UTF-8, in words."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{data[error.start]:02x}, which is not UTF-8"
    return "no such byte"


def _fault(line: bytes, form: CsvForm, columns: int) -> Fault | None:
    """Why the parser cannot read the line as one row: it is blank, has an unclosed quote, or contains a CR.

    Not None also for a line that has the wrong number of columns and is not UTF-8.
    """
    line = line.removesuffix(b"\r")
    if not line:
        return Fault("", "The line is blank")
    if b"\r" in line and b"\n" not in line:
        return Fault(_readable(line), "A CR is not followed by LF")
    if b'"' not in line and line.isascii():
        return None
    cells = _cells(line, form.delimiter.encode())
    if not cells:
        do = "A quote is not closed. If quoted values contain line ends, set multiline = true (`score --multiline`)"
        return Fault(_readable(line), do)
    if cells != columns and not is_text(line):
        return _wrong_width(_readable(line), cells, columns, form)
    return None


def _wrong_width(text: str, came: int, columns: int, form: CsvForm) -> Fault:
    do = 'Is delimiter = "..." right?'
    if came == columns + 1 and text.rstrip("\r\n").endswith(form.delimiter):
        do = "If each row ends with a delimiter that the header lacks, name one more column: columns = [...], skip = 1"
    return Fault(text, f"The line has {came:,} value{'s' * (came != 1)} for {columns:,} columns. {do}")


def _cells(line: bytes, delimiter: bytes) -> int:
    r"""The number of columns of a line; 0 if a quote is not closed.

    >>> _cells(b'1,"2,3",', b","), _cells(b'1,"2,3', b","), _cells(b'"a""b",5" screen', b",")
    (3, 0, 2)
    """
    at, cells = 0, 1
    while True:
        if line[at : at + 1] == b'"':
            at = line.find(b'"', at + 1)
            while at >= 0 and line[at + 1 : at + 2] == b'"':
                at = line.find(b'"', at + 2)
            if at < 0:
                return 0
        at = line.find(delimiter, at)
        if at < 0:
            return cells
        at, cells = at + 1, cells + 1
