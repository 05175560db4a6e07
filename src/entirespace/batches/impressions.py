"""Impressions to predict, from a part, a dataset or a data frame, encoded with one layout."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from ..core.rows import Rows
from ..dataset.dataset import Dataset, Part
from ..features.chosen import ChosenFields
from ..features.frames import FrameEncoder, Unseen
from .batch import Batch
from .feed import Feed, Source


@dataclass(frozen=True)
class Impressions:
    """N impressions, encoded.

    Attributes:
        name: their name in progress and errors, such as "the test part".
        layout: the digest of the layout that encoded them.
        where: the dataset's folder, or "a data frame", for errors.
        size: N.
        source: the dataset or the encoder, which makes batches of them.
        chunks: reads them from the start, in order, with the named fields.
        unseen: field -> how many ids it has, and how many of them the layout does not know; or missing numbers.
    """

    name: str
    layout: str
    where: str
    size: int
    source: Source
    chunks: Callable[[Collection[str]], Iterable[Rows]]
    unseen: Mapping[str, Unseen]

    def __len__(self) -> int:
        return self.size

    def batches(self, chosen: ChosenFields, batch_size: int) -> Iterator[Batch]:
        """Batches of all N impressions, in order, for a network that reads these fields.

        Raises: DataError if the impressions lack one of these fields.
        """
        feed = Feed.of(self.source, chosen)
        return feed.in_order(self.chunks(feed.read), batch_size)

    @staticmethod
    def of(data: Impressions | Part | Dataset | Any, encoder: Callable[[], FrameEncoder]) -> Impressions:
        """The impressions of a part, of all parts of a dataset one after the other, or of a data frame of raw rows.

        Args:
            data: the part, dataset or data frame.
            encoder: makes the encoder of data frames; called only for a data frame.

        Raises: DataError if a frame lacks a column or one of its rows cannot be encoded.
        """
        if isinstance(data, Impressions):
            return data
        if isinstance(data, Part):
            dataset, parts, name = data.dataset, (data,), f"the {data.name} part"
        elif isinstance(data, Dataset):
            dataset, parts, name = data, data.parts, "all parts"
        else:
            return Impressions.of_frame(encoder(), data)

        def chunks(read: Collection[str]) -> Iterator[Rows]:
            for part in parts:
                yield from part.chunks(read=read)

        return Impressions(
            name,
            dataset.layout.digest,
            str(dataset.path),
            sum(map(len, parts)),
            dataset,
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


def encoded(encoder: FrameEncoder, rows: Rows, unseen: Mapping[str, Unseen]) -> Impressions:
    """Rows that an encoder made, as impressions."""
    return Impressions("a data frame", encoder.layout, "a data frame", len(rows), encoder, lambda _: [rows], unseen)
