"""Files of a raw log -> frames of rows, each row with its file and line: CSV (plain or compressed) and Parquet.

Every CSV column is read as text, so ids such as 007 stay as written. Parquet columns keep their types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ..errors import DataError, no_file
from ..features.arrow import frame_of
from ..kernels.threads import ahead
from .csvform import CsvForm, Utf8
from .lines import BadLine, blocks, first_lines, header, parse

BLOCK_BYTES = 16 * 1024 * 1024
PARQUET_ROWS = 131_072
RENAME = "Give all columns new names: columns = [...], and skip = 1 to leave the header out"
CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
"""Ending of a compressed file -> how it is compressed. Endings may be written in capitals."""
_TEXT, _PARQUET = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
_MAGIC = {b"PAR1": "parquet", b"\x1f\x8b": "gzip", b"(\xb5/\xfd": "zstd", b"BZh": "bz2", b"\x04\x22M\x18": "lz4"}
"""How a file begins -> what it is, for a file whose ending does not say it."""


@dataclass(frozen=True)
class File:
    """One file of a table, on this machine or at a remote address."""

    filesystem: pafs.FileSystem
    path: str
    name: str  # its path relative to the folder of the log, or its address: its name in errors and in quarantine.csv
    size: int  # bytes
    modified: int | None = None  # time of the last change, in nanoseconds

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file, and not text."""
        return self._kind == "parquet"

    @property
    def unit(self) -> str:
        """What its rows are counted in: a "line", or a "row" of Parquet."""
        return "row" if self.is_parquet else "line"

    @property
    def codec(self) -> str | None:
        """How the text is compressed, or None."""
        return None if self._kind in ("text", "parquet") else self._kind

    @cached_property
    def _kind(self) -> str:
        """By the ending; by the first bytes if the ending is another one, such as that of Spark's part-00000."""
        name = self.path.lower()
        if name.endswith(_PARQUET):
            return "parquet"
        if name.endswith(_TEXT):
            return "text"
        for ending, codec in CODECS.items():
            if name.endswith(ending):
                return codec
        with self.filesystem.open_input_stream(self.path, compression=None) as stream:
            start = stream.read(4)
        return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "text")

    def check_unchanged(self, read: int | None = None) -> None:
        """Check at the end of reading that the file is still as it was found.

        Args:
            read: how many bytes of it were read, if that is known.

        Raises: DataError if it is not: some of its rows may be missing.
        """
        now = self.filesystem.get_file_info(self.path)
        came = None
        if not now.is_file:
            came = "it was removed"
        elif now.size != self.size:
            came = f"it had {self.size:,} bytes at first, and {now.size:,} at the end"
        elif read is not None and read != self.size:
            came = f"it has {self.size:,} bytes, and {read:,} could be read"
        elif now.mtime_ns != self.modified:
            came = "it was written to"
        if came is not None:
            must, do = "a file must not change while it is read", "Read it again when it is complete, or read a copy"
            raise DataError(must, came, where=self.name, do=do)


def local(path: Path, name: str | None = None) -> File:
    """A file on this machine. Raises: DataError if there is none."""
    if not path.is_file():
        raise DataError("the file must exist", no_file(path), where=str(path))
    system = pafs.LocalFileSystem()
    info = system.get_file_info(str(path))
    return File(system, str(path), name or path.name, info.size, info.mtime_ns)


@dataclass(frozen=True)
class Frame:
    """Consecutive rows of one file; lines[i] is the line (CSV) or row (Parquet) of row i, counted from 1."""

    rows: pl.DataFrame
    lines: np.ndarray  # int64 (n,)
    places: np.ndarray  # int64 (n,): the number of row i among the rows read, from 0, good or bad
    file: str
    bytes: float  # bytes of the raw file that were read, for progress
    raw_rows: int  # rows read, including those that could not be parsed
    unit: str = "line"  # what `lines` counts: a "line", or a "row" of Parquet

    def where(self, row: int) -> str:
        """The file and line of a row, for errors; `row` is its index, from 0."""
        return f"{self.file}, {self.unit} {self.lines[row]}"


def columns_of(file: File, form: CsvForm = CsvForm()) -> list[str]:
    """The names of a file's columns. Raises: DataError if the file is empty or cannot be read."""
    if form.columns is not None and not file.is_parquet:
        return list(form.columns)
    try:
        if file.is_parquet:
            with file.filesystem.open_input_file(file.path) as stream:
                return list(pq.ParquetFile(stream).schema_arrow.names)
        with file.filesystem.open_input_stream(file.path, compression=file.codec) as stream:
            text = Utf8(stream, form.encoding, file.name)
            return header(first_lines(text, file.name, form.before), form, file.name)
    except (OSError, pa.ArrowException) as error:
        raise DataError("the file must be readable", str(error), where=file.name) from error


def must_be_different(names: Sequence[str], used: Collection[str], file: File) -> None:
    """Raises: DataError if two columns of a file have a name that is used."""
    twice = sorted(name for name, n in Counter(names).items() if n > 1 and name in used)
    if twice:
        must = "each column of a file must have a different name"
        raise DataError(must, f"'{twice[0]}' occurs twice", where=file.name, do=RENAME)


def frames(file: File, columns: list[str], form: CsvForm, bad_line: BadLine) -> Iterator[Frame]:
    """The rows of a file in order, with only the given columns.

    Args:
        columns: the columns to read.
        form: how a CSV file is written; ignored for Parquet.
        bad_line: called for each CSV line that has the wrong number of columns, is not UTF-8, is blank, or has an
            unclosed quote. Lines count from 1.

    Raises: DataError if the file cannot be read, or changes while it is read.
    """
    try:
        if file.is_parquet:
            yield from _parquet(file, columns)
        else:
            yield from _csv(file, columns, form, bad_line)
    except (OSError, pa.ArrowException) as error:
        raise DataError("the file must be readable", str(error), where=file.name) from error


def _parquet(file: File, columns: list[str]) -> Iterator[Frame]:
    with file.filesystem.open_input_file(file.path) as stream:
        parquet = pq.ParquetFile(stream)
        total, row = max(1, parquet.metadata.num_rows), 0
        for batch in ahead(parquet.iter_batches(PARQUET_ROWS, columns=list(dict.fromkeys(columns)))):
            n = batch.num_rows
            rows = frame_of(pa.table(batch), file.name)
            lines = np.arange(row + 1, row + n + 1)
            yield Frame(rows, lines, np.arange(n), file.name, file.size * n / total, n, file.unit)
            row += n
        if row != parquet.metadata.num_rows:
            came = f"it says that it has {parquet.metadata.num_rows:,} rows, and {row:,} could be read"
            raise DataError("a Parquet file must be whole", came, where=file.name)
    file.check_unchanged()


def _csv(file: File, columns: list[str], form: CsvForm, bad_line: BadLine) -> Iterator[Frame]:
    if file.codec and not file.size:
        raise DataError("the file must be readable", "it is empty, as no compressed file is", where=file.name)
    names, read, line = columns_of(file, form), 0, 1
    with file.filesystem.open_input_stream(file.path, compression=file.codec) as stream:
        for block, size, last in blocks(Utf8(stream, form.encoding, file.name), file.name, BLOCK_BYTES, form):
            read += size
            if last:  # before the last lines, which may be cut short, are read as rows
                file.check_unchanged(read if file.codec is None else None)
            while line <= form.before and block:
                block, line = block.partition(b"\n")[2], line + 1
            if block:
                found = parse(block, names, columns, form, lambda i, fault, line=line: bad_line(line + i, fault))
                size = min(size, file.size) * (0.25 if file.codec else 1.0)
                lines = line + found.lines[found.places]
                yield Frame(found.rows, lines, found.places, file.name, size, len(found.lines))
                line += found.height
