"""A block of CSV lines -> a frame of text columns, one row per line. Lines that cannot be read as a row are reported.

Usually one call of pyarrow's parser is enough. Three cases need more: an unclosed quote (pyarrow reads everything up
to the next quote as one value, so rows disappear silently), a blank line (pyarrow makes it a row of empty values), and
bytes that are not UTF-8 (pyarrow raises an error). A block with any of these is checked line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from ..errors import DataError

LONGEST_LINE = 64 * 1024 * 1024  # bytes; a longer line is an error, so that no file can fill the memory
HEADER_BYTES = 1024 * 1024  # read at once to find the end of the header
_MAGIC = {
    b"PK\x03\x04": ("a zip archive", "Unpack it"),
    b"\x1f\x8b": ("compressed by gzip", "Give its name the ending .gz"),
    b"(\xb5/\xfd": ("compressed by zstd", "Give its name the ending .zst"),
    b"PAR1\x15": ("Parquet", "Give its name the ending .parquet"),
}


def blocks(stream: Any, file: str, size: int) -> Iterator[tuple[bytes, int, bool]]:
    """The whole lines of a stream, block by block: (lines, bytes read, whether this is the last block).

    A block may be empty; the last one always comes, and may be empty too.

    Args:
        file: the name of the file, for errors.
        size: bytes to read at once.

    Raises: DataError for a line that is longer than LONGEST_LINE.
    """
    remaining, line, more = b"", 1, True
    while more:
        piece = stream.read(size)
        more = bool(piece)
        block, remaining = whole_lines(remaining + piece, last=not more)
        line += block.count(b"\n")
        if len(remaining) > LONGEST_LINE:
            raise _too_long(file, line)
        yield block, len(piece), not more


def first_line(stream: Any, file: str) -> bytes:
    """The first bytes of a stream, with at least its first line. Raises: DataError as `blocks`."""
    data = bytearray()
    while b"\n" not in data and (piece := stream.read(HEADER_BYTES)):
        data += piece
        if len(data) > LONGEST_LINE:
            raise _too_long(file, 1)
    return bytes(data)


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


def header(data: bytes, delimiter: str, file: str) -> list[str]:
    """The column names, from the first bytes of a file. Raises: DataError if the first line is not a header."""
    for magic, (came, do) in _MAGIC.items():
        if data.startswith(magic):
            raise DataError("a CSV file must be plain text", f"it is {came}", where=file, do=do)
    must, line = "a CSV file must begin with a line of column names", data.split(b"\n", 1)[0].rstrip(b"\r")
    if not line.strip():
        raise DataError(must, "its first line is empty" if data.strip() else "the file is empty", where=file)
    try:
        line.decode()
    except UnicodeDecodeError as error:
        came = f"its first line is not UTF-8: {error}"
        raise DataError("a CSV file must be text in UTF-8", came, where=file, do="Convert it") from error
    if b"\r" in line:
        came = "the header line contains a CR that is not followed by LF"
        raise DataError("the lines of a CSV file must end in LF or CR LF", came, where=file, do="Convert them")
    reading = pacsv.ReadOptions(use_threads=False, block_size=len(line) + 2)
    parsed = pacsv.read_csv(pa.BufferReader(line + b"\n"), reading, pacsv.ParseOptions(delimiter=delimiter))
    return [name.removeprefix("\ufeff") for name in parsed.column_names]


def parse(
    block: bytes, names: list[str], columns: list[str], delimiter: str, bad_line: Callable[[int, str], None]
) -> tuple[pl.DataFrame, np.ndarray, int]:
    """Parse one block of complete lines, m of them, of which n are good.

    Args:
        names: the names of all columns, in order.
        columns: the columns to read. Only these must be UTF-8.
        bad_line: called with (line number in the block, from 0; text) for each line that has the wrong number of
            columns or cannot be read.

    Returns: the good lines as text columns (n,), their line numbers in the block, from 0, int64 (n,), and m.
    """
    broken: dict[int, str] = {}  # bad lines that the parser skipped: the parsed table has no row for them
    replaced: dict[int, str] = {}  # bad lines that were replaced by an empty row before parsing

    def invalid(row: pacsv.InvalidRow) -> str:
        assert row.number is not None
        broken[row.number - 1] = row.text
        return "skip"

    def read(data: bytes) -> pa.Table:
        return pacsv.read_csv(
            pa.BufferReader(data),
            # pyarrow reports the number of an invalid row only when it uses one thread
            pacsv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
            pacsv.ParseOptions(delimiter=delimiter, invalid_row_handler=invalid, ignore_empty_lines=False),
            pacsv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.binary())),
        )

    count, lines = block.count(b"\n"), None
    table = None if _needs_line_check(block, delimiter) else read(block)
    if table is None or table.num_rows + len(broken) != count:
        lines = block.split(b"\n")[:-1]
        replaced = {i: _readable(text) for i, text in enumerate(lines) if _is_unparsable(text, delimiter, len(names))}
        empty = delimiter.encode() * (len(names) - 1)
        broken.clear()
        table = read(b"".join((empty if i in replaced else text) + b"\n" for i, text in enumerate(lines)))
    numbers = np.delete(np.arange(count), np.array(list(broken), np.int64))
    if lines is not None:
        not_text = {i for column in table.columns for i in _not_text(column)}
        replaced.update((int(numbers[i]), _readable(lines[numbers[i]])) for i in not_text)
        good = ~np.isin(numbers, list(replaced))
        table, numbers = table.filter(pa.array(good)), numbers[good]
    for i, text in sorted((broken | replaced).items()):
        bad_line(i, text)
    return pl.DataFrame(table.cast(pa.schema([(name, pa.string()) for name in columns]))), numbers, count


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
        or not _is_text(block)
    )


def _is_text(data: bytes) -> bool:
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
        return [i for i, value in enumerate(column.to_pylist()) if not _is_text(value)]
    return []


def _readable(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="backslashreplace")


def _is_unparsable(line: bytes, delimiter: str, columns: int) -> bool:
    """Whether the parser cannot read the line as one row: it is blank, has an unclosed quote, or contains a CR.

    True also for a line that has the wrong number of columns and is not UTF-8.
    """
    line = line.removesuffix(b"\r")
    if not line or b"\r" in line:
        return True
    if b'"' not in line and line.isascii():
        return False
    cells = _cells(line, delimiter.encode())
    return not cells or (cells != columns and not _is_text(line))


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
