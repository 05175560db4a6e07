"""What was counted after the counts of a history: they go on without a new file, as a server does with its events."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from ...core.rows import Field, Ragged
from ..values import Bags
from .history import History, part_text


class Newer(Protocol):
    """The counts at one moment, to be added to those of the group "now" of a history."""

    @property
    def faded(self) -> float:
        """What an outcome that has weight 1 in the history weighs at this moment; 1 if counts do not decay."""
        ...

    @property
    def overall(self) -> np.ndarray:
        """The counts of all impressions: impressions, then those that reached each stage. Shape: float64 (W,)."""
        ...

    def counts(self, key: str, ids: Sequence[str]) -> np.ndarray:
        """What to add to the counts of some ids of a key, with weight 1 at this moment.

        Args:
            ids: as `History.find_text` takes them.

        Returns: float64 (n, W); 0 where nothing is known.
        """
        ...

    def hidden(self, key: str, ids: Sequence[str]) -> np.ndarray | None:
        """Which ids the history must not know any more. None: none of them. Shape: bool (n,)."""
        ...


@dataclass(frozen=True, eq=False)
class Texts:
    """The ids of a key of n impressions, as they are stored."""

    values: pl.Series  # text (L,)
    offsets: np.ndarray | None = None  # as in `Ragged`

    @staticmethod
    def of_bags(field: Field, bags: Bags) -> Texts:
        """The ids of bags."""
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(bags.lengths)])
        return Texts(part_text(field, bags.ids), offsets)

    def after_empty_row(self) -> Texts:
        """The rows after an empty one."""
        assert self.offsets is not None
        return Texts(self.values, np.concatenate([np.zeros(1, np.int64), self.offsets]))

    def take(self, rows: np.ndarray) -> Texts:
        """The given rows, in the given order. Shape: int (n,)."""
        places = Ragged(np.arange(len(self.values)), self.offsets).take(rows)
        return Texts(self.values.gather(places.values), places.offsets)


def newer_numbers(
    history: History, newer: Newer, ids: Mapping[str, Texts], n: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(the log odds of the rates of n impressions that come now, key -> those of whose ids nothing is counted).

    They are those that `update` would give with the same outcomes.

    Args:
        ids: key -> the ids of the impressions.

    Returns: float32 (n, R), bool (n,) each.
    """
    variant = np.full(n, history.variants - 1, np.uint8)
    codes, added = dict[str, Ragged](), dict[str, np.ndarray]()
    for key in history.spec.keys:
        texts = ids[key.name]
        hashed = len(key.fields) == 1 and key.fields[0].hash is not None
        found = texts.values.cast(pl.Int32).to_numpy() if hashed else history.find_text(key, texts.values)
        listed: list[str] = texts.values.to_list()
        hidden = newer.hidden(key.name, listed)
        codes[key.name] = Ragged(found if hidden is None else np.where(hidden, -1, found), texts.offsets)
        added[key.name] = _pooled(newer.counts(key.name, listed), texts.offsets)
    overall = history.overall.copy()
    overall[-1] = overall[-1] * newer.faded + newer.overall
    now = replace(history, overall=overall)
    weight = np.full(n, newer.faded)
    return now.numbers(codes, variant, added, weight), now.without_history(codes, variant, added)


def _pooled(counts: np.ndarray, offsets: np.ndarray | None) -> np.ndarray:
    """The counts of each bag. Shape: (L, W) -> (n, W)."""
    if offsets is None:
        return counts
    sums = np.concatenate([np.zeros((1, counts.shape[1])), np.cumsum(counts, axis=0)])
    return sums[offsets[1:]] - sums[offsets[:-1]]
