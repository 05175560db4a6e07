"""The layout: the encoder of each field, in the order of fields. It decides the embedding row of every raw value.

    layout.json                fields, keys of side tables, roles, digest, and the SHA-256 of the files below
    vocabulary/FIELD.parquet   the stored encoder of a field: columns id and count, or edge

These files are in the folder of the dataset that they were fitted on, of every dataset prepared with the same layout,
and of every run.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# (pyarrow has no types)
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..config import Model, nearest
from ..core.rows import RATE, Field, Quantity, Ragged, Rows, TimePart, ValueFormat
from ..errors import ConfigError, DataError
from ..kernels.knots import positions_of_columns
from ..kernels.threads import slices
from ..records import FileRecord, Record, link_or_copy
from .encoders import Encoder, Hashed, Knots, Vocabulary
from .history.history import History
from .history.keys import HistorySpec
from .history.store import link_history, open_history
from .history.store import save as save_history

LAYOUT, VOCABULARY = "layout.json", "vocabulary"
IDENTITY = "value"
"""The rule by which two raw ids are the same: if their values are, however they are stored; see `values`."""


class Key(Model):
    """The columns that join a side table to the impressions."""

    key: str
    """The key's column in the side table."""
    on: str
    """The key's column in the impressions."""
    missing: tuple[str, ...] = ()
    """Values of both that stand for a missing key."""


class FieldRecord(Model):
    """One field in layout.json: the members of `core.rows.Field`, and its number of embedding rows."""

    name: str
    table: str
    kind: Literal["id", "ids", "number", "rate"]
    min_count: int
    hash: int | None
    buckets: int | None
    column: str | None
    separator: str | None
    weights: str | None
    part: TimePart | None = None
    format: ValueFormat = ValueFormat()
    quantity: Quantity | None = None
    size: int
    """Its embedding rows, row 0 ("unseen") included."""

    def field(self) -> Field:
        """The field without its size."""
        return Field(**{name: value for name, value in self if name != "size"})


class Layout(Record):
    """The content of layout.json: all that a network needs to know of its fields."""

    FORMAT: ClassVar = "entirespace-layout/1"

    identity: str
    """The rule by which two raw ids are the same."""
    digest: str
    """SHA-256 of everything that decides the embedding row of a raw value."""
    fields: tuple[FieldRecord, ...]
    keys: dict[str, Key]
    """Side table -> the columns that join it to the impressions."""
    user: str | None
    """The field that identifies a user."""
    item: str | None
    """The field that identifies an item."""
    request: tuple[str, ...] | None = None
    """The fields and keys that belong to a request, if the schema says it; see `sides`."""
    history: HistorySpec | None = None
    """Whose ids impressions are counted by, and which rates are fields; None: there is no history."""
    files: dict[str, FileRecord]
    """The files of the encoders."""

    @staticmethod
    def open(folder: Path) -> Layout:
        """Read the layout of a dataset or a run. Raises: DataError if it is missing or damaged."""
        missing = "there is none: this folder is neither a dataset nor a run, or it is of an earlier version"
        layout = Layout.read(folder / LAYOUT, DataError, what="a layout", must=_MUST, missing=missing, do=_DO)
        if layout.identity != IDENTITY:
            came = (
                f"the layout is of an earlier version, whose rule of equal ids is '{layout.identity}', not '{IDENTITY}'"
            )
            raise DataError(_MUST, came, where=str(folder / LAYOUT), do="Prepare the dataset again, and train again")
        return layout

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The first row of each field in the embedding table, which is the field's "unseen" row. F entries."""
        sizes = [f.size for f in self.fields]
        return tuple(np.cumsum([0, *sizes])[:-1].tolist())

    @property
    def rows(self) -> int:
        """The number of rows of the embedding table."""
        return sum(f.size for f in self.fields)

    @property
    def rates(self) -> tuple[str, ...]:
        """The names of the R rates of the history, which are the names of their fields; () if there is none."""
        return () if self.history is None else self.history.names

    def vocabulary(self, folder: Path, field: str) -> pa.Table:
        """The stored encoder of a field. Raises: DataError if its file is missing or damaged."""
        path = folder / vocabulary_file(field)
        try:
            if FileRecord.of(path) != self.files[vocabulary_file(field)]:
                raise DataError(_MUST, "its SHA-256 does not match layout.json", where=str(path), do=_DO)
            return pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise DataError(_MUST, str(error), where=str(path), do=_DO) from error


_MUST = "the files of a layout must not change after they are written"
_DO = "Prepare the dataset again, or copy the file from a dataset or a run of the same layout"
KINDS: dict[str, type[Vocabulary] | type[Knots]] = {
    "id": Vocabulary,
    "ids": Vocabulary,
    "number": Knots,
    "rate": Knots,
}
"""Kind of a field -> the class of its encoder, unless it is hashed."""


Job = Callable[[], FileRecord]


def _one_by_one(jobs: Iterable[Job]) -> list[FileRecord]:
    return [job() for job in jobs]


@dataclass(frozen=True)
class Encoders:
    """The encoder of each field, and the columns it reads: everything needed to turn raw rows into embedding rows."""

    fields: tuple[Field, ...]
    encoders: Mapping[str, Encoder]  # field -> its encoder
    keys: Mapping[str, Key]  # side table -> the columns that join it to the impressions
    user: str | None = None  # the field that identifies a user
    item: str | None = None  # the field that identifies an item
    request: tuple[str, ...] | None = None  # the fields that belong to a request, if the schema says it; see `sides`
    history: History | None = None  # the counts that rates are made of; the fields of kind "rate" come last
    known_digest: str | None = None  # of a stored layout whose files were checked; None: it is computed

    @staticmethod
    def open(folder: Path) -> Encoders:
        """Read the encoders of a dataset or a run. Raises: DataError if they are missing or damaged."""
        layout = Layout.open(folder)
        encoders: dict[str, Encoder] = {}
        for about in layout.fields:
            kind = Hashed if about.hash is not None else KINDS[about.kind]
            encoders[about.name] = kind.from_table(about.field(), layout.vocabulary(folder, about.name))
        fields = tuple(about.field() for about in layout.fields)
        history = None if layout.history is None else open_history(folder, layout.history)
        return Encoders(fields, encoders, layout.keys, layout.user, layout.item, layout.request, history)

    @property
    def rows(self) -> int:
        """The number of rows of the embedding table."""
        return sum(encoder.size for encoder in self.encoders.values())

    def with_rates(self, rows: Rows, numbers: np.ndarray) -> Rows:
        """The rows with the log odds of their rates, and with the positions of these among the knots.

        Shape: rows of n impressions, numbers float32 (n, R) as `History.numbers` gives them.
        """
        names = [f.name for f in self.fields if f.kind == RATE]
        edges, starts = self._edges
        found = np.empty((len(names), len(numbers)), np.float32)
        slices(positions_of_columns, len(numbers), numbers, edges, starts, found)
        positions = {name: Ragged(found[i]) for i, name in enumerate(names)}
        return replace(rows, fields={**rows.fields, **positions}, numbers=numbers)

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """The knots of all rates, and where those of each begin. Shape: float64 (E,), int64 (R + 1,)."""
        edges = [self[f.name].to_table()["edge"].to_numpy() for f in self.fields if f.kind == RATE]
        return np.concatenate([np.zeros(0), *edges]), np.cumsum([0, *map(len, edges)])

    @property
    def read_fields(self) -> tuple[Field, ...]:
        """The fields that are read from columns: all but the rates of the history."""
        return tuple(f for f in self.fields if f.kind != RATE)

    def __getitem__(self, field: str) -> Encoder:
        return self.encoders[field]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides the embedding row of a raw value: fields in order, ids, knots."""
        if self.known_digest is not None:
            return self.known_digest
        found = hashlib.sha256(IDENTITY.encode())
        for f in self.fields:
            found.update(json.dumps([f.name, f.table, f.kind, f.part, f.hash, self[f.name].size]).encode())
            for buffer in _content(self[f.name].to_table()):
                found.update(buffer)
        if self.history is not None:
            found.update(json.dumps(asdict(self.history.spec), sort_keys=True).encode())
        return found.hexdigest()

    def save(self, folder: Path, run: Callable[[Iterable[Job]], list[FileRecord]] = _one_by_one) -> Layout:
        """Write the files of the encoders, then layout.json.

        Args:
            folder: of the dataset or the run.
            run: runs the jobs that write the files, maybe several at once.
        """
        (folder / VOCABULARY).mkdir(exist_ok=True)

        def write(field: str) -> FileRecord:
            path = folder / vocabulary_file(field)
            pq.write_table(self[field].to_table(), path, compression="zstd", write_page_checksum=True)
            return FileRecord.of(path)

        written = run(partial(write, f.name) for f in self.fields)
        files = {vocabulary_file(f.name): record for f, record in zip(self.fields, written, strict=True)}
        if self.history is not None:
            save_history(self.history, folder)
        layout = Layout(
            identity=IDENTITY,
            digest=self.digest,
            fields=tuple(FieldRecord(**asdict(f), size=self[f.name].size) for f in self.fields),
            keys=dict(self.keys),
            user=self.user,
            item=self.item,
            request=self.request,
            history=None if self.history is None else self.history.spec,
            files=files,
        )
        layout.write(folder / LAYOUT)
        return layout

    def adopted(self, fields: tuple[Field, ...], where: str) -> tuple[Field, ...]:
        """The fields of this layout, in its order, but read from the columns that another schema names.

        Args:
            fields: the fields of the other schema.
            where: the place to name in errors.

        Raises: ConfigError if a field is missing, is not in the layout, or has another table or kind.
        """
        theirs = {f.name: f for f in fields}
        mine_ = self.read_fields
        must = "the schema must have the fields of the layout that it is prepared with"
        for name in theirs:
            if name not in self.encoders:
                do = nearest(name, [f.name for f in mine_])
                raise ConfigError(must, f"the layout has no field '{name}'", where=where, do=do)
        for mine in mine_:
            other = theirs.get(mine.name)
            if other is None:
                raise ConfigError(must, f"field '{mine.name}' is missing", where=where)
            if (other.table, other.kind, other.part) != (mine.table, mine.kind, mine.part):
                theirs_, ours = (f"{f.part or f.kind} in {f.table}" for f in (other, mine))
                came = f"field '{mine.name}' is of kind {theirs_}, not {ours}"
                raise ConfigError(must, came, where=where)
            zones = [f.format.time_zone or "UTC" for f in (other, mine)]
            if mine.part is not None and zones[0] != zones[1]:
                came = f"field '{mine.name}' is the {mine.part} in the zone {zones[0]}, and in the layout in {zones[1]}"
                raise ConfigError(must, came, where=where, do=f'Set time = {{ zone = "{zones[1]}" }}')
        return tuple(
            replace(mine, column=other.column, separator=other.separator, weights=other.weights, format=other.format)
            for mine in mine_
            for other in [theirs[mine.name]]
        )


def format_changes(before: Iterable[Field], now: Iterable[Field]) -> list[str]:
    """A sentence for each field whose values are declared to be written in another way than before."""
    found = []
    for old, new in zip(before, now, strict=True):
        was, now_is = asdict(old.format), asdict(new.format)
        other = [f"{name} = {now_is[name]!r}, not {was[name]!r}" for name in was if was[name] != now_is[name]]
        if other:
            found.append(
                f"The values of field '{new.name}' are written in another way than in the layout: {'; '.join(other)}."
            )
    return found


def vocabulary_file(field: str) -> str:
    """The path of a field's stored encoder, relative to the folder of the layout."""
    return f"{VOCABULARY}/{field}.parquet"


def link_layout(source: Path, out: Path) -> Layout:
    """Put the layout of the folder `source` into the folder `out` too: as hard links if possible, else as copies.

    Raises: DataError if the layout of `source` is missing or damaged.
    """
    layout = Layout.open(source)
    (out / VOCABULARY).mkdir(parents=True, exist_ok=True)
    for name in (*layout.files, LAYOUT):  # layout.json last: if it is there, the others are too
        path = out / name
        path.unlink(missing_ok=True)
        try:
            link_or_copy(source / name, path)
        except FileNotFoundError as error:
            raise DataError(_MUST, "the file is missing", where=str(source / name), do=_DO) from error
    if layout.history is not None:
        link_history(source, out)
    return layout


def _content(table: pa.Table) -> list[bytes]:
    """The ids or edges of a stored encoder as bytes, independent of Arrow chunks and buffers.

    Counts are left out, because they do not change the row of a raw value.
    """
    name = "edge" if "edge" in table.column_names else "id"
    column = table[name].combine_chunks()
    if name == "edge":
        return [np.asarray(column).astype("<f8").tobytes()]
    joined = column.cast(pa.large_string())
    _, offsets, characters = joined.buffers()
    if not len(joined):
        return []
    ends = np.frombuffer(offsets, np.int64)[joined.offset : joined.offset + len(joined) + 1]
    return [np.diff(ends).astype("<i8").tobytes(), bytes(memoryview(characters or b"")[ends[0] : ends[-1]])]
