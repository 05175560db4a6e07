"""Reads files of raw rows in order, and writes the same rows with columns added: for `score`.

CSV (plain or compressed) has one row per line, JSON lines one object per line, Parquet its rows. The readers of logs
leave bad lines out. Here a bad line becomes a row of nulls, so that the output has one row per row of the input.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DataError, no_file
from ..features.arrow import frame_of
from ..features.values import text
from ..places import Rule, whole_file
from .csvform import CsvForm, Utf8
from .files import CODECS, local
from .json_values import as_text, columns_of, json_object
from .lines import Fault, blocks, header, parse

Format = Literal["csv", "jsonl", "parquet"]
STDIN = "-"
BLOCK_BYTES = 8 * 1024 * 1024
ROWS = 65_536
ENDINGS: dict[str, Format] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}


@dataclass(frozen=True)
class RowBatch:
    """Some rows of one file, in order."""

    rows: pl.DataFrame  # n rows; a line that could not be parsed is a row of nulls
    file: str
    first: int  # the line (CSV, JSON lines) or row (Parquet) of the first of them, from 1
    broken: dict[int, Fault]  # index of the row, from 0 -> why its line could not be parsed
    bytes: float  # bytes of the file that were read, for progress
    unit: str = "line"  # what `first` counts: a "line", or a "row" of Parquet
    lines: np.ndarray | None = None  # line of each row after `first`, int64 (n,); None: 0, 1, 2, ...

    def where(self, row: int) -> str:
        """The file and line of a row, for errors; `row` is its index, from 0."""
        after = row if self.lines is None or not len(self.lines) else int(self.lines[row])
        return f"{self.file}, {self.unit} {self.first + after}"

    def fault(self, row: int) -> DataError:
        """The error for a line that could not be parsed; `row` is its index, from 0."""
        fault, must = self.broken[row], "each line must be a row of the file"
        return DataError(must, repr(fault.text[:200]), where=self.where(row), do=fault.do or None)


def format_of(name: str, given: Format | None = None) -> Format:
    """The format of a file: `given`, or by its ending. Raises: DataError if the ending is not a known one."""
    if given is not None:
        return given
    path = Path(name)
    ending = (Path(path.stem).suffix if path.suffix.lower() in CODECS else path.suffix).lower()
    if ending not in ENDINGS:
        do = "Give the format: --format csv, jsonl or parquet"
        came = "standard input has no ending" if name == STDIN else f"'{path.name}'"
        raise DataError("the file's ending must give its format: .csv, .jsonl or .parquet", came, where=name, do=do)
    return ENDINGS[ending]


def read_rows(name: str, given: Format | None = None, form: CsvForm = CsvForm()) -> Iterator[RowBatch]:
    """The rows of a file, or of standard input ("-").

    Args:
        name: the path of the file, or "-".
        given: the format. Default: by the ending of the file name.
        form: how a CSV file is written.

    Raises: DataError if the file is missing, empty or cannot be read.
    """
    path = Path(name)
    kind = "csv" if path.is_dir() else format_of(name, given)
    if name != STDIN and (path.is_dir() or not path.exists()):
        raise DataError("the file must be readable", no_file(path), where=name)
    try:
        with _opened(name, kind) as stream:
            if kind == "parquet":
                yield from _parquet(stream, name)
            elif kind == "jsonl":
                yield from _jsonl(stream, name, form)
            else:
                yield from _csv(stream, name, form)
    except (OSError, pa.ArrowException) as error:
        raise DataError("the file must be readable", str(error), where=name) from error


def read_table(name: str, form: CsvForm = CsvForm()) -> pl.DataFrame:
    """All rows of a file. Raises: DataError as `read_rows`, and for a line that is no row."""
    frames: list[pl.DataFrame] = []
    for batch in read_rows(name, form=form):
        if batch.broken:
            raise batch.fault(min(batch.broken))
        frames.append(batch.rows)
    names = dict.fromkeys(column for frame in frames for column in frame.columns)
    return pl.DataFrame([_joined(column, frames) for column in names])


def _joined(name: str, frames: list[pl.DataFrame]) -> pl.Series:
    """A column of several frames. Values of several types become text; where a frame lacks the column, null."""
    pieces = [f[name] if name in f.columns else pl.Series(name, [None] * len(f), pl.Null) for f in frames]
    kinds = {piece.dtype for piece in pieces} - {pl.Null()}
    if len(kinds) > 1:
        texts = ([as_text(v) for v in p.to_list()] if p.dtype.is_nested() else text(p) for p in pieces)
        pieces = [pl.Series(name, values, pl.String) for values in texts]
        kinds = {pl.String()}
    return pl.concat([piece.cast(kind) for piece in pieces for kind in kinds or {pl.Null()}])


def _opened(name: str, kind: Format) -> Any:
    if name == STDIN:
        # a Parquet file is read from its end, so it cannot be streamed
        return io.BytesIO(sys.stdin.buffer.read()) if kind == "parquet" else sys.stdin.buffer
    return pa.OSFile(name, "rb") if kind == "parquet" else pa.input_stream(name, compression=_codec(name))


def _codec(name: str) -> str | None:
    return CODECS.get(Path(name).suffix.lower())


def _parquet(stream: Any, name: str) -> Iterator[RowBatch]:
    file, first = pq.ParquetFile(stream), 1
    size = (Path(name).stat().st_size if name != STDIN else 0) / max(1, file.metadata.num_rows)
    for batch in file.iter_batches(ROWS):
        rows = frame_of(pa.table(batch), name)
        yield RowBatch(rows, name, first, {}, size * len(rows), "row")
        first += len(rows)


def _blocks(stream: Any, name: str, form: CsvForm) -> Iterator[tuple[bytes, int]]:
    """(whole lines, bytes read), a few megabytes at a time. Raises: DataError if the file changes while it is read."""
    file = None if name == STDIN else local(Path(name))
    read = 0
    for block, size, last in blocks(Utf8(stream, form.encoding, name), name, BLOCK_BYTES, form):
        read += size
        if last and file is not None:
            file.check_unchanged(read if _codec(name) is None else None)
        if block:
            yield block, size


def _csv(stream: Any, name: str, form: CsvForm) -> Iterator[RowBatch]:
    names, line, begin = None if form.columns is None else list(form.columns), 1, b""
    for block, size in _blocks(stream, name, form):
        block, begin = begin + block, b""
        if names is None and block.count(b"\n") < form.before:
            begin = block  # the header is in the next block
            continue
        if names is None:
            names = header(block, form, name)
            twice = [column for column, n in Counter(names).items() if n > 1]
            if twice:
                must = "each column of a file must have a different name"
                do = "Give all columns new names: --columns A,B,..., and --skip 1 to leave the header out"
                raise DataError(must, f"'{min(twice)}' occurs twice", where=name, do=do)
        while line <= form.before and block:
            block, line = block.partition(b"\n")[2], line + 1
        if not block:
            continue
        broken: dict[int, Fault] = {}
        found = parse(block, names, names, form, broken.__setitem__)
        count = len(found.lines)
        if count != found.height:  # faults are by line
            broken = {int(np.searchsorted(found.lines, i)): fault for i, fault in broken.items()}
        yield RowBatch(_in_place(found.rows, found.places, count), name, line, broken, size, lines=found.lines)
        line += found.height
    if names is None:
        header(begin, form, name)  # raises the error that there is no header


def _in_place(good: pl.DataFrame, places: np.ndarray, count: int) -> pl.DataFrame:
    """`count` rows: the good ones at their places, the others null. Shape: places int64 (len(good),)."""
    if len(good) == count:
        return good
    rows = np.full(count, len(good), np.uint32)
    rows[places] = np.arange(len(good), dtype=np.uint32)
    empty = pl.DataFrame({name: pl.Series([None], dtype=dtype) for name, dtype in good.schema.items()})
    return pl.concat([good, empty])[rows]


def _jsonl(stream: Any, name: str, form: CsvForm) -> Iterator[RowBatch]:
    first = 1
    names: dict[str, None] = {}  # every key so far: all later batches have these columns
    for block, size in _blocks(stream, name, CsvForm(encoding=form.encoding)):
        lines = block.split(b"\n")[:-1]
        for start in range(0, len(lines), ROWS):
            some = lines[start : start + ROWS]
            objects, broken = [], {}
            for place, line in enumerate(some):
                found = json_object(line)
                if found is None:
                    broken[place] = Fault(line.decode(errors="backslashreplace"))
                objects.append(found or {})
            share = size * len(some) / len(lines)
            names.update(dict.fromkeys(key for found in objects for key in found))
            yield RowBatch(columns_of(objects, list(names)), name, first, broken, share)
            first += len(some)


def _cast(column: pl.Series, kind: pl.DataType, where: str) -> pl.Series:
    """A column in the type that the first rows had. Raises: DataError if that would change a value."""
    try:
        found = column.cast(kind)
        if found.cast(column.dtype).equals(column):
            return found
    except pl.exceptions.PolarsError:
        pass
    must = f"a Parquet file must have values of one type in column '{column.name}', which began with {kind}"
    raise DataError(must, f"{column.dtype}", where=where, do="Write .csv or .jsonl")


_OUT = Rule("the output must be a file that may be written", DataError)


class RowWriter:
    """Writes batches of rows to a file, or to standard output ("-"). The file gets its name only when it is complete.

    The columns and their types are those of the first batch.

    Args:
        given: the format, if the ending of the name does not say it.
        replace: a file that is there may be replaced.
        inputs: files that are read meanwhile, which are never replaced.

    Raises: DataError if the file cannot be written or must not be replaced, or a later batch has other columns or
    values of other types.
    """

    def __init__(
        self, name: str, given: Format | None = None, *, replace: bool = False, inputs: Iterable[Path] = ()
    ) -> None:
        self._name, self._kind = name, format_of(name, given)
        self._path = None if name == STDIN else Path(name)
        self._replace, self._inputs = replace, inputs
        self._open = ExitStack()
        self._schema: pl.Schema | None = None
        self._parquet: pq.ParquetWriter | None = None
        self._stream: IO[bytes] | Any = None

    def __enter__(self) -> RowWriter:
        try:
            if self._path is None:
                self._stream = sys.stdout.buffer
                self._open.callback(self._stream.flush)
            else:
                ending = _codec(self._name)
                whole = whole_file(self._path, _OUT, replace=self._replace, inputs=self._inputs)
                self._stream = pa.output_stream(str(self._open.enter_context(whole)), compression=ending)
                self._open.callback(self._stream.close)
        except OSError as error:
            raise DataError("the output must be writable", str(error), where=self._name) from error
        return self

    def write(self, rows: pl.DataFrame, where: str) -> None:
        """Append rows. `where` is their place in the input, for errors."""
        first = self._schema is None
        if self._schema is None:
            self._schema = rows.schema
        elif rows.schema != self._schema and self._kind != "jsonl":
            rows = self._fitted(rows, where)
        if self._kind == "jsonl":
            rows.write_ndjson(self._stream)
        elif self._kind == "csv":
            nested = [name for name, kind in rows.schema.items() if kind.is_nested()]
            if nested:
                came = f"column '{nested[0]}' holds {rows.schema[nested[0]]}"
                raise DataError("a CSV file cannot hold lists", came, where=where, do="Write .parquet or .jsonl")
            rows.write_csv(self._stream, include_header=first)
        else:
            table = rows.to_arrow()
            if self._parquet is None:
                self._parquet = pq.ParquetWriter(self._stream, table.schema, compression="zstd")
            self._parquet.write_table(table)

    def _fitted(self, rows: pl.DataFrame, where: str) -> pl.DataFrame:
        """The rows with the columns and types of the first batch."""
        assert self._schema is not None
        if set(rows.columns) != set(self._schema):
            odd = min(set(rows.columns) ^ set(self._schema))
            came = f"column '{odd}' is missing in some of them"
            raise DataError("all rows must have the columns of the first ones", came, where=where)
        if self._kind == "csv":
            return rows.select(self._schema.names())
        return rows.select(_cast(rows[name], kind, where) for name, kind in self._schema.items())

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._parquet is not None:  # before the stream is closed
            self._open.callback(self._parquet.close)
        self._open.__exit__(kind, error, trace)
