"""The rates of the impressions of a dataset, made when they are read, from stored codes and the counts of the history.

The dataset stores no rates: if counts change, the rates that are read change with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ..core.rows import IMPRESSIONS, PARTS, Ragged, Rows
from .bags import from_arrow
from .earlier import Counted
from .manifest import EARLIER, FOLD, HISTORY, LINK

if TYPE_CHECKING:
    from .dataset import Dataset, Part


class StoredHistory:
    """Makes the rates of the impressions of a dataset.

    Attributes:
        history: the counts.
        columns: the columns of the impressions that it reads.
    """

    def __init__(self, dataset: Dataset) -> None:
        encoders = dataset.encoders
        assert encoders.history is not None
        self.history, self._encoders = encoders.history, encoders
        keys = self.history.spec.keys
        self._own = [key.name for key in keys if key.table == IMPRESSIONS]
        self._table = {key.name: key.table for key in keys if key.table != IMPRESSIONS}
        self._codes = {key: dataset.side_column(table, HISTORY + key) for key, table in self._table.items()}
        width = len(self.history.spec.stages) + 1 if self.history.spec.cross_fit == "time" else 0
        self._earlier = {key.name: [f"{EARLIER}{key.name}.{w}" for w in range(width)] for key in keys if width}
        self.columns = [
            FOLD,
            *(HISTORY + name for name in self._own),
            *(c for some in self._earlier.values() for c in some),
        ]

    def codes(self, part: Part, key: str) -> Iterator[Ragged]:
        """The codes of the ids of one key, of all impressions of a part, in order."""
        own = key in self._own
        column = HISTORY + key if own else LINK + self._table[key]
        for batch in part.batches([column]):
            yield from_arrow(batch[column]) if own else self._codes[key].take(batch[column].to_numpy())

    def with_rates(self, rows: Rows, batch: pa.RecordBatch, part: str, online: Counted | None = None) -> Rows:
        """The rows with the log odds of their rates, and with the positions of these among the knots.

        Args:
            rows: n impressions of a part.
            batch: their columns.
            online: what was counted strictly earlier in the part; see `earlier.Online.of`. None: it is not known.
        """
        codes = {name: from_arrow(batch[HISTORY + name]) for name in self._own}
        codes |= {name: self._codes[name].take(rows.links[table]) for name, table in self._table.items()}
        spec, place = self.history.spec, PARTS.index(part)
        earlier, weight = online or (None, None)
        if self._earlier and place == 0:
            earlier = {
                name: np.stack([batch[c].to_numpy() for c in some], axis=1) for name, some in self._earlier.items()
            }
        variant = batch[FOLD].to_numpy() if place == 0 else np.full(len(rows), spec.folds - 1 + place, np.uint8)
        return self._encoders.with_rates(rows, self.history.numbers(codes, variant, earlier, weight))
