"""Files of a raw log -> frames of rows, each row with its file and line: CSV (plain or compressed) and Parquet.

Every CSV column is read as text, so ids such as 007 stay as written. Parquet columns keep their types.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ..errors import DataError
from ..features.arrow import frame_of
from ..kernels.threads import ahead
from .lines import header, parse, whole_lines

BLOCK_BYTES = 16 * 1024 * 1024
PARQUET_ROWS = 131_072

BadLine = Callable[[int, str], None]
"""Called with (line number from 1, text) for each line that cannot be read as a row."""


@dataclass(frozen=True)
class File:
    """One file of a table, on this machine or at a remote address."""

    filesystem: pafs.FileSystem
    path: str
    name: str  # its name in errors and in quarantine.csv
    size: int  # bytes

    @property
    def is_parquet(self) -> bool:
        return self.path.endswith((".parquet", ".pq"))


@dataclass(frozen=True)
class Frame:
    """Consecutive rows of one file; lines[i] is the line (CSV) or row (Parquet) of row i, counted from 1."""

    rows: pl.DataFrame
    lines: np.ndarray  # int64 (n,)
    file: str
    bytes: float  # bytes of the raw file that were read, for progress
    raw_rows: int  # rows read, including those that could not be parsed
    start: int  # the line of the first row read: 2 after a header


def find(patterns: tuple[str, ...], folder: Path) -> list[File]:
    """The files that match any pattern, in the order of the patterns, and for each pattern in the order of names.

    A file that matches several patterns is listed once.

    Raises: DataError if no file matches, or a pattern is invalid or an address unreachable.
    """
    found: dict[str, File] = {}
    for pattern in patterns:
        if "://" in pattern:
            files = _remote(pattern)
        else:
            anchor = Path(pattern).anchor  # "/" of an absolute pattern
            try:
                matches = sorted(Path(anchor or folder).glob(pattern[len(anchor) :]))
            except (ValueError, NotImplementedError) as error:
                raise DataError("files must be paths or patterns such as 'log_*.csv'", str(error)) from error
            files = [local(p) for p in matches if p.is_file()]
        found.update((f.path, f) for f in files)
    if not found:
        here = sorted(p.name for p in folder.iterdir())[:12] if folder.is_dir() else []
        raise DataError(
            f"a file must match {' or '.join(repr(p) for p in patterns)}",
            f"none does; the folder holds {', '.join(here) or 'nothing'}" if folder.is_dir() else "no such folder",
            where=str(folder),
        )
    return list(found.values())


def local(path: Path) -> File:
    """A file on this machine. Raises: DataError if there is none."""
    if not path.is_file():
        raise DataError("the file must exist", "there is no such file", where=str(path))
    return File(pafs.LocalFileSystem(), str(path), path.name, path.stat().st_size)


def _remote(pattern: str) -> list[File]:
    scheme, _, path = pattern.replace("az://", "abfs://").partition("://")
    folder = str(PurePosixPath(path.split("*")[0] + "x").parent)  # the deepest folder without a wildcard
    try:
        filesystem, root = pafs.FileSystem.from_uri(f"{scheme}://{folder}")
        infos = filesystem.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    except (OSError, pa.ArrowException) as error:
        raise DataError("the address must be reachable", str(error), where=pattern) from error
    files = [i for i in infos if i.is_file and fnmatch.fnmatch(i.path, path)]
    return [File(filesystem, i.path, PurePosixPath(i.path).name, i.size) for i in sorted(files, key=lambda i: i.path)]


def columns_of(file: File, delimiter: str, names: tuple[str, ...] | None) -> list[str]:
    """The names of a file's columns. Raises: DataError if the file is empty or cannot be read."""
    if names is not None:
        return list(names)
    try:
        if file.is_parquet:
            with file.filesystem.open_input_file(file.path) as stream:
                return list(pq.ParquetFile(stream).schema_arrow.names)
        with file.filesystem.open_input_stream(file.path) as stream:
            return header(stream.read(1024 * 1024), delimiter, file.name)
    except (OSError, pa.ArrowException) as error:
        raise DataError("the file must be readable", str(error), where=file.name) from error


def frames(
    file: File, columns: list[str], *, delimiter: str, names: tuple[str, ...] | None, bad_line: BadLine
) -> Iterator[Frame]:
    """The rows of a file in order, with only the given columns.

    Args:
        columns: the columns to read.
        delimiter: of a CSV file; ignored for Parquet.
        names: the names of all columns of a CSV file without a header; None: the first line is the header.
        bad_line: called for each CSV line that has the wrong number of columns, is not UTF-8, is blank, or has an
            unclosed quote.

    Raises: DataError if the file cannot be read.
    """
    try:
        if file.is_parquet:
            yield from _parquet(file, columns)
        else:
            yield from _csv(file, columns, delimiter, names, bad_line)
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
            yield Frame(rows, lines, file.name, file.size * n / total, n, row + 1)
            row += n


def _csv(
    file: File, columns: list[str], delimiter: str, names: tuple[str, ...] | None, bad_line: BadLine
) -> Iterator[Frame]:
    all_names = columns_of(file, delimiter, names)
    compressed = file.path.endswith((".gz", ".zst", ".bz2", ".lz4"))
    with file.filesystem.open_input_stream(file.path) as stream:  # it decompresses by the suffix of the file name
        first, line, remaining = 1 + (names is None), 1, b""
        while True:
            piece = stream.read(BLOCK_BYTES)
            block, remaining = whole_lines(remaining + piece, last=not piece)
            if line < first and block:
                block, line = block.partition(b"\n")[2], 2
            if block:
                rows, numbers, count = parse(
                    block, all_names, columns, delimiter, lambda i, text, line=line: bad_line(line + i, text)
                )
                size = min(len(piece), file.size) * (0.25 if compressed else 1.0)
                yield Frame(rows, line + numbers, file.name, size, count, line)
                line += count
            if not piece:
                return
