"""Some rows of each file, read as `prepare` reads them: of a big file the first rows, some in the middle and the last.

The memory and the time that it takes do not depend on the size of the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError
from ...features.arrow import frame_of
from ...features.values import number
from ..files import File, Frame
from ..lines import first_line, header, parse
from .missing import WORDS

FIRST, MORE = 8 << 20, 4 << 20  # bytes of text: of the beginning, and of the middle and the end
PACKED = 64 << 20  # of a larger compressed file, only the beginning is read
ROWS = 100_000  # of each piece, at most
LINES = 300  # that tell the delimiter
DELIMITERS = (",", "\t", ";", "|", "\x01")
FEW_BAD = 0.00005  # the share of rows that may have text that is not UTF-8


@dataclass(frozen=True)
class Head:
    """The columns of one file."""

    file: File
    columns: tuple[str, ...]  # c1, c2, ... if it has no header
    delimiter: str = ","
    headed: bool = True


@dataclass(frozen=True)
class Sample:
    """Some rows of one file."""

    frames: tuple[Frame, ...]
    whole: bool  # these are all rows
    rows: int  # of the file, an estimate unless `whole`
    bad: int = 0  # lines that cannot be read
    unreadable: Mapping[str, str] = field(default_factory=dict)  # column -> why `prepare` cannot read it


def head(file: File) -> Head | str:
    """The columns of a file; or, if it is no table that `prepare` reads, why."""
    try:
        if file.is_parquet:
            with file.filesystem.open_input_file(file.path) as stream:
                return Head(file, tuple(pq.ParquetFile(stream).schema_arrow.names))
        with file.filesystem.open_input_stream(file.path, compression=file.codec) as stream:
            data = first_line(stream, file.name)
        header(data, ",", file.name)  # raises an error for a zip archive, UTF-16 and the like
    except (OSError, pa.ArrowException) as error:
        return f"it cannot be read: {error}"
    except DataError as error:
        return f"{error.must}, however: {error.came}" + (f". {error.do}" if error.do else "")
    if data.lstrip()[:1] == b"{":
        return "it is JSON, which `prepare` does not read; convert it to CSV or Parquet"
    lines = data[: data.rfind(b"\n") + 1] or data + b"\n"
    lines = b"".join(lines.splitlines(keepends=True)[:LINES])
    if not _is_text(lines):
        lines = lines.decode("latin-1").encode()
    found = [
        (names, d, rows) for d in DELIMITERS if (names := header(lines, d, file.name))[1:] for rows in _fit(lines, d)
    ]
    if not found:
        return "it is no table: no character separates columns in every line"
    names, delimiter, rows = max(found, key=lambda f: len(f[0]))
    headed = _is_header(names, rows)
    return Head(file, tuple(names if headed else (f"c{i + 1}" for i in range(len(names)))), delimiter, headed)


def _fit(lines: bytes, delimiter: str) -> list[pl.DataFrame]:
    """The rows after the first line, if nearly all have as many columns as it; else none."""
    first, _, body = lines.partition(b"\n")
    names = [str(i) for i in range(len(header(first + b"\n", delimiter, "")))]
    if not body.strip():
        return [pl.DataFrame({name: pl.Series([], dtype=pl.String) for name in names})]
    rows, _, count = parse(body, names, names, delimiter, lambda *_: None)
    return [rows] if len(rows) >= 0.9 * count else []


def _is_header(names: list[str], rows: pl.DataFrame) -> bool:
    """Whether the first line names columns: it is text above numbers, or its cells are no values of their columns."""
    cells = pl.Series(names)
    numbers = np.isfinite(number(cells)[0])
    for i, column in enumerate(rows.iter_columns()):
        values, unread = number(column)
        if np.isfinite(values).any() and unread.mean() < 0.05 and not numbers[i] and names[i].lower() not in WORDS:
            return True
    counted = [[str(start + i) for i in range(len(names))] for start in (0, 1)]
    if numbers.any() and names not in counted:
        return False
    return not any(
        name and (column == name).any() and column.n_unique() <= len(column) / 2
        for name, column in zip(names, rows.iter_columns(), strict=True)
    )


def sample(found: Head) -> Sample:
    """Some rows of a file. Raises: DataError if it cannot be read."""
    try:
        return _of_parquet(found) if found.file.is_parquet else _of_text(found)
    except (OSError, pa.ArrowException) as error:
        raise DataError("the file must be readable", str(error), where=found.file.name) from error


def _twice(columns: tuple[str, ...]) -> dict[str, str]:
    why = {name: "several columns have this name" for name, n in Counter(columns).items() if n > 1}
    return why | ({"": "it has no name"} if "" in columns else {})


def _of_parquet(found: Head) -> Sample:
    file, unreadable = found.file, _twice(found.columns)
    with file.filesystem.open_input_file(file.path) as stream:
        parquet = pq.ParquetFile(stream)
        about = parquet.metadata
        groups = [g for g in range(about.num_row_groups) if about.row_group(g).num_rows]
        size = sum(about.row_group(g).total_byte_size for g in groups) / max(1, about.num_rows)
        most = max(1, min(ROWS, int(FIRST / max(1.0, size))))
        whole = about.num_rows <= most
        chosen = groups if whole else sorted({groups[0], groups[len(groups) // 2], groups[-1]})
        frames, start = [], 0
        names = [name for name in found.columns if name not in unreadable]
        for g in chosen:
            batch = next(parquet.iter_batches(most, row_groups=[g], columns=names))
            rows, why = _readable(pa.table(batch), file.name)
            unreadable |= why | _structures(rows)
            frames.append(Frame(rows, np.arange(start, start + len(rows)) + 1, file.name, 0.0, len(rows), start + 1))
            start += len(rows)
    frames = [Frame(f.rows.drop(unreadable, strict=False), f.lines, f.file, 0.0, f.raw_rows, f.start) for f in frames]
    return Sample(tuple(frames), whole, about.num_rows, 0, unreadable)


def _readable(table: pa.Table, where: str) -> tuple[pl.DataFrame, dict[str, str]]:
    try:
        return frame_of(table, where), {}
    except DataError:
        pass
    columns, why = [], {}
    for name in table.column_names:
        try:
            columns.append(frame_of(table.select([name]), where)[name])
        except DataError as error:
            why[name] = error.came
    return pl.DataFrame(columns), why


def _structures(rows: pl.DataFrame) -> dict[str, str]:
    """Columns of structures, or of lists of lists."""
    return {
        name: f"it holds {kind}, and neither values nor lists of values"
        for name, kind in rows.schema.items()
        if kind.is_nested() and (not isinstance(kind, pl.List | pl.Array) or kind.inner.is_nested())
    }


def _of_text(found: Head) -> Sample:
    file = found.file
    with file.filesystem.open_input_stream(file.path, compression=file.codec) as stream:
        data = _read(stream, FIRST + 2 * MORE)
        more = len(stream.read(1))
        size = len(data) + more + (_length(stream) if more and file.codec and file.size <= PACKED else 0)
    whole = not more
    blocks = [data if whole else data[: data.rfind(b"\n", 0, FIRST) + 1]]
    if blocks[0] and not blocks[0].endswith(b"\n"):
        blocks[0] += b"\n"
    if found.headed:
        blocks[0] = blocks[0].partition(b"\n")[2]
    per_row = len(blocks[0]) / max(1, blocks[0].count(b"\n"))
    if file.codec is None:
        size = file.size
    elif file.size > PACKED:
        size = 4 * file.size
    if not whole and (file.codec is None or file.size <= PACKED):
        blocks += _later(file, [size // 2, size - MORE])
    blocks = [_trimmed(block) for block in blocks]
    unreadable = _twice(found.columns) | _not_utf8(blocks, found)
    columns = [name for name in found.columns if name not in unreadable]
    frames, bad, start = [], 0, 1 + found.headed
    for block in filter(None, blocks):
        rows, lines, count = parse(block, list(found.columns), columns, found.delimiter, lambda *_: None)
        bad += count - len(rows)
        if len(rows) > ROWS:
            some = np.r_[: ROWS // 2, len(rows) - ROWS // 2 : len(rows)]
            rows, lines = rows[some], lines[some]
        frames.append(Frame(rows, start + lines, file.name, 0.0, count, start))
        start += count
    read = sum(f.raw_rows for f in frames)
    return Sample(
        tuple(frames), whole and read <= ROWS, read if whole else int(size / max(1.0, per_row)), bad, unreadable
    )


def _later(file: File, starts: list[int]) -> list[bytes]:
    """Whole lines of a text that follow these places in it."""
    blocks, at = [], 0
    if file.codec is None:
        with file.filesystem.open_input_file(file.path) as stream:
            for start in starts:
                stream.seek(start)
                blocks.append(_read(stream, MORE))
    else:
        with file.filesystem.open_input_stream(file.path, compression=file.codec) as stream:
            for start in starts:
                at += _length(stream, max(0, start - at))
                blocks.append(_read(stream, MORE))
                at += len(blocks[-1])
    blocks = [block.partition(b"\n")[2] for block in blocks]
    return [block[: block.rfind(b"\n") + 1] for block in blocks]


def _length(stream: pa.NativeFile, most: int = 1 << 62) -> int:
    """Skip bytes of a stream, and count them."""
    read = 0
    while read < most and (piece := stream.read(min(MORE, most - read))):
        read += len(piece)
    return read


def _trimmed(block: bytes) -> bytes:
    """Without blank lines at the end, as in the reader of logs."""
    text = block.rstrip(b"\r\n")
    return block[: block.find(b"\n", len(text)) + 1] if text else b""


def _read(stream: pa.NativeFile, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := stream.read(size - len(data))):
        data += piece
    return bytes(data)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(blocks: list[bytes], found: Head) -> dict[str, str]:
    """Columns in which many rows are not UTF-8."""
    lines = [line for block in blocks if not _is_text(block) for line in block.split(b"\n") if not _is_text(line)]
    if len(lines) <= FEW_BAD * sum(block.count(b"\n") for block in blocks):
        return {}
    as_latin = "".join(line.decode("latin-1") + "\n" for line in lines).encode()
    names = [str(i) for i in range(len(found.columns))]
    rows, _, _ = parse(as_latin, names, names, found.delimiter, lambda *_: None)
    return {
        found.columns[i]: "its text is not UTF-8, and rows with it would be bad; to use it, convert the file to UTF-8"
        for i, column in enumerate(rows.iter_columns())
        if column.str.contains(r"[^\x00-\x7F]").any()
    }
