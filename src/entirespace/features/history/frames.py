"""The rates of raw impressions in a data frame, from the counts as they stand."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from ...core.rows import Field, Ragged
from ..values import Bags, Content
from .history import History, pair_text, part_text
from .keys import HistoryKey
from .newer import Newer, Texts, newer_numbers

Contents = Mapping[str, Content]
"""Field -> its raw values in the rows of a table."""


class FrameKeys:
    """Finds the keys of a history in raw impressions.

    Args:
        history: the counts.
        tables: side table -> the raw values of its fields. The fields of other side tables are columns of the
            impressions.
    """

    def __init__(self, history: History, tables: Mapping[str, Contents]) -> None:
        self._history, self._tables = history, tables
        self._codes: dict[str, Ragged] = {}  # key of a side table -> codes of its rows, the empty row first
        for key in history.spec.keys:
            if len(key.fields) == 1 and key.table in tables:
                self._codes[key.name] = self._after_empty_row(key)

    def numbers(
        self, contents: Contents, links: Mapping[str, np.ndarray], n: int, newer: Newer | None = None
    ) -> tuple[np.ndarray, dict[str, int]]:
        """(the log odds of the rates, rate -> how many impressions have no history).

        Args:
            contents: of n impressions.
            links: side table -> the row in it of each impression; 0: none. Shape: int32 (n,).
            newer: what was counted after the counts of the history.

        Returns: float32 (n, R).
        """
        history, codes = self._history, dict[str, Ragged]()
        if newer is not None:
            texts = {key.name: self._ids(key, contents, links) for key in history.spec.keys}
            numbers, missing = newer_numbers(history, newer, texts, n)
            return numbers, self._by_rate(missing)
        for key in history.spec.keys:
            if key.name in self._codes:
                codes[key.name] = self._codes[key.name].take(links[key.table])
            elif len(key.fields) == 1:
                codes[key.name] = self._found(key, contents[key.name])
            else:
                one, other = (self._texts(f, contents, links) for f in key.fields)
                codes[key.name] = Ragged(history.find_text(key, pair_text(one, other)))
        variant = np.full(n, history.variants - 1, np.uint8)
        return history.numbers(codes, variant), self._by_rate(history.without_history(codes, variant))

    def _by_rate(self, missing: Mapping[str, np.ndarray]) -> dict[str, int]:
        names = self._history.spec.names_by_key
        return {name: int(missing[key].sum()) for key, rates in names.items() for name in rates}

    def _ids(self, key: HistoryKey, contents: Contents, links: Mapping[str, np.ndarray]) -> Texts:
        """The ids of a key as they are stored, for each impression."""
        if len(key.fields) == 2:
            one, other = (self._texts(f, contents, links) for f in key.fields)
            return Texts(pair_text(one, other))
        f, side = key.fields[0], self._tables.get(key.table)
        content = contents[f.name] if side is None else side[f.name]
        if not isinstance(content, Bags):
            return Texts(self._texts(f, contents, links))
        texts = Texts.of_bags(f, content)
        return texts if side is None else texts.after_empty_row().take(links[key.table])

    def _found(self, key: HistoryKey, content: Content) -> Ragged:
        if not isinstance(content, Bags):
            assert isinstance(content, pl.Series)
            return Ragged(self._history.find(key, content))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(content.lengths)])
        return Ragged(self._history.find(key, content.ids), offsets)

    def _after_empty_row(self, key: HistoryKey) -> Ragged:
        codes = self._found(key, self._tables[key.table][key.name])
        if codes.offsets is not None:
            return Ragged(codes.values, np.concatenate([np.zeros(1, np.int64), codes.offsets]))
        return Ragged(np.concatenate([self._history.find(key, pl.Series([""])), codes.values]))

    def _texts(self, f: Field, contents: Contents, links: Mapping[str, np.ndarray]) -> pl.Series:
        """The ids of a part of a pair as text. Shape: text (n,)."""
        side = self._tables.get(f.table)
        content = contents[f.name] if side is None else side[f.name]
        assert isinstance(content, pl.Series)
        texts = part_text(f, content)
        if side is None:
            return texts
        return pl.concat([part_text(f, pl.Series([""])), texts]).gather(links[f.table])
