"""The rates of raw impressions in a data frame, from the counts as they stand."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from ...core.rows import IMPRESSIONS, Field, Ragged
from ..values import Bags, read
from .history import History, pair_text, part_text
from .keys import HistoryKey

Ids = tuple[pl.Series, np.ndarray | None]
"""The raw ids of a field, and how many each row has; None: one."""


class FrameKeys:
    """Finds the keys of a history in raw impressions.

    Args:
        history: the counts.
        tables: side tables as frames. The fields of a side table that is not given are columns of the impressions.

    Attributes:
        columns: the columns of the impressions that are read.
    """

    def __init__(self, history: History, tables: Mapping[str, pl.DataFrame]) -> None:
        self._history = history
        fields = history.spec.fields_of_keys
        self._table = {f.name: f.table if f.table in tables else IMPRESSIONS for f in fields}
        self.columns = tuple(f.source for f in fields if self._table[f.name] == IMPRESSIONS)
        self._ids = {f.name: _ids(tables[f.table], f) for f in fields if f.table in tables}
        self._codes: dict[str, Ragged] = {}  # key of a side table -> codes of its rows, the empty row first
        for key in history.spec.keys:
            if len(key.fields) == 1 and self._table[key.fields[0].name] != IMPRESSIONS:
                self._codes[key.name] = self._after_empty_row(key)

    def numbers(self, frame: pl.DataFrame, links: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
        """(the log odds of the rates, rate -> how many impressions have no history).

        Args:
            frame: n impressions.
            links: side table -> the row in it of each impression; 0: none. Shape: int32 (n,).

        Returns: float32 (n, R).
        """
        history, codes = self._history, dict[str, Ragged]()
        for key in history.spec.keys:
            if key.name in self._codes:
                codes[key.name] = self._codes[key.name].take(links[self._table[key.fields[0].name]])
            elif len(key.fields) == 1:
                codes[key.name] = self._found(key, _ids(frame, key.fields[0]))
            else:
                one, other = (self._texts(f, frame, links) for f in key.fields)
                codes[key.name] = Ragged(history.find_text(key, pair_text(one, other)))
        variant = np.full(len(frame), history.variants - 1, np.uint8)
        missing = history.without_history(codes, variant)
        width = len(history.spec.names) // max(1, len(history.spec.rated))
        names = zip(history.spec.names, np.repeat([key.name for key in history.spec.rated], width), strict=True)
        return history.numbers(codes, variant), {name: int(missing[key].sum()) for name, key in names}

    def _found(self, key: HistoryKey, ids: Ids) -> Ragged:
        codes = self._history.find(key, ids[0])
        return Ragged(codes, None if ids[1] is None else np.concatenate([np.zeros(1, np.int64), np.cumsum(ids[1])]))

    def _after_empty_row(self, key: HistoryKey) -> Ragged:
        codes = self._found(key, self._ids[key.fields[0].name])
        if codes.offsets is not None:
            return Ragged(codes.values, np.concatenate([np.zeros(1, np.int64), codes.offsets]))
        return Ragged(np.concatenate([self._history.find(key, pl.Series([""])), codes.values]))

    def _texts(self, f: Field, frame: pl.DataFrame, links: Mapping[str, np.ndarray]) -> pl.Series:
        """The ids of a part of a pair as text. Shape: text (n,)."""
        if self._table[f.name] == IMPRESSIONS:
            return part_text(f, _ids(frame, f)[0])
        texts = part_text(f, self._ids[f.name][0])
        return pl.concat([part_text(f, pl.Series([""])), texts]).gather(links[self._table[f.name]])


def _ids(frame: pl.DataFrame, f: Field) -> Ids:
    content, _ = read(frame, f)
    if isinstance(content, Bags):
        return content.ids, content.lengths
    assert isinstance(content, pl.Series)
    return content, None
