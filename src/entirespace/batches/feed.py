"""Encoded impressions -> batches: sampled by the method's rule, shuffled, each side-table row once per batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from ..config import NetworkConfig
from ..core.labels import Labels, Samples
from ..core.rows import IMPRESSIONS, PlacedField, Ragged, Rows
from ..dataset.dataset import Dataset, Part
from ..dataset.together import Together
from ..features.chosen import ChosenFields
from ..features.encoders import buckets_of, pairs_of
from ..features.frames import FrameEncoder
from ..kernels.compact import Compactor
from .batch import Batch, Group

Sampling = Callable[[Labels, np.random.Generator], np.ndarray | Samples]
"""(labels of n impressions, rng) -> int (n,), how often each occurs in this epoch; or samples with other labels."""

Source = Dataset | FrameEncoder
"""What encodes impressions: it knows their fields, and holds the side tables."""


class Feed:
    """Makes batches of impressions. Holds the side tables in memory, with ids as rows of the embedding table.

    Only one thread at a time may use a feed.

    Args:
        source: of the impressions.
        chosen: the fields that the network reads.

    Attributes:
        read: the names of the fields and rates that batches are made of.
    """

    def __init__(self, source: Source, chosen: ChosenFields) -> None:
        fields, interpolate = chosen.placed(source.fields), chosen.numbers == "interpolate"
        self.read, self._with_numbers = chosen.read, bool(chosen.rates)
        self._tables = {
            table: _TableFields(fields, table, content, interpolate)
            for table, content in ((IMPRESSIONS, None), *source.tables.items())
            if any(f.table == table for f in fields)
        }
        self._compactor = Compactor(chosen.rows)
        self._used = {name: Compactor(table.rows) for name, table in self._tables.items() if name != IMPRESSIONS}
        self._widest = max(self._used, key=lambda name: self._tables[name].ids_a_row, default=None)

    @staticmethod
    def of(source: Source, chosen: ChosenFields | None = None) -> Feed:
        """The feed of a dataset or an encoder. It is made once, and kept in memory as long as the source object.

        Args:
            source: of the impressions.
            chosen: the fields that the network reads. Absent: all, with numbers as buckets.
        """
        chosen = chosen or ChosenFields.of(source.fields, NetworkConfig())
        feeds = _feeds.setdefault(source, {})
        if chosen not in feeds:
            feeds[chosen] = Feed(source, chosen)
        return feeds[chosen]

    def batch(self, rows: Rows) -> Batch:
        """The batch of the given impressions. Shape: Rows of B -> Batch of B."""
        found: list[tuple[_Ids, Tensor | None, int, str]] = []
        for name, table in self._tables.items():
            if name == IMPRESSIONS:
                content, used, expand = rows.fields, None, None
                size = len(rows)
            else:
                used, inverse = self._used[name](rows.links[name])
                content, expand, size = table.content, torch.from_numpy(inverse), len(used)
            found += [(ids, expand, size, name) for ids in table.ids(content, used, size)]
        distinct, position = self._compactor(np.concatenate([_NONE, *(ids.rows for ids, *_ in found)]))
        positions = torch.from_numpy(position).split([len(ids.rows) for ids, *_ in found])
        groups = tuple(
            ids.group(part, expand, size, name)
            for part, (ids, expand, size, name) in zip(positions, found, strict=True)
        )
        numbers = None
        if self._with_numbers and rows.numbers is not None:
            numbers = torch.from_numpy(rows.numbers)
        made, labels = Batch(len(rows), torch.from_numpy(distinct), groups, numbers=numbers), rows.labels
        if labels is None:
            return made
        return replace(
            made,
            labels={stage: torch.from_numpy(reached) for stage, reached in labels.reached.items()},
            times={stage: torch.from_numpy(time) for stage, time in labels.times.items()},
            observed_until=labels.observed_until,
            weight=None if labels.weight is None else torch.from_numpy(labels.weight),
        )

    def in_order(self, chunks: Iterable[Rows], batch_size: int) -> Iterator[Batch]:
        """Batches with every impression once, in order, for predictions. The last batch of a chunk may be smaller."""
        for chunk in chunks:
            for start in range(0, len(chunk), batch_size):
                yield self.batch(chunk.take(np.arange(start, min(start + batch_size, len(chunk)))))

    def shuffled(
        self,
        part: Part | Together,
        samples: Sampling,
        *,
        batch_size: int,
        shuffle_rows: int,
        block: int = 1,
        rng: np.random.Generator,
        also: Collection[str] = (),
    ) -> Iterator[Rows]:
        """The impressions of each batch of one epoch: each as often as `samples` says, in random order.

        Row groups are read in random order. Then about `shuffle_rows` sampled impressions at a time are shuffled.

        Args:
            part: the part to read.
            samples: how many times each impression occurs.
            batch_size: samples per batch; the last batch may be smaller.
            shuffle_rows: how many samples to hold in memory and shuffle together.
            block: keep up to this many impressions that share a row of the widest side table next to each other, so
                that a batch reads the row once for all of them. 1: fully random order.
            rng: the source of the sampling and the order.
            also: fields to read beside those of this feed.
        """
        held: list[Rows] = []
        chunks, more = part.chunks(rng, read=self.read.union(also)), True
        while more:
            more = False
            for chunk in chunks:
                held.append(_sample(chunk, samples, rng))
                if sum(map(len, held)) >= shuffle_rows:
                    more = True
                    break
            if not held:
                return
            mixed = Rows.concatenate(held)
            if block > 1 and self._widest is not None:
                order = blocks(mixed.links[self._widest], block, rng)
            else:
                order = rng.permutation(len(mixed))
            stop = len(order) // batch_size * batch_size if more else len(order)
            for start in range(0, stop, batch_size):
                yield mixed.take(order[start : min(start + batch_size, stop)])
            held = [mixed.take(order[stop:])]


_NONE = np.zeros(0, np.int64)  # the rows of a network that reads no field
_feeds: WeakKeyDictionary[Source, dict[ChosenFields, Feed]] = WeakKeyDictionary()


def _sample(chunk: Rows, samples: Sampling, rng: np.random.Generator) -> Rows:
    """The samples that a method draws from the impressions of a chunk."""
    assert chunk.labels is not None
    found = samples(chunk.labels, rng)
    if isinstance(found, Samples):
        return replace(chunk.take(found.rows), labels=found.labels)
    return chunk.take(np.repeat(np.arange(len(chunk)), found))


def sampled(found: np.ndarray | Samples) -> int:
    """The number of samples in the result of `Method.samples`."""
    return len(found.rows) if isinstance(found, Samples) else int(found.sum())


def blocks(link: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """A random order in which blocks of up to `most` impressions with the same side-table row stay together.

    Impressions with row 0, the empty row for missing keys, are ordered one by one.

    Args:
        link: the side-table row of each impression. Shape: int32 (n,).

    Returns: a permutation of the impressions, int64 (n,).

    >>> link = np.array([7, 8, 0, 8, 7, 0, 7])
    >>> link[blocks(link, 2, np.random.default_rng(3))].tolist()
    [0, 0, 8, 8, 7, 7, 7]
    """
    together = rng.permutation(len(link))  # without it, the first impressions of a key would always share a block
    together = together[np.argsort(link[together], kind="stable")]
    key = link[together]
    first = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1]))) if len(key) else np.zeros(0, np.int64)
    length = np.diff(np.append(first, len(key)))
    place = np.arange(len(key)) - np.repeat(first, length)  # position among the impressions with the same link
    starts = np.flatnonzero((place % most == 0) | (key == 0))
    shuffled = rng.permutation(len(starts))
    lengths = np.diff(np.append(starts, len(key)))[shuffled]
    ends = np.cumsum(lengths)
    return together[np.arange(len(key)) + np.repeat(starts[shuffled] - (ends - lengths), lengths)]


@dataclass(frozen=True)
class _Ids:
    """A group of a batch, with the embedding rows of its ids in place of their positions in `Batch.rows`."""

    fields: tuple[int, ...]
    rows: np.ndarray  # int64 (n,)
    offsets: np.ndarray | None = None
    weights: np.ndarray | None = None
    pairs: bool = False

    def group(self, position: Tensor, expand: Tensor | None, size: int, table: str) -> Group:
        """The group. Shape: position int64 (n,)."""
        offsets, weights = (None if x is None else torch.from_numpy(x) for x in (self.offsets, self.weights))
        return Group(self.fields, position, offsets, weights, expand, size, table, self.pairs)


class _TableFields:
    """The fields of one table: those with one id per row, the numbers that are interpolated, and those of bags.

    Args:
        fields: all fields that the network reads.
        content: field -> the bags of all rows of a side table; None for the impressions.
        interpolate: read numbers as pairs; otherwise each has the id of its bucket.
    """

    def __init__(
        self, fields: Sequence[PlacedField], table: str, content: Mapping[str, Ragged] | None, interpolate: bool
    ) -> None:
        mine = [(i, f) for i, f in enumerate(fields) if f.table == table]
        self._single = _Fields.of((i, f) for i, f in mine if f.single and not (interpolate and f.is_position))
        self._numbers = _Fields.of((i, f) for i, f in mine if interpolate and f.is_position)
        self._bags = _Fields.of((i, f) for i, f in mine if not f.single)
        self.content = content or {}
        self.rows = len(next(iter(self.content.values()))) if self.content else 0
        self.ids_a_row = sum(len(self.content[f.name].values) for _, f in mine if self.content) / max(1, self.rows)
        if content is not None:  # of all rows, computed once
            self._rows_of_single = self._single.rows_in(content)
            self._pairs_of_numbers = self._numbers.pairs_in(content)

    def ids(self, content: Mapping[str, Ragged], rows: np.ndarray | None, size: int) -> Iterator[_Ids]:
        """The groups of these fields.

        Args:
            content: field -> bags.
            rows: the rows of the table that the batch uses; None: all rows of `content`, in order.
            size: the number of these rows.
        """
        if self._single.fields:
            single = self._single.rows_in(content) if rows is None else self._rows_of_single[rows]
            yield _Ids(self._single.indices, single.ravel())
        if self._numbers.fields:
            pairs = self._numbers.pairs_in(content) if rows is None else [x[rows] for x in self._pairs_of_numbers]
            yield _Ids(self._numbers.indices, pairs[0].ravel(), None, pairs[1].ravel(), pairs=True)
        if self._bags.fields:
            bags = [content[f.name] if rows is None else content[f.name].take(rows) for f in self._bags.fields]
            yield _Ids(self._bags.indices, *_joined(self._bags.fields, bags, size))


@dataclass(frozen=True)
class _Fields:
    """Some fields of one table, which become one group."""

    indices: tuple[int, ...]  # F_g indices into all fields
    fields: list[PlacedField]  # F_g

    @staticmethod
    def of(fields: Iterable[tuple[int, PlacedField]]) -> _Fields:
        fields = list(fields)
        return _Fields(tuple(i for i, _ in fields), [f for _, f in fields])

    def rows_in(self, content: Mapping[str, Ragged]) -> np.ndarray:
        """The embedding rows of fields with one id per row. Shape: -> int64 (n, F_g)."""
        rows = np.empty((len(content[self.fields[0].name]) if self.fields else 0, len(self.fields)), np.int64)
        for i, f in enumerate(self.fields):
            values = content[f.name].values
            np.add(buckets_of(values) if f.is_position else values, f.offset, out=rows[:, i])
        return rows

    def pairs_in(self, content: Mapping[str, Ragged]) -> tuple[np.ndarray, np.ndarray]:
        """The two embedding rows of each number, and their weights. Shape: -> int64 and float32 (n, F_g, 2)."""
        positions = np.empty((len(content[self.fields[0].name]) if self.fields else 0, len(self.fields)), np.float32)
        for i, f in enumerate(self.fields):
            positions[:, i] = content[f.name].values
        rows, weights = pairs_of(positions, np.array([f.size for f in self.fields]))
        rows += np.array([f.offset for f in self.fields], np.int64)[:, None]
        return rows, weights


def _joined(
    fields: list[PlacedField], bags: list[Ragged], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The bags of several fields, one field after the other, for m rows.

    Returns: embedding rows int64 (n,), offsets int64 (F_g * m + 1,), weights float32 (n,) or None.
    """
    ids = np.concatenate([b.values.astype(np.int64) + f.offset for f, b in zip(fields, bags, strict=True)])
    starts = np.cumsum([0, *(len(b.values) for b in bags)])
    offsets = np.empty(len(bags) * size + 1, np.int64)
    for i, (b, start) in enumerate(zip(bags, starts, strict=False)):
        assert b.offsets is not None
        offsets[i * size : (i + 1) * size] = b.offsets[:-1] + start
    offsets[-1] = starts[-1]
    if all(b.weights is None for b in bags):
        return ids, offsets, None
    return (
        ids,
        offsets,
        np.concatenate([np.ones(len(b.values), np.float32) if b.weights is None else b.weights for b in bags]),
    )
