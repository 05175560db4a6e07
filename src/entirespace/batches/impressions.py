"""Impressions to predict, from a part, a dataset or a data frame, encoded with one layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from ..core.rows import Rows
from ..dataset.dataset import Dataset, Part
from ..features.frames import FrameEncoder, Unseen
from ..features.layout import Encoders
from .batch import Batch
from .feed import Feed


@dataclass(frozen=True)
class Impressions:
    """N impressions, encoded.

    Attributes:
        name: their name in progress and errors, such as "the test part".
        layout: the digest of the layout that encoded them.
        where: the dataset's folder, or "a data frame", for errors.
        size: N.
        feed: makes batches of them.
        chunks: reads them from the start, in order.
        unseen: field -> how many ids it has, and how many of them the layout does not know.
    """

    name: str
    layout: str
    where: str
    size: int
    feed: Feed
    chunks: Callable[[], Iterable[Rows]]
    unseen: Mapping[str, Unseen]

    def __len__(self) -> int:
        return self.size

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Batches of all N impressions, in order."""
        return self.feed.in_order(self.chunks(), batch_size)

    @staticmethod
    def of(
        data: Impressions | Part | Dataset | Any, encoders: Callable[[], Encoders], tables: Mapping[str, Any] | None
    ) -> Impressions:
        """The impressions of a part, of all parts of a dataset one after the other, or of a data frame of raw rows.

        Args:
            data: the part, dataset or data frame.
            encoders: opens the encoders of the run; called only for a data frame.
            tables: side tables as data frames, by name. The columns of a side table that is not given must be columns
                of the frame.

        Raises: DataError if a frame lacks a column or one of its rows cannot be encoded.
        """
        if isinstance(data, Impressions):
            return data
        if isinstance(data, Part):
            dataset, parts, name = data.dataset, (data,), f"the {data.name} part"
        elif isinstance(data, Dataset):
            dataset, parts, name = data, data.parts, "all parts"
        else:
            return Impressions.of_frame(FrameEncoder(encoders(), tables), data)

        def chunks() -> Iterator[Rows]:
            for part in parts:
                yield from part.chunks()

        return Impressions(
            name,
            dataset.layout.digest,
            str(dataset.path),
            sum(map(len, parts)),
            Feed.of(dataset),
            chunks,
            {f.name: reduce(add, (part.unseen[f.name] for part in parts)) for f in dataset.fields},
        )

    @staticmethod
    def of_frame(encoder: FrameEncoder, frame: Any) -> Impressions:
        """The impressions of a data frame of raw rows. Raises: DataError for the first row that cannot be encoded."""
        rows, bad, unseen = encoder.encode(frame)
        if bad:
            raise bad[0].error(f"the impressions, row {bad[0].row + 1}")
        return encoded(encoder, rows, unseen)


def encoded(encoder: FrameEncoder, rows: Rows, unseen: Mapping[str, Unseen], feed: Feed | None = None) -> Impressions:
    """Rows that an encoder made, as impressions.

    Args:
        feed: the feed to use, so that it is made only once for several frames of one encoder.
    """
    feed = feed or Feed(encoder.fields, encoder.tables, encoder.rows)
    return Impressions("a data frame", encoder.layout, "a data frame", len(rows), feed, lambda: [rows], unseen)
