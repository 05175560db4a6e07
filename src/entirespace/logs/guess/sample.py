"""Some rows of each file, read as `prepare` reads them: of a big file the first rows, some in the middle and the last.

The memory and the time that it takes do not depend on the size of the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError
from ...features.arrow import frame_of
from ...features.values import number
from ..csvform import CsvForm, Utf8, wide_encoding
from ..files import File, Frame
from ..lines import check_is_text, first_lines, header, is_text, parse
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
    encoding: str = "utf-8"
    wide: bool = False  # text of two or four bytes a character

    @property
    def in_order(self) -> bool:
        """Whether its text can only be read from the beginning."""
        return self.wide or self.file.codec is not None


@dataclass(frozen=True)
class Sample:
    """Some rows of one file."""

    frames: tuple[Frame, ...]
    whole: bool  # these are all rows
    rows: int  # of the file, an estimate unless `whole`
    bad: int = 0  # lines that cannot be read
    unreadable: Mapping[str, str] = field(default_factory=dict)  # column -> why `prepare` cannot read it
    encoding: str = "utf-8"


def head(file: File) -> Head | str:
    """The columns of a file; or, if it is no table that `prepare` reads, why."""
    try:
        if file.is_parquet:
            with file.filesystem.open_input_file(file.path) as stream:
                return Head(file, tuple(pq.ParquetFile(stream).schema_arrow.names))
        with file.filesystem.open_input_stream(file.path, compression=file.codec) as stream:
            wide = wide_encoding(_read(stream, 4))
        with file.filesystem.open_input_stream(file.path, compression=file.codec) as stream:
            data = first_lines(Utf8(stream, wide or "utf-8", file.name), file.name)
        check_is_text(data, file.name)
        encoding = wide or _encoding([data])
        if wide is None and encoding not in (None, "utf-8"):
            data = data.decode(encoding).encode()
        header(data, CsvForm(), file.name)  # raises an error if the first line names no columns
    except (OSError, pa.ArrowException) as error:
        return f"it cannot be read: {error}"
    except DataError as error:
        return f"{error.must}, however: {error.came}" + (f". {error.do}" if error.do else "")
    if data.lstrip()[:1] == b"{":
        return "it is JSON, which `prepare` does not read; convert it to CSV or Parquet"
    lines = data[: data.rfind(b"\n") + 1] or data + b"\n"
    lines = b"".join(lines.splitlines(keepends=True)[:LINES])
    fitted = lines if is_text(lines) else lines.decode("latin-1").encode()
    found = [
        (names, d, rows)
        for d in DELIMITERS
        if (names := header(lines, CsvForm(d), file.name))[1:]
        for rows in _fit(fitted, d)
    ]
    if not found:
        return "it is no table: no character separates columns in every line"
    names, delimiter, rows = max(found, key=lambda f: len(f[0]))
    headed = _is_header(names, rows)
    columns = tuple(names if headed else (f"c{i + 1}" for i in range(len(names))))
    return Head(file, columns, delimiter, headed, encoding or "utf-8", wide is not None)


def _fit(lines: bytes, delimiter: str) -> list[pl.DataFrame]:
    """The rows after the first line, if nearly all have as many columns as it; else none."""
    first, _, body = lines.partition(b"\n")
    names = [str(i) for i in range(len(header(first + b"\n", CsvForm(delimiter), "")))]
    if not body.strip():
        return [pl.DataFrame({name: pl.Series([], dtype=pl.String) for name in names})]
    found = parse(body, names, names, CsvForm(delimiter), lambda *_: None)
    return [found.rows] if len(found.rows) >= 0.9 * found.height else []


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
            places = np.arange(len(rows))
            frames.append(Frame(rows, start + places + 1, places, file.name, 0.0, len(rows), file.unit))
            start += len(rows)
    frames = [replace(f, rows=f.rows.drop(unreadable, strict=False)) for f in frames]
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
    near = file.size <= PACKED or not found.in_order  # the middle and the end are read, too
    with file.filesystem.open_input_stream(file.path, compression=file.codec) as raw:
        stream = _utf8(raw, found)
        data = _read(stream, FIRST + 2 * MORE)
        more = len(stream.read(1))
        size = len(data) + more + (_length(stream) if more and found.in_order and near else 0)
    whole = not more
    blocks = [data if whole else data[: data.rfind(b"\n", 0, FIRST) + 1]]
    if blocks[0] and not blocks[0].endswith(b"\n"):
        blocks[0] += b"\n"
    if found.headed:
        blocks[0] = blocks[0].partition(b"\n")[2]
    per_row = len(blocks[0]) / max(1, blocks[0].count(b"\n"))
    if not found.in_order:
        size = file.size
    elif not near:
        size = 4 * file.size if file.codec is not None else file.size // 2
    if not whole and near:
        blocks += _later(found, [size // 2, size - MORE])
    blocks = [_trimmed(block) for block in blocks]
    unreadable, encoding = _twice(found.columns), _encoding(blocks)
    if encoding is None:
        unreadable |= _not_utf8(blocks, found)
    elif encoding == "utf-8":
        encoding = found.encoding
    else:
        blocks = [block.decode(encoding).encode() for block in blocks]
    columns = [name for name in found.columns if name not in unreadable]
    frames, bad, start = [], 0, 1 + found.headed
    for block in filter(None, blocks):
        parsed = parse(block, found.columns, columns, CsvForm(found.delimiter), lambda *_: None)
        rows, places, count = parsed.rows, parsed.places, parsed.height
        bad += count - len(rows)
        if len(rows) > ROWS:
            some = np.r_[: ROWS // 2, len(rows) - ROWS // 2 : len(rows)]
            rows, places = rows[some], places[some]
        frames.append(Frame(rows, start + places, places, file.name, 0.0, count))
        start += count
    read = sum(f.raw_rows for f in frames)
    return Sample(
        tuple(frames),
        whole and read <= ROWS,
        read if whole else int(size / max(1.0, per_row)),
        bad,
        unreadable,
        encoding or "utf-8",
    )


def _utf8(stream: pa.NativeFile, found: Head) -> Utf8:
    return Utf8(stream, found.encoding if found.wide else "utf-8", found.file.name)


def _later(found: Head, starts: list[int]) -> list[bytes]:
    """Whole lines of a text that follow these places in it."""
    file, blocks, at = found.file, [], 0
    if not found.in_order:
        with file.filesystem.open_input_file(file.path) as stream:
            for start in starts:
                stream.seek(start)
                blocks.append(_read(stream, MORE))
    else:
        with file.filesystem.open_input_stream(file.path, compression=file.codec) as raw:
            stream = _utf8(raw, found)
            for start in starts:
                at += _length(stream, max(0, start - at))
                blocks.append(_read(stream, MORE))
                at += len(blocks[-1])
    blocks = [block.partition(b"\n")[2] for block in blocks]
    return [block[: block.rfind(b"\n") + 1] for block in blocks]


def _length(stream: Utf8, most: int = 1 << 62) -> int:
    """Skip bytes of a stream, and count them."""
    read = 0
    while read < most and (piece := stream.read(min(MORE, most - read))):
        read += len(piece)
    return read


def _trimmed(block: bytes) -> bytes:
    """Without blank lines at the end, as in the reader of logs."""
    text = block.rstrip(b"\r\n")
    return block[: block.find(b"\n", len(text)) + 1] if text else b""


def _read(stream: pa.NativeFile | Utf8, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := stream.read(size - len(data))):
        data += piece
    return bytes(data)


def _encoding(blocks: list[bytes]) -> str | None:
    """The encoding of lines of text: UTF-8, also if a few lines are not; None if some lines are UTF-8 and many not."""
    lines = _lines_not_utf8(blocks)
    if len(lines) <= FEW_BAD * sum(block.count(b"\n") for block in blocks):
        return "utf-8"
    if any(not line.isascii() and is_text(line) for block in blocks for line in block.split(b"\n")):
        return None
    try:
        b"".join(lines).decode("windows-1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "windows-1252" if any(0x80 <= byte < 0xA0 for byte in b"".join(lines)) else "latin-1"


def _lines_not_utf8(blocks: list[bytes]) -> list[bytes]:
    return [line for block in blocks if not is_text(block) for line in block.split(b"\n") if not is_text(line)]


def _not_utf8(blocks: list[bytes], found: Head) -> dict[str, str]:
    """Columns in which rows are not UTF-8."""
    lines = _lines_not_utf8(blocks)
    as_latin = "".join(line.decode("latin-1") + "\n" for line in lines).encode()
    names = [str(i) for i in range(len(found.columns))]
    rows = parse(as_latin, names, names, CsvForm(found.delimiter), lambda *_: None).rows
    return {
        found.columns[i]: "its text is not UTF-8, and rows with it would be bad; to use it, convert the file to UTF-8"
        for i, column in enumerate(rows.iter_columns())
        if column.str.contains(r"[^\x00-\x7F]").any()
    }
