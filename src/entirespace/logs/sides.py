"""A side table of a log: reads its rows, and finds the row of each impression by its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from ..core.rows import IMPRESSIONS, ValueFormat
from ..features.codes import Codes
from ..features.fingerprints import fingerprints, joined
from ..features.values import Bags, Content, inexact, raw_ids, without_missing
from .audit import EXAMPLES, Audit
from .coding import Coding, columns_of_fields
from .files import Frame
from .joins import Join
from .reading import Check, TableReader, among
from .schema import FilesSchema, SideSchema
from .source import Block


class SideTable:
    """Reads one side table to its end, then finds its rows.

    Of several rows with the same key, the first good one is used. Later rows are bad if their fields differ from those
    of the first, and only counted if they are equal.

    Args:
        schema: of the table.
        files: the files that hold it: its own, or those of the impressions.
        form: how its keys are written.
    """

    def __init__(
        self,
        name: str,
        schema: SideSchema,
        files: FilesSchema,
        form: ValueFormat,
        coding: Coding,
        reader: TableReader,
        audit: Audit,
    ) -> None:
        self.name, self.on = name, schema.on or schema.key
        self.join = Join(name, schema.key, self.on)
        self._schema, self._files, self._form = schema, files, form
        self._coding, self._reader, self._audit = coding, reader, audit
        self._keys = Codes()
        self._row = np.full(0, -1, np.int32)  # of each key code: its row in this table; -1: none
        self._prints = np.zeros((0, 2), np.uint64)  # of each key code: the fingerprint of its row
        self._rows = 0

    def blocks(self) -> Iterator[Block]:
        """The rows that are kept, in order."""
        wanted, lists = columns_of_fields(self._coding.fields, self.name)
        wanted = {"key": self._schema.key, **wanted}
        for frame in self._reader.frames(self.name, self._files, wanted, lists=lists):
            keys, codes, bad = self._read_keys(frame)
            found, bad = self._coding.read(frame, self.name, bad)
            repeats = among(~bad, self._repeats(frame, codes, found, bad))
            if repeats.any():
                found, bad = self._coding.read(frame, self.name, bad | repeats)
            kept = codes[~bad]
            self.join.has(keys.filter(pl.Series(~bad)).head(EXAMPLES))
            self._row[kept] = np.arange(self._rows, self._rows + len(kept), dtype=np.int32)
            self._rows += len(kept)
            yield Block(self._coding.encode(found), len(kept))
        self._prints = np.zeros((0, 2), np.uint64)  # not needed any more

    def rows_of(self, frame: Frame, form: ValueFormat, good: np.ndarray) -> np.ndarray:
        """The row in this table of each good impression of a frame; -1: it has none.

        `form`: how the impressions' keys are written. Shape: good bool (n,) -> int32 (good.sum(),).
        """
        keys = raw_ids(without_missing(frame.rows[self.on], form))
        codes = self._keys.encode(keys)[good]
        self._row = _extended(self._row, len(self._keys), -1)
        rows = self._row[codes]
        missing = among(good, rows < 0)
        self.join.count(keys, good, missing)
        values = frame.rows[self.on].filter(pl.Series(missing)).head(EXAMPLES).to_list()
        why = [f"{self.on} = {value!r}" for value in values]
        self._audit.count_lines(IMPRESSIONS, "missing_side_row", frame.file, frame.lines[missing], None, why)
        return rows

    def _read_keys(self, frame: Frame) -> tuple[pl.Series, np.ndarray, np.ndarray]:
        """(raw ids of the keys, their codes, rows without a usable key). Shape: (n,) each."""
        key = without_missing(frame.rows[self._schema.key], self._form)
        keys, unsure = raw_ids(key), inexact(key)
        missing = (keys == "" if keys.dtype == pl.String else keys.is_null()).to_numpy()
        left_out = np.zeros(len(missing), bool)
        if self._schema.source == IMPRESSIONS:  # an impression without a key has no row in the table
            self._audit.count_lines(self.name, "no_key", frame.file, frame.lines[missing])
            left_out, missing = missing, left_out
        checks = [Check("bad_key", missing, (self._schema.key,)), Check("bad_id", unsure, (self._schema.key,))]
        bad = self._reader.quarantine(frame, self.name, checks) | left_out
        codes = self._keys.encode(keys)
        self._row = _extended(self._row, len(self._keys), -1)
        self._prints = _extended(self._prints, len(self._keys), 0)
        return keys, codes, bad

    def _repeats(self, frame: Frame, codes: np.ndarray, found: Mapping[str, Content], bad: np.ndarray) -> np.ndarray:
        """Which of the good rows, g of them, repeat a key. Those with another content than before are bad.

        Shape: codes (n,), contents of the g good rows, bad bool (n,) -> bool (g,).
        """
        codes, prints = codes[~bad], _content(found, int((~bad).sum()))
        first = np.zeros(len(codes), bool)
        first[np.unique(codes, return_index=True)[1]] = True
        first &= self._row[codes] < 0
        self._prints[codes[first]] = prints[first]
        differs = (self._prints[codes] != prints).any(axis=1)
        self._reader.quarantine(
            frame, self.name, [Check("duplicate_key", among(~bad, differs), (self._schema.key,))], bad
        )
        self._audit.count_lines(self.name, "repeated_key", frame.file, frame.lines[among(~bad, ~first & ~differs)])
        return ~first


def _content(found: Mapping[str, Content], n: int) -> np.ndarray:
    """Fingerprints of the fields of n rows, equal if all that is read of the rows is equal. Shape: uint64 (n, 2)."""
    columns: dict[str, pl.Series] = {}
    for name, content in found.items():
        if isinstance(content, Bags):
            columns[name] = joined(content.ids, content.lengths)
            if content.weights is not None:
                columns[f"{name}.weights"] = joined(pl.Series(content.weights), content.lengths)
        else:
            columns[name] = pl.Series(content)
    return fingerprints(pl.DataFrame(columns), list(columns)) if columns else np.zeros((n, 2), np.uint64)


def _extended(array: np.ndarray, size: int, fill: int) -> np.ndarray:
    """The array, extended to at least `size` entries with `fill`, at least doubling so that few copies are made."""
    if size <= len(array):
        return array
    more = np.full((max(size, 2 * len(array)) - len(array), *array.shape[1:]), fill, array.dtype)
    return np.concatenate([array, more])
