"""A dataset: a folder of Parquet and JSON files, which is refused if a file is missing or damaged (docs/formats.md).

    manifest.json                     written last; schema, counts, audit, SHA-256 of every file
    layout.json, vocabulary/          the encoders, from raw values to embedding rows (features/layout.py)
    impressions/train-00000.parquet   click, conversion, order, user, one column per field and per side table
    tables/NAME.parquet               side tables; row 0 is the empty row, for a missing key

The column of a field of ids holds rows of the field's own range of the embedding table, of which row 0 is "unseen". The
column of a number holds its position among the quantile knots.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.labels import Counts, Labels
from ..core.rows import IMPRESSIONS, PARTS, RATE, PlacedField, Ragged, Rows
from ..errors import ConfigError, DataError
from ..features.frames import Unseen
from ..features.history.store import verify_history
from ..features.layout import LAYOUT, Encoders, Layout
from ..records import sha256
from .bags import from_arrow
from .earlier import Online
from .manifest import LINK, TIME, TRUTH, WEIGHT, WEIGHTS, Manifest, PartRecord, damaged
from .stored_history import StoredHistory

ROW_GROUP = 131_072  # rows of a row group
SAMPLING = 1807  # seed of `Part.sampled`


class Part:
    """One part of a dataset (train, validation or test), read from disk row group by row group, in the log's order.

    Attributes:
        share: the share of the part's impressions that is read; see `sampled`.
        online: what was counted earlier in the part, if its impressions know it; see `with_online_rates`.
        counts: impressions, and how many reached each stage, of that share.
    """

    def __init__(self, dataset: Dataset, name: str) -> None:
        self.dataset, self.name, self.share = dataset, name, 1.0
        self.online: Online | None = None
        self._record: PartRecord = dataset.manifest.parts[name]
        self.counts: Counts = self._record.counts

    def __len__(self) -> int:
        return self.counts.impressions

    def __repr__(self) -> str:
        some = "" if self.share == 1 else f"{100 * self.share:g} % of the "
        return f"<{some}{self.name} part of {self.dataset.path}: {len(self):,} impressions>"

    @property
    def unseen(self) -> dict[str, Unseen]:
        """Field -> how many ids the whole part has, and how many of them are "unseen"; or missing numbers."""
        fields = self.dataset.manifest.fields
        return {f.name: Unseen.of(f.kind, f.ids[self.name], f.unseen[self.name]) for f in fields}

    @property
    def row_groups(self) -> int:
        """The number of row groups of its files, at most one chunk each."""
        return sum(pq.read_metadata(self.dataset.checked(name)).num_row_groups for name in self._record.files)

    def sampled(self, share: float) -> Part:
        """A random share of the part's impressions, from 0 to 1, in order.

        The same share is the same impressions in every call, and a larger share contains every smaller one.
        """
        if share == self.share:
            return self
        part = Part(self.dataset, self.name)
        part.share = share
        part.counts = Counts(0, dict.fromkeys(self.counts.reached, 0))
        for labels in part.labels():
            part.counts += Counts.of(labels)
        return part

    def with_online_rates(self) -> Part:
        """The same part, but each impression's rates also know the outcomes of strictly earlier ones of this part.

        So a server would know them whose counts are updated after each impression, but for the `delay` of the history.

        Raises: ConfigError for the training part, or a dataset without a history. DataError if outcomes are not known.
        """
        must = "online rates need a dataset with a history, and its validation or test part"
        if self.dataset.history is None:
            raise ConfigError(must, "it has no history", where=str(self.dataset.path))
        if self.name == "train":
            raise ConfigError(must, "the part is train", where=str(self.dataset.path))
        part = Part(self.dataset, self.name)
        part.online = Online(self)
        return part

    def batches(self, columns: Sequence[str], rng: np.random.Generator | None = None) -> Iterator[pa.RecordBatch]:
        """The named columns, one record batch per row group; with `rng`, row groups in random order.

        Raises: DataError if a file is damaged.
        """
        with ExitStack() as opened:
            files: list[tuple[Path, pq.ParquetFile]] = []
            for name in self._record.files:
                path = self.dataset.checked(name)
                with _damage(path):
                    file = pq.ParquetFile(path, page_checksum_verification=True)
                files.append((path, opened.enter_context(file)))
            groups = [(path, file, g) for path, file in files for g in range(file.num_row_groups)]
            for i in range(len(groups)) if rng is None else rng.permutation(len(groups)).tolist():
                path, file, group = groups[i]
                with _damage(path):
                    batches = file.read_row_group(group, list(columns)).combine_chunks().to_batches()
                if self.share < 1:  # each row group has its own seed, so the order of reading does not matter
                    kept = np.random.default_rng([SAMPLING, i]).random(sum(map(len, batches))) < self.share
                    batches = pa.Table.from_batches(batches).filter(pa.array(kept)).combine_chunks().to_batches()
                yield from batches

    def labels(self) -> Iterator[Labels]:
        """The labels, one chunk per row group."""
        for batch in self.batches(self._label_columns()):
            yield self._labels(batch)

    def chunks(self, rng: np.random.Generator | None = None, *, read: Collection[str] | None = None) -> Iterator[Rows]:
        """The impressions, one chunk per row group; with `rng`, chunks in random order.

        Args:
            read: the fields to read. The rates of the history are made if it has one of them. Absent: all.
        """
        wanted = [f for f in self.dataset.fields if f.table == IMPRESSIONS and (read is None or f.name in read)]
        fields = [f for f in wanted if f.kind != RATE]
        history = self.dataset.history if len(fields) < len(wanted) else None
        columns = [*self._label_columns(), *(LINK + table for table in self.dataset.side_tables)]
        for f in fields:
            columns += [f.name, f.name + WEIGHTS] if f.weighted else [f.name]
        columns += [] if history is None else history.columns
        start = 0
        for batch in self.batches(columns, rng):
            rows = Rows(
                batch.num_rows,
                read_fields(batch, fields),
                {table: batch[LINK + table].to_numpy() for table in self.dataset.side_tables},
                self._labels(batch) if self.dataset.manifest.labelled else None,
            )
            if history is not None:
                online = None if self.online is None else self.online.of(slice(start, start + len(rows)))
                rows = history.with_rates(rows, batch, self.name, online)
            start += len(rows)
            yield rows

    def _label_columns(self) -> list[str]:
        manifest = self.dataset.manifest
        weight = [WEIGHT] if manifest.weighted else []
        return [*manifest.stages, *(TIME + stage for stage in manifest.timed), *weight]

    def _labels(self, batch: pa.RecordBatch) -> Labels:
        manifest = self.dataset.manifest
        return Labels(
            {stage: batch[stage].to_numpy(zero_copy_only=False) for stage in manifest.stages},
            {stage: batch[TIME + stage].to_numpy() for stage in manifest.timed},
            manifest.observed_until,
            batch[WEIGHT].to_numpy() if manifest.weighted else None,
        )

    def has(self, column: str) -> bool:
        """Whether the impressions have a column of this name."""
        return any(column in pq.read_schema(self.dataset.checked(name)).names for name in self._record.files[:1])

    def column(self, name: str) -> np.ndarray:
        """One column of all impressions: a stage such as "click" (bool), "user" (int32, -1: none), "order" (int64).

        Shape: (N,). Raises: DataError for a stage if outcomes are not known.
        """
        self.must_be_labelled(name)
        pieces = [batch[name].to_numpy(zero_copy_only=False) for batch in self.batches([name])]
        return np.concatenate(pieces) if pieces else np.zeros(0, bool)

    def must_be_labelled(self, name: str | None = None) -> None:
        """Raises: DataError if outcomes are not known, and `name` is None or a stage."""
        manifest = self.dataset.manifest
        if not manifest.labelled and (name is None or name in manifest.stages):
            raise DataError(
                "the outcomes of the impressions must be known",
                "the dataset was prepared with --unlabelled",
                where=str(self.dataset.path),
                do="Prepare the log again when they are known",
            )

    def truth(self) -> tuple[np.ndarray, np.ndarray] | None:
        """True pCTR and pCVR, float32 (N,) each; None if the log does not give them."""
        if not self.dataset.manifest.truth:
            return None
        return self.column(TRUTH[0]), self.column(TRUTH[1])


def read_fields(batch: pa.RecordBatch | pa.Table, fields: Sequence[PlacedField]) -> dict[str, Ragged]:
    """Field -> its column of a batch as bags."""
    return {f.name: from_arrow(batch[f.name], batch[f.name + WEIGHTS] if f.weighted else None) for f in fields}


class Dataset:
    """A prepared log: the parts `train`, `validation` and `test`, the side tables, and the layout.

    Raises: DataError if the folder is not a dataset, is incomplete or damaged, or is of another format.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.keep: Any = None  # holds the temporary folder of `from_frame`, which is deleted with this object
        self._checked: set[str] = set()
        self.manifest = Manifest.open(self.path)
        self.layout = Layout.open(self.checked(LAYOUT).parent)
        if self.layout.digest != self.manifest.layout:
            raise damaged(self.path / LAYOUT, "it is not the layout that the manifest records")
        self.fields: tuple[PlacedField, ...] = tuple(
            PlacedField(f.name, f.table, f.kind, f.size, offset, f.single, f.weighted)
            for f, offset in zip(self.manifest.fields, self.layout.offsets, strict=True)
        )
        self.side_tables: tuple[str, ...] = tuple(self.manifest.tables)
        self.train, self.validation, self.test = (Part(self, part) for part in PARTS)

    def __repr__(self) -> str:
        parts = ", ".join(f"{len(p):,} {p.name}" for p in self.parts)
        return f"<dataset {self.path}: {parts}>"

    @property
    def parts(self) -> tuple[Part, ...]:
        """train, validation and test, also where they are empty."""
        return self.train, self.validation, self.test

    @property
    def digest(self) -> str:
        """SHA-256 of the content, by which caches of runs identify the dataset."""
        return self.manifest.digest

    @property
    def rows(self) -> int:
        """The number of rows of the embedding table."""
        return self.layout.rows

    @cached_property
    def encoders(self) -> Encoders:
        """The encoders of the layout, from raw values to embedding rows."""
        return Encoders.open(self.path)

    @cached_property
    def history(self) -> StoredHistory | None:
        """What makes the rates of the stored impressions; None: the layout has no history."""
        return None if self.layout.history is None else StoredHistory(self)

    @cached_property
    def tables(self) -> dict[str, dict[str, Ragged]]:
        """Side table -> field -> the bags of all its rows, in memory. Row 0 is the empty row."""
        loaded: dict[str, dict[str, Ragged]] = {}
        for table in self.side_tables:
            fields = [f for f in self.fields if f.table == table]
            path = self.checked(self.manifest.tables[table].file)
            with _damage(path):
                content = pq.read_table(path, page_checksum_verification=True).combine_chunks()
            loaded[table] = read_fields(content.to_batches(max_chunksize=None)[0], fields)
        return loaded

    def side_column(self, table: str, column: str) -> Ragged:
        """One column of a side table, in memory. Row 0 is the empty row."""
        path = self.checked(self.manifest.tables[table].file)
        with _damage(path):
            content = pq.read_table(path, columns=[column], page_checksum_verification=True).combine_chunks()
        return from_arrow(content.to_batches(max_chunksize=None)[0][column])

    def vocabulary(self, field: str) -> pa.Table:
        """The stored encoder of a field: columns id and count, where entry i is row i + 1; or edge, for a number.

        Raises: DataError if its file is damaged.
        """
        path = self.checked(self.manifest.vocabularies[field])
        with _damage(path):
            return pq.read_table(path, page_checksum_verification=True)

    def segment(self, name: str) -> list[str]:
        """The values of a column that [roles] segments lists, by code. Raises: DataError if its file is damaged."""
        path = self.checked(self.manifest.segments[name])
        with _damage(path):
            return pq.read_table(path, page_checksum_verification=True)["id"].to_pylist()

    def checked(self, name: str) -> Path:
        """The path of a file. The first time, its SHA-256 is compared with the manifest.

        Parquet's page checksums are not enough, because they do not cover the bytes between pages: of 1000 flipped
        bits, 8 would change values without an error.

        Raises: DataError if the file is damaged or missing.
        """
        path = self.path / name
        if name not in self._checked:
            _compare(path, self.manifest.files[name].sha256)
            self._checked.add(name)
        return path

    def verify(self) -> None:
        """Read every file and compare its SHA-256. Raises: DataError that names the first damaged file."""
        for name, about in self.manifest.files.items():
            _compare(self.path / name, about.sha256)
        if self.layout.history is not None:
            verify_history(self.path)


def open_dataset(path: Path | str) -> Dataset:
    """Open a dataset that `prepare` made. Raises: DataError if the folder is not a dataset or is damaged."""
    return Dataset(path)


open = open_dataset
"""Exported as `entirespace.open`."""


def _compare(path: Path, digest: str) -> None:
    try:
        same = sha256(path) == digest
    except OSError as error:
        raise damaged(path, str(error.strerror)) from error
    if not same:
        raise damaged(path, "its SHA-256 is not the one in the manifest")


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn an error of the Parquet reader into a DataError that names the file."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, str(error)) from error
