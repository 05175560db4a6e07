"""Several parts of a dataset that are read as one: the training and the validation part, for a refit."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import reduce
from operator import add

import numpy as np

from ..core.labels import Counts, Labels
from ..core.rows import Rows
from .dataset import Dataset, Part


class Together:
    """The impressions of several parts of one dataset, each with the rates of the history that its own part gives it.

    Args:
        parts: of one dataset.

    Attributes:
        name: such as "train + validation".
        share: the share of the parts' impressions that is read.
        counts: impressions, and how many reached each stage.
    """

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self.dataset: Dataset = parts[0].dataset
        self.name: str = " + ".join(part.name for part in parts)
        self.share: float = parts[0].share
        self.counts: Counts = reduce(add, (part.counts for part in parts))

    def __len__(self) -> int:
        return self.counts.impressions

    def labels(self) -> Iterator[Labels]:
        """The labels, one chunk per row group."""
        for part in self._parts:
            yield from part.labels()

    def chunks(self, rng: np.random.Generator | None = None, *, read: Collection[str] | None = None) -> Iterator[Rows]:
        """The impressions, one chunk per row group; with `rng`, the row groups of all parts in random order.

        Args:
            read: as for `Part.chunks`.
        """
        chunks = [part.chunks(rng, read=read) for part in self._parts]
        turns = np.repeat(np.arange(len(chunks)), [part.row_groups for part in self._parts])
        for turn in turns if rng is None else rng.permutation(turns):
            chunk = next(chunks[turn], None)
            if chunk is not None:  # of a small share, a row group may have no impression
                yield chunk
