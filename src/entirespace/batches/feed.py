"""Encoded impressions -> batches: sampled by the method's rule, shuffled, each side-table row once per batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from ..core.labels import Labels, Samples
from ..core.rows import IMPRESSIONS, PlacedField, Ragged, Rows
from ..dataset.dataset import Dataset, Part
from ..features.encoders import buckets_of
from ..kernels.compact import Compactor
from .batch import Batch, Group

Sampling = Callable[[Labels, np.random.Generator], np.ndarray | Samples]
"""(labels of n impressions, rng) -> int (n,), how often each occurs in this epoch; or samples with other labels."""


class Feed:
    """Makes batches of impressions. Holds the side tables in memory, with ids as rows of the embedding table.

    Only one thread at a time may use a feed.

    Args:
        fields: all fields, in the layout's order.
        tables: side table -> field -> the bags of all its rows. Row 0 is the empty row.
        rows: the number of rows of the embedding table.
    """

    def __init__(self, fields: Sequence[PlacedField], tables: Mapping[str, Mapping[str, Ragged]], rows: int) -> None:
        self._tables = {
            table: _TableFields(fields, table, content)
            for table, content in ((IMPRESSIONS, None), *tables.items())
            if any(f.table == table for f in fields)
        }
        self._compactor = Compactor(rows)
        self._used = {name: Compactor(table.rows) for name, table in self._tables.items() if name != IMPRESSIONS}
        self._widest = max(self._used, key=lambda name: self._tables[name].ids_a_row, default=None)

    @staticmethod
    def of(dataset: Dataset) -> Feed:
        """The feed of a dataset. It is made once, and kept in memory as long as the dataset object."""
        if dataset not in _feeds:
            _feeds[dataset] = Feed(dataset.fields, dataset.tables, dataset.rows)
        return _feeds[dataset]

    def batch(self, rows: Rows) -> Batch:
        """The batch of the given impressions. Shape: Rows of B -> Batch of B."""
        ids: list[np.ndarray] = []
        groups: list[Callable[[Tensor], Group]] = []
        taken = 0
        for name, table in self._tables.items():
            if name == IMPRESSIONS:
                content, used, expand = rows.fields, None, None
                size = len(rows)
            else:
                used, inverse = self._used[name](rows.links[name])
                content, expand, size = table.content, torch.from_numpy(inverse), len(used)
            for fields, flat, offsets, weights in table.groups(content, used, size):
                ids.append(flat)
                place = slice(taken, taken + len(flat))
                taken += len(flat)
                groups.append(_group(fields, place, offsets, weights, expand, size, name))
        distinct, position = self._compactor(np.concatenate(ids) if ids else np.zeros(0, np.int64))
        positions, labels = torch.from_numpy(position), rows.labels
        made = Batch(len(rows), torch.from_numpy(distinct), tuple(group(positions) for group in groups))
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

    def epoch(
        self,
        part: Part,
        samples: Sampling,
        *,
        batch_size: int,
        shuffle_rows: int,
        block: int = 1,
        rng: np.random.Generator,
    ) -> Iterator[Batch]:
        """The batches of one epoch of a part: each impression as often as `samples` says, in random order.

        Row groups are read in random order. Then about `shuffle_rows` sampled impressions at a time are shuffled.

        Args:
            part: the part to read.
            samples: how many times each impression occurs.
            batch_size: samples per batch; the last batch may be smaller.
            shuffle_rows: how many samples to hold in memory and shuffle together.
            block: keep up to this many impressions that share a row of the widest side table next to each other, so
                that a batch reads the row once for all of them. 1: fully random order.
            rng: the source of the sampling and the order.
        """
        held: list[Rows] = []
        chunks, more = part.chunks(rng), True
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
                yield self.batch(mixed.take(order[start : min(start + batch_size, stop)]))
            held = [mixed.take(order[stop:])]


_feeds: WeakKeyDictionary[Dataset, Feed] = WeakKeyDictionary()


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


class _TableFields:
    """The fields of one table: those with one id per row, and those of bags.

    Args:
        content: field -> the bags of all rows of a side table; None for the impressions.
    """

    def __init__(self, fields: Sequence[PlacedField], table: str, content: Mapping[str, Ragged] | None) -> None:
        index = {f.name: i for i, f in enumerate(fields)}
        mine = [f for f in fields if f.table == table]
        self._single = [f for f in mine if f.single]
        self._bags = [f for f in mine if not f.single]
        self._indices = [tuple(index[f.name] for f in some) for some in (self._single, self._bags)]
        self.content = content or {}
        self.rows = len(next(iter(self.content.values()))) if self.content else 0
        self.ids_a_row = sum(len(bags.values) for bags in self.content.values()) / max(1, self.rows)
        self._matrix = self._stack(self.content) if content is not None and self._single else None

    def _stack(self, content: Mapping[str, Ragged]) -> np.ndarray:
        """The embedding rows of the fields with one id per row. Shape: int64 (n, F_g)."""
        matrix = np.empty((len(content[self._single[0].name]), len(self._single)), np.int64)
        for i, f in enumerate(self._single):
            values = content[f.name].values
            np.add(buckets_of(values) if f.kind == "number" else values, f.offset, out=matrix[:, i])
        return matrix

    def groups(
        self, content: Mapping[str, Ragged], rows: np.ndarray | None, size: int
    ) -> Iterator[tuple[tuple[int, ...], np.ndarray, np.ndarray | None, np.ndarray | None]]:
        """(fields, embedding rows, offsets, weights) of the fields with one id per row, then of the fields of bags.

        Args:
            content: field -> bags.
            rows: the rows of the table that the batch uses; None: all rows of `content`, in order.
            size: the number of these rows.
        """
        if self._single:
            if rows is None:
                yield self._indices[0], self._stack(content).ravel(), None, None
            else:
                assert self._matrix is not None
                yield self._indices[0], self._matrix[rows].ravel(), None, None
        if self._bags:
            bags = [content[f.name] if rows is None else content[f.name].take(rows) for f in self._bags]
            yield self._indices[1], *_joined(self._bags, bags, size)


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


def _group(
    fields: tuple[int, ...],
    place: slice,
    offsets: np.ndarray | None,
    weights: np.ndarray | None,
    expand: Tensor | None,
    size: int,
    table: str,
) -> Callable[[Tensor], Group]:
    """A function that makes the group when the positions of all ids of the batch are known."""
    return lambda positions: Group(
        fields,
        positions[place],
        None if offsets is None else torch.from_numpy(offsets),
        None if weights is None else torch.from_numpy(weights),
        expand,
        size,
        table,
    )
