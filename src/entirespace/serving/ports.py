"""What a server can be given beside a bundle: side tables, and counts that are newer than the bundle's.

`serving/http` calls these two protocols and knows nothing of who implements them. Both are called from several threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl


class Lookup(Protocol):
    """Side tables that are on the server, so that a request can send a key in place of the fields."""

    @property
    def tables(self) -> frozenset[str]:
        """The names of the side tables that are there, as in `BundleSchema.tables`."""
        ...

    def fields(self, table: str, keys: Sequence[str]) -> pl.DataFrame:
        """The rows of a side table: one row for each key, in the order of the keys; null where a key has no row.

        Args:
            keys: raw ids as text, as `features.values.canonical` writes them. The same key may come twice.

        Returns: at least the columns of `table` in `BundleSchema.columns`. Other columns are not read.
        """
        ...


class Fresh(Protocol):
    """What was counted after the bundle was exported."""

    def counts(self, key: str, ids: Sequence[str]) -> np.ndarray:
        """What to add to the bundle's own counts of some ids of a key of the history.

        Args:
            key: the name of a `HistoryKey` of the bundle's layout.
            ids: ids as text, as `History.find_text` takes them: raw ids as `features.values.canonical` writes them,
                buckets of a hashed field, and the two ids of a pair with `SEPARATOR` between them.

        Returns: float64 (n, W), with the columns and the weights (decay) of the group "now" in `History.counts`; 0
            where nothing new is known.
        """
        ...


@dataclass(frozen=True)
class Ports:
    """What a server has beside its bundle. None: requests carry all fields; the bundle's own counts are used."""

    lookup: Lookup | None = None
    fresh: Fresh | None = None
