"""Writes the Parquet files of side tables and of parts, and counts users and items for Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.rows import IMPRESSIONS, Field, Ragged
from .bags import from_arrow, to_arrow
from .dataset import ROW_GROUP
from .manifest import LINK, USER, WEIGHTS, PartRecord
from .stage import Stage

FILE_ROWS = 32 * ROW_GROUP  # impressions of one file


class Role:
    """The code of each impression's user (or item); -1 if it has none, or more than one.

    Args:
        field: the field that identifies a user (or item); None: no field does.
        stage: the staged table of the field.
        column: the staged column of codes, if it is a column that is no field; None: there is none.
        no_id: the code of a missing id; -1: no code is.
    """

    def __init__(self, field: Field | None, stage: Stage | None, column: str | None = None, no_id: int = -1) -> None:
        self._field, self._by_row, self._column, self._no_id = field, None, column, no_id
        if field is not None and stage is not None and field.table != IMPRESSIONS:
            pieces = [self._codes(stage.field(batch, field.name)) for _, batch in stage.batches()]
            self._by_row = np.concatenate([np.full(1, -1, np.int32), *pieces])

    @staticmethod
    def _codes(bags: Ragged) -> np.ndarray:
        if bags.offsets is None:
            return bags.values.astype(np.int32)
        codes = np.full(len(bags), -1, np.int32)
        one = np.diff(bags.offsets) == 1
        codes[one] = bags.values[bags.offsets[:-1][one]]
        return codes

    def of(self, batch: pa.RecordBatch) -> np.ndarray:
        """The codes of a batch of n impressions. Shape: int32 (n,)."""
        if self._column is None and self._field is None:
            return np.full(batch.num_rows, -1, np.int32)
        codes = self._all_of(batch)
        return np.where(codes == self._no_id, np.int32(-1), codes)

    def _all_of(self, batch: pa.RecordBatch) -> np.ndarray:
        if self._column is not None:
            return batch[self._column].to_numpy()
        assert self._field is not None
        if self._by_row is None:
            return self._codes(from_arrow(batch[self._field.name]))
        return self._by_row[batch[LINK + self._field.table].to_numpy() + 1]


class TableFile:
    """A Parquet file of bags and flat columns: row groups of fixed size, no nulls, zstd, page checksums.

    Bags of many different ids are not compressed: that would save a sixth of the space, but take half as much time
    again.

    Args:
        path: of the file.
        stage: the staged table, for which fields have weights.
        small: the columns with few different ids, which are dictionary-encoded like weights.
        group: rows of a row group; None: ROW_GROUP.
    """

    def __init__(self, path: Path, stage: Stage, small: list[str], group: int | None = None) -> None:
        self._path, self._stage, self._group = path, stage, group or ROW_GROUP
        self._dictionary = [*small, *(name + WEIGHTS for name, weighted in stage.weighted.items() if weighted)]
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.RecordBatch] = []
        self.rows = 0

    def write(self, fields: dict[str, Ragged], flat: dict[str, np.ndarray] | None = None) -> None:
        """Append rows: fields of bags, and columns with one value per row. Shape: n rows each."""
        columns = {name: pa.array(values) for name, values in (flat or {}).items()}
        for name, bags in fields.items():
            columns[name] = to_arrow(bags)
            if self._stage.weighted.get(name):
                weights = np.ones(len(bags.values), np.float32) if bags.weights is None else bags.weights
                columns[name + WEIGHTS] = to_arrow(Ragged(weights, bags.offsets))
        schema = pa.schema([pa.field(name, column.type, nullable=False) for name, column in columns.items()])
        self._held.append(pa.record_batch(list(columns.values()), schema))
        self.rows += self._held[-1].num_rows
        if sum(b.num_rows for b in self._held) >= self._group:
            self._flush(whole_groups=True)

    def _flush(self, whole_groups: bool) -> None:
        table = pa.Table.from_batches(self._held)
        if self._writer is None:
            lists = [name for name in table.column_names if pa.types.is_list(table.schema.field(name).type)]
            leaf = {name: name + (".list.element" if name in lists else "") for name in table.column_names}
            self._writer = pq.ParquetWriter(
                self._path,
                table.schema,
                compression={leaf[n]: "zstd" for n in leaf if n in self._dictionary or n not in lists},  # type: ignore[arg-type]
                write_page_checksum=True,
                use_dictionary=[leaf[n] for n in self._dictionary if n in leaf],  # type: ignore[arg-type]
                write_statistics=[n for n in leaf if n not in lists],  # type: ignore[arg-type]
            )
        cut = table.num_rows // self._group * self._group if whole_groups else table.num_rows
        self._writer.write_table(table.slice(0, cut), row_group_size=self._group)
        remaining = table.slice(cut)
        self._held = remaining.to_batches() if remaining.num_rows else []

    def close(self) -> None:
        """Write the remaining rows and close the file."""
        if self._held:
            self._flush(whole_groups=False)
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PartFiles:
    """Writes the files of one part, and counts its impressions, stages, users and items for Table 1.

    Attributes:
        seen: "users" and "items" -> bool (codes,), the codes that occur in the part.
    """

    def __init__(self, out: Path, part: str, stage: Stage, small: list[str], stages: tuple[str, ...]) -> None:
        self._out, self._part, self._stage, self._small = out, part, stage, small
        self._file: TableFile | None = None
        self._names: list[str] = []
        self._impressions, self._reached = 0, dict.fromkeys(stages, 0)
        self.seen = {"users": np.zeros(0, bool), "items": np.zeros(0, bool)}

    def write(self, fields: dict[str, Ragged], flat: dict[str, np.ndarray], item: np.ndarray) -> None:
        """Append n impressions.

        Args:
            fields: field -> bags of n rows.
            flat: column -> (n,): stages, user, time and so on.
            item: the code of each impression's item, only for counting; -1: none. Shape: int32 (n,).
        """
        if self._file is None or self._file.rows >= FILE_ROWS:
            if self._file is not None:
                self._file.close()
            self._names.append(f"impressions/{self._part}-{len(self._names):05d}.parquet")
            self._file = TableFile(self._out / self._names[-1], self._stage, self._small)
        self._file.write(fields, flat)
        self._impressions += len(item)
        for stage in self._reached:
            self._reached[stage] += int(flat[stage].sum())
        for role, codes in (("users", flat[USER]), ("items", item)):
            self.seen[role] = _mark(self.seen[role], codes)

    def finish(self) -> None:
        """Close the last file."""
        if self._file is not None:
            self._file.close()

    def record(self) -> PartRecord:
        """The part's record in the manifest."""
        users, items = (int(marks.sum()) for marks in self.seen.values())
        return PartRecord(
            files=tuple(self._names),
            impressions=self._impressions,
            reached=self._reached,
            users=users,
            items=items,
        )


def _mark(seen: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`seen` with the entries of these codes set, extended if needed. Negative codes are ignored."""
    size = int(codes.max(initial=-1)) + 1
    if size > len(seen):
        seen = np.concatenate([seen, np.zeros(max(size, 2 * len(seen)) - len(seen), bool)])
    seen[codes[codes >= 0]] = True
    return seen


def distinct(parts: Sequence[PartFiles], role: str) -> int:
    """How many different users or items all parts have together."""
    marks = [part.seen[role] for part in parts]
    together = np.zeros(max(map(len, marks)), bool)
    for seen in marks:
        together[: len(seen)] |= seen
    return int(together.sum())
