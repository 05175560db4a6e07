"""The encoders of a bundle, so that it opens at once: large tables of ids stay in files, which all processes share.

lookup/fields/FIELD/    the ids of a large vocabulary, as a hash table (features/idtable.py)
lookup/history/00/      the same of a key of the history, in the layout's order, and now.npy: what is counted now

Small ones are read from the files of the layout and the history. Both give the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.rows import Field
from ..errors import BundleError
from ..features.encoders import Encoder, Hashed, Vocabulary
from ..features.history.history import History
from ..features.history.keys import HistorySpec
from ..features.history.store import open_history
from ..features.idtable import IdTable
from ..features.layout import KINDS, Encoders, Layout
from ..features.values import text

LOOKUP = "lookup"
NOW = "now.npy"
LARGE = 20_000  # ids of a table that stays in its files


@dataclass(frozen=True, eq=False)
class MappedVocabulary:
    """`Vocabulary` whose ids stay in a file."""

    table: IdTable

    @property
    def size(self) -> int:
        """The number of ids, and row 0."""
        return len(self.table) + 1

    def encode(self, values: pl.Series | np.ndarray) -> np.ndarray:
        """The row of each raw id; 0 if it is unknown. Shape: text or integers (n,) -> int32 (n,)."""
        return self.table.find(text(pl.Series(values))) + 1

    def to_table(self) -> pa.Table:
        """The form of the layout is in its own file."""
        raise NotImplementedError

    @classmethod
    def from_table(cls, field: Field, table: pa.Table) -> Self:
        return cls(Vocabulary.from_table(field, table).table)


@dataclass(frozen=True, eq=False)
class ServedHistory(History):
    """Counts for impressions that come now. What folds and parts of the log knew is not read.

    `counts` has the shape of `History`, but all its groups are the last one, "now", which later impressions know.
    """

    mapped: Mapping[str, IdTable] = field(default_factory=dict[str, IdTable])

    @cached_property
    def tables(self) -> Mapping[str, IdTable]:
        """Key -> finds its ids; keys of a hashed field have none."""
        return self.mapped


def write_lookups(encoders: Encoders, folder: Path) -> None:
    """Write the tables of large vocabularies and keys into a bundle's folder."""
    for name, encoder in encoders.encoders.items():
        if isinstance(encoder, Vocabulary) and encoder.size > LARGE:
            encoder.table.save(_of_field(folder, name))
    history = encoders.history
    for i, key in enumerate(history.spec.keys if history is not None else ()):
        assert history is not None
        counts = history.counts[key.name]
        if len(counts) > LARGE:
            place = _of_key(folder, i)
            if key.name in history.tables:
                history.tables[key.name].save(place)
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / NOW, np.ascontiguousarray(counts[:, -1]))


def open_encoders(folder: Path, layout: Layout) -> Encoders:
    """The encoders of a bundle whose files were checked. Raises: BundleError if a table cannot be opened."""
    encoders: dict[str, Encoder] = {}
    for about in layout.fields:
        place = _of_field(folder, about.name)
        if place.is_dir():
            encoders[about.name] = MappedVocabulary(_opened(place))
        else:
            kind = Hashed if about.hash is not None else KINDS[about.kind]
            encoders[about.name] = kind.from_table(about.field(), layout.vocabulary(folder, about.name))
    fields = tuple(about.field() for about in layout.fields)
    history = None if layout.history is None else _served(folder, layout.history)
    return Encoders(
        fields, encoders, layout.keys, layout.user, layout.item, layout.request, history, known_digest=layout.digest
    )


def _served(folder: Path, spec: HistorySpec) -> ServedHistory:
    large = {key.name: _of_key(folder, i) for i, key in enumerate(spec.keys) if _of_key(folder, i).is_dir()}
    history = open_history(folder, spec, without=large)
    counts: dict[str, np.ndarray] = {}
    mapped = {name: table for name, table in history.tables.items() if name not in large}
    for key in spec.keys:
        if key.name not in large:
            counts[key.name] = history.counts[key.name]
            continue
        place = large[key.name]
        now = _array(place / NOW)
        # every group is "now"; no row of the file is read before its id is looked up
        shape, strides = (len(now), len(history.overall), now.shape[1]), (now.strides[0], 0, now.strides[1])
        counts[key.name] = np.lib.stride_tricks.as_strided(now, shape, strides, writeable=False)
        if not (len(key.fields) == 1 and key.fields[0].hash is not None):
            mapped[key.name] = _opened(place)
    known = {name: getattr(history, name) for name in ("ids", "overall", "strengths", "at", "until", "counted", "log")}
    return ServedHistory(spec=spec, counts=counts, mapped=mapped, **known)


def _opened(place: Path) -> IdTable:
    try:
        return IdTable.open(place)
    except (OSError, ValueError) as error:
        raise BundleError("a table of ids must be readable", str(error), where=str(place)) from error


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise BundleError("a table of counts must be readable", str(error), where=str(path)) from error


def _of_field(folder: Path, name: str) -> Path:
    return folder / LOOKUP / "fields" / name


def _of_key(folder: Path, number: int) -> Path:
    return folder / LOOKUP / "history" / f"{number:02d}"
