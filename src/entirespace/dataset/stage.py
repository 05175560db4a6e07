"""Stores the codes of a log on disk while it is read, to be read again, memory-mapped, as often as needed.

Which ids get an embedding row, which rows are for training and which are copies is known only after the whole log was
read. Parsing the raw log a second time would be slow; a stage costs a few bytes of disk per id, and no memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..core.rows import Field, Ragged
from ..logs.source import Block
from .bags import bags_of, from_arrow, to_arrow
from .manifest import LINK, ORDER, ROLE, TIME, TRUTH, WEIGHT, WEIGHTS


class Stage:
    """The blocks of one table in an Arrow IPC file. All blocks of a table must have the same columns.

    Attributes:
        rows: the rows written so far.
        weighted: field -> some weight is not 1.
        single: field -> every row has exactly one id.
    """

    def __init__(self, path: Path, fields: tuple[Field, ...]) -> None:
        self._path, self._fields = path, fields
        self._writer: pa.RecordBatchFileWriter | None = None
        self._sink: pa.OSFile | None = None
        self._schema: pa.Schema | None = None
        self.rows = 0
        self.weighted = {f.name: False for f in fields}
        self.single = {f.name: True for f in fields}
        self._replaced: dict[str, np.ndarray] = {}

    def write(self, block: Block) -> None:
        """Append a block."""
        columns: dict[str, pa.Array] = {}
        for f in self._fields:
            bags = block.fields[f.name]
            columns[f.name] = to_arrow(bags)
            if f.kind == "ids":
                weights = None if bags.weights is None else Ragged(bags.weights, bags.offsets)
                nothing = pa.nulls(block.rows, bags_of(pa.float32()))
                columns[f.name + WEIGHTS] = nothing if weights is None else to_arrow(weights)
                self.weighted[f.name] |= bags.weights is not None and bool((bags.weights != 1).any())
            self.single[f.name] &= bags.offsets is None
        if block.labels is not None:
            columns.update((stage, pa.array(reached)) for stage, reached in block.labels.reached.items())
            columns.update((TIME + stage, pa.array(time)) for stage, time in block.labels.times.items())
            if block.labels.weight is not None:
                columns[WEIGHT] = pa.array(block.labels.weight)
        if block.order is not None:
            columns[ORDER] = pa.array(block.order)
        if block.part is not None:
            columns["part"] = pa.array(block.part)
        for table, link in block.links.items():
            columns[LINK + table] = pa.array(link)
        if block.truth is not None:
            columns.update(zip(TRUTH, map(pa.array, block.truth), strict=True))
        for name, prints in (("fingerprint", block.fingerprint), ("lot", block.lot), ("content", block.content)):
            if prints is not None:
                for i in (0, 1):
                    columns[f"{name}.{i}"] = pa.array(np.ascontiguousarray(prints[:, i]))
        columns.update((ROLE + role, pa.array(codes)) for role, codes in block.roles.items())
        batch = pa.record_batch(columns)
        if self._writer is None:
            self._sink = pa.OSFile(str(self._path), "wb")
            self._writer = pa.ipc.new_file(self._sink, batch.schema)
            self._schema = batch.schema
        self._writer.write_batch(batch)
        self.rows += block.rows

    def close(self) -> None:
        """Finish writing. Only then can blocks be read."""
        if self._writer is not None and self._sink is not None:
            self._writer.close()
            self._sink.close()

    @property
    def columns(self) -> list[str]:
        """The names of the columns; empty if no block was written."""
        return [] if self._schema is None else self._schema.names

    def batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of rows before the block, columns of the block), in order."""
        if self._writer is None:
            return
        with self._path.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        file, start = pa.ipc.open_file(pa.py_buffer(mapped)), 0
        for i in range(file.num_record_batches):
            batch = file.get_batch(i)
            for name, values in self._replaced.items():
                here = pa.array(values[start : start + batch.num_rows])
                batch = batch.set_column(batch.schema.get_field_index(name), name, here)
            yield start, batch
            start += batch.num_rows
            if hasattr(mapped, "madvise"):  # pages that were read need not stay in this process's memory
                mapped.madvise(mmap.MADV_DONTNEED)

    def replace(self, column: str, values: np.ndarray) -> None:
        """Replace a column of the blocks that `batches` gives. Shape: values (rows,), of the same type."""
        self._replaced[column] = values

    def column(self, name: str) -> np.ndarray:
        """One column of all rows, in memory. Shape: (rows,)."""
        return np.concatenate([batch[name].to_numpy(zero_copy_only=False) for _, batch in self.batches()])

    def field(self, batch: pa.RecordBatch, name: str) -> Ragged:
        """One field of a batch, with weights if some weight of the field is not 1 in any block."""
        if not self.weighted.get(name):
            return from_arrow(batch[name])
        weights = batch[name + WEIGHTS]
        bags = from_arrow(batch[name])
        if weights.null_count:
            return Ragged(bags.values, bags.offsets, np.ones(len(bags.values), np.float32))
        return from_arrow(batch[name], weights)
