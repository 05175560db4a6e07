"""The codes of the keys of a history in a staged log, and the raw id of each code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.rows import IMPRESSIONS, Field, Ragged
from ..features.codes import hash_buckets
from ..features.history.history import History, pair_text
from ..features.history.keys import HistoryKey, HistorySpec
from ..kernels.intcodes import IntCodes
from ..logs.source import Source
from .manifest import LINK, ROLE
from .stage import Stage

HIGH = np.int64(32)  # bits: a pair of codes is one integer, the first code above these


class KeyCodes:
    """The staged codes of the keys, and their places among the ids of the history."""

    def __init__(self, source: Source, stages: Mapping[str, Stage], spec: HistorySpec) -> None:
        self._source, self._stages, self._spec = source, stages, spec
        self._pairs = {key.name: IntCodes() for key in spec.keys if len(key.fields) == 2}
        self._tables: dict[str, Ragged] = {}
        self._places: dict[str, np.ndarray] = {}  # key -> staged code -> code of the history; absent: the same
        self._named = {f.name for f in source.fields}
        for f in (f for f in spec.fields_of_keys if f.table != IMPRESSIONS):
            stage = stages[f.table]
            pieces = [stage.field(batch, f.name) for _, batch in stage.batches()]
            single = all(p.offsets is None for p in pieces)
            no_id = np.zeros(1, np.int32) if f.hash is None else hash_buckets(pl.Series([""]), f.hash)
            empty = Ragged(no_id) if single else Ragged(np.zeros(0, np.int32), np.zeros(2, np.int64))
            whole = Ragged.concatenate([empty, *pieces])
            self._tables[f.name] = Ragged(whole.values, whole.offsets)

    def staged(self, batch: pa.RecordBatch) -> dict[str, Ragged]:
        """Key -> the staged codes of a batch of impressions. New pairs get the next codes."""
        return {key.name: self.of_key(batch, key) for key in self._spec.keys}

    def of_key(self, batch: pa.RecordBatch, key: HistoryKey) -> Ragged:
        """The staged codes of one key."""
        if len(key.fields) == 1:
            return self._field(batch, key.fields[0])
        one, other = (self._field(batch, f).values.astype(np.int64) for f in key.fields)
        return Ragged(self._pairs[key.name].encode(one << HIGH | other))

    def _field(self, batch: pa.RecordBatch, f: Field) -> Ragged:
        if f.name not in self._named:
            return Ragged(batch[f"{ROLE}history.{f.name}"].to_numpy())
        if f.table == IMPRESSIONS:
            bags = self._stages[IMPRESSIONS].field(batch, f.name)
            return Ragged(bags.values, bags.offsets)
        return self._tables[f.name].take(batch[LINK + f.table].to_numpy() + 1)

    def of_table(self, key: HistoryKey) -> Ragged:
        """The staged codes of all rows of the key's side table, the empty row first."""
        return self._tables[key.fields[0].name]

    def size(self, key: HistoryKey) -> int:
        """The number of staged codes of a key so far."""
        if len(key.fields) == 2:
            return len(self._pairs[key.name])
        f = key.fields[0]
        return f.hash or len(self._ids(f))

    def _ids(self, f: Field) -> pa.Array:
        return self._source.ids(f.name) if f.name in self._named else self._source.role_ids(f"history.{f.name}")

    def texts(self, key: HistoryKey) -> pl.Series:
        """The ids of a key by staged code; none for a hashed field. Shape: text (C,) or (0,)."""
        if len(key.fields) == 1:
            return self._text(key.fields[0])
        keys = self._pairs[key.name].keys
        one, other = (
            pl.Series(np.arange(f.hash)).cast(pl.String) if f.hash is not None else self._text(f) for f in key.fields
        )
        return pair_text(one.gather(keys >> HIGH), other.gather(keys & np.int64(2**32 - 1)))

    def _text(self, f: Field) -> pl.Series:
        return pl.Series(self._ids(f).cast(pa.string()).fill_null(""), dtype=pl.String)

    def place(self, key: HistoryKey, known: History, ids: pl.Series) -> np.ndarray:
        """The code of each staged code in an earlier history; ids that are new there come after its own.

        Shape: text (C,) -> int64 (C,).
        """
        f = key.fields[0]
        if len(key.fields) == 1 and f.hash is not None:
            return np.arange(f.hash)
        found = known.find_text(key, ids).astype(np.int64)
        new = found < 0
        found[new] = len(known.counts[key.name]) + np.arange(int(new.sum()))
        self._places[key.name] = found.astype(np.int32)
        return found

    def placed(self, name: str, bags: Ragged) -> Ragged:
        """Staged codes as codes of the history."""
        if name not in self._places:
            return bags
        return Ragged(self._places[name][bags.values], bags.offsets)
