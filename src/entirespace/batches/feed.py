"""Rows of the embedding -> batches: sampled as the method says, shuffled, each row of a side table named once."""

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
"""(labels of n impressions, rng) -> int (n,): how many times each is seen in this epoch; or samples with own labels."""


class Feed:
    """Makes batches of impressions. Holds the side tables, with ids as rows of the one embedding table.

    Args:
        fields: all fields, in the layout's order.
        tables: side table -> field -> the bags of all its rows; row 0 is the empty row.
        rows: rows of the embedding table in all.

    One thread at a time may use it.
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
        """The feed of a dataset: made once, and kept as long as the dataset is."""
        if dataset not in _feeds:
            _feeds[dataset] = Feed(dataset.fields, dataset.tables, dataset.rows)
        return _feeds[dataset]

    def batch(self, rows: Rows) -> Batch:
        """The batch of these impressions. Shape: B rows -> Batch of B."""
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
        """Every impression once, in order: for predictions."""
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
        """One epoch of a part: each impression as often as `samples` says, in random order.

        Row groups are read in random order, and `shuffle_rows` sampled impressions at a time are shuffled whole: one
        by one, or in blocks of at most `block` that share a row of the widest side table, which a batch then reads
        once for all of them. The last batch may be smaller.
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
    """The impressions of a chunk as a method samples them."""
    assert chunk.labels is not None
    found = samples(chunk.labels, rng)
    if isinstance(found, Samples):
        return replace(chunk.take(found.rows), labels=found.labels)
    return chunk.take(np.repeat(np.arange(len(chunk)), found))


def sampled(found: np.ndarray | Samples) -> int:
    """How many samples a method takes."""
    return len(found.rows) if isinstance(found, Samples) else int(found.sum())


def blocks(link: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """A random order in which impressions with the same link stand together, at most `most` of them.

    Row 0 of a side table stands for a missing key: those impressions share nothing, and go one by one.
    Shape: link int32 (n,) -> int64 (n,), a permutation.

    >>> link = np.array([7, 8, 0, 8, 7, 0, 7])
    >>> link[blocks(link, 2, np.random.default_rng(3))].tolist()
    [0, 0, 8, 8, 7, 7, 7]
    """
    together = rng.permutation(len(link))  # else a key's first impressions would always share a block
    together = together[np.argsort(link[together], kind="stable")]
    key = link[together]
    first = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1]))) if len(key) else np.zeros(0, np.int64)
    length = np.diff(np.append(first, len(key)))
    place = np.arange(len(key)) - np.repeat(first, length)  # among the impressions with its link
    starts = np.flatnonzero((place % most == 0) | (key == 0))
    shuffled = rng.permutation(len(starts))
    lengths = np.diff(np.append(starts, len(key)))[shuffled]
    ends = np.cumsum(lengths)
    return together[np.arange(len(key)) + np.repeat(starts[shuffled] - (ends - lengths), lengths)]


class _TableFields:
    """The fields of one table, single-valued ones together, bags together."""

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
        """Rows of the embedding table of the single-valued fields. Shape: int64 (n, F_g)."""
        matrix = np.empty((len(content[self._single[0].name]), len(self._single)), np.int64)
        for i, f in enumerate(self._single):
            values = content[f.name].values
            np.add(buckets_of(values) if f.kind == "number" else values, f.offset, out=matrix[:, i])
        return matrix

    def groups(
        self, content: Mapping[str, Ragged], rows: np.ndarray | None, size: int
    ) -> Iterator[tuple[tuple[int, ...], np.ndarray, np.ndarray | None, np.ndarray | None]]:
        """(fields, ids, offsets, weights) of the group of single-valued fields and of the group of bags.

        `rows` are the table's rows that the batch holds; None: all of `content`, in order.
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
    """Bags of several fields as one run of bags, field-major: ids int64 (n,), offsets int64 (F_g * m + 1,), weights."""
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
    """The group, once the positions of all ids of the batch are known."""
    return lambda positions: Group(
        fields,
        positions[place],
        None if offsets is None else torch.from_numpy(offsets),
        None if weights is None else torch.from_numpy(weights),
        expand,
        size,
        table,
    )
