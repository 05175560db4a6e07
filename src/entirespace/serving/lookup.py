"""Side tables on the server: a request sends a key, and the fields are looked up.

A table is a folder: the rows as one Arrow batch, and a hash table of their keys. Both are mapped into memory: opening
reads no row, and all processes share the pages.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (pyarrow has no types)
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ..config import digest
from ..core.rows import ValueFormat
from ..errors import DataError
from ..features.arrow import frame_of
from ..features.idtable import IdTable
from ..features.values import inexact, raw_ids, text, without_missing
from ..folders import locked
from ..places import Rule, whole_folder
from ..records import save_json
from .bundle import Bundle

ROWS, KEYS, ABOUT = "rows.arrow", "keys", "about.json"
_FORMAT = "entirespace-side/1"
_PLACE = Rule("the folder of a side table must be new, or hold one", DataError)


@dataclass(frozen=True, eq=False)
class MappedTable:
    """The rows of a side table, mapped into memory."""

    keys: IdTable
    rows: pa.RecordBatch

    @staticmethod
    def open(folder: Path) -> MappedTable:
        """Raises: DataError if a file is missing or damaged."""
        try:
            with pa.ipc.open_file(pa.memory_map(str(folder / ROWS))) as file:
                return MappedTable(IdTable.open(folder / KEYS), file.get_batch(0))
        except (OSError, ValueError, pa.ArrowException) as error:
            do = "Remove the folder, and start again: it is made anew"
            raise DataError("a side table must be readable", str(error), where=str(folder), do=do) from error

    def take(self, keys: Sequence[str]) -> pl.DataFrame:
        """The row of each key; null where there is none."""
        found = self.keys.find(pl.Series(keys, dtype=pl.String))
        rows = self.rows.take(pa.array(found, mask=found < 0))
        return pl.DataFrame(pl.from_arrow(rows))


class SideTables:
    """The side tables of a bundle that are on the server; see `ports.Lookup`.

    Args:
        bundle: says which columns are read, and by which key.
        tables: side table -> its Parquet file.
        folder: where tables are kept, so that the next start and other processes find them.

    Raises: DataError if a table is unknown, or a file lacks a column or cannot be read.
    """

    def __init__(self, bundle: Bundle, tables: Mapping[str, Path | str], folder: Path) -> None:
        self._tables = {name: self._opened(bundle, name, Path(file), folder) for name, file in tables.items()}

    @property
    def tables(self) -> frozenset[str]:
        """The names of the tables."""
        return frozenset(self._tables)

    def fields(self, table: str, keys: Sequence[str]) -> pl.DataFrame:
        """The rows of a table for keys, with the key's column; null where there is none. See `ports.Lookup.fields`."""
        return self._tables[table].take(keys)

    @staticmethod
    def _opened(bundle: Bundle, name: str, file: Path, folder: Path) -> MappedTable:
        columns, key = columns_of(bundle, name), bundle.encoders.keys[name]
        try:
            state = file.stat()
        except OSError as error:
            raise DataError("a side table must be a Parquet file", str(error.strerror), where=str(file)) from error
        about = [_FORMAT, str(file.resolve()), state.st_size, state.st_mtime_ns, columns, key.key, list(key.missing)]
        place = folder / f"{name}-{digest(about)[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait=True):  # another process may be making it
            if not (place / ABOUT).is_file():
                _write(place, bundle, name, file, about)
        return MappedTable.open(place)


def columns_of(bundle: Bundle, table: str) -> list[str]:
    """The columns of a side table that a bundle reads, and its key. Raises: DataError if the bundle has no such one."""
    if table not in bundle.schema.tables:
        known = ", ".join(bundle.schema.tables) or "none"
        raise DataError("a side table must be one of the bundle's", f"'{table}'; it has {known}")
    return sorted({bundle.encoders.keys[table].key, *(c.name for c in bundle.schema.columns if c.table == table)})


def read_rows(bundle: Bundle, table: str, file: Path) -> tuple[pl.DataFrame, pl.Series]:
    """(the rows of a side table's Parquet file, their keys as text). Of rows with one key the first counts, as in
    `prepare`; rows without a key are left out. Raises: DataError if a column is missing, or the file cannot be read."""
    columns, key = columns_of(bundle, table), bundle.encoders.keys[table]
    try:
        frame = frame_of(pq.read_table(file, columns=columns), str(file))
    except (OSError, pa.ArrowException) as error:
        raise DataError("a side table must be a Parquet file", str(error), where=str(file)) from error
    for name in columns:
        if name not in frame.columns:
            raise DataError(f"a side table must have the column '{name}'", "it is missing", where=str(file))
    bad = inexact(frame[key.key])
    if bad.any():
        row = int(bad.argmax())
        must, do = "a key must be an id that is exact", "Store large ids as integers or text, not as floats"
        raise DataError(must, repr(frame[key.key][row]), where=f"{file}, row {row + 1}", do=do)
    keys = text(raw_ids(without_missing(frame[key.key], ValueFormat(missing=key.missing))))
    first = keys.is_first_distinct() & (keys != "")
    return frame.filter(first), keys.filter(first)


def _write(place: Path, bundle: Bundle, name: str, file: Path, about: list[Any]) -> None:
    """Make the folder of a table. It appears whole."""
    frame, keys = read_rows(bundle, name, file)
    with whole_folder(place, _PLACE, last=ABOUT) as work:
        IdTable.of(keys).save(work / KEYS)
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
        with pa.ipc.new_file(work / ROWS, table.schema) as out:
            out.write_batch(batches[0])
        save_json(work / ABOUT, about)
