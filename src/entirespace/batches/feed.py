"""A part of a dataset -> batches: sampled as the method says, shuffled, side rows named once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ..core.rows import IMPRESSIONS, Ragged
from ..dataset.dataset import Columns, Dataset, DatasetField, Part
from ..kernels.compact import Compactor
from .batch import Batch, Group

Samples = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""(click, conversion, rng) of n impressions -> int (n,): how many times each is seen in this epoch."""


class Feed:
    """Makes batches from a dataset's columns. Holds the side tables, with ids as rows of the one embedding table."""

    def __init__(self, dataset: Dataset) -> None:
        self._tables = {
            table: _TableFields(dataset, table, content)
            for table, content in ((IMPRESSIONS, None), *dataset.tables.items())
        }
        self._tables = {name: table for name, table in self._tables.items() if table.fields}
        self._compactor = Compactor(dataset.rows)
        self._used = {name: Compactor(table.rows) for name, table in self._tables.items() if name != IMPRESSIONS}
        self._widest = max(self._used, key=lambda name: self._tables[name].ids_a_row, default=None)

    def batch(self, columns: Columns) -> Batch:
        """The batch of these impressions. Shape: B rows -> Batch of B."""
        ids: list[np.ndarray] = []
        groups: list[Callable[[Tensor], Group]] = []
        taken = 0
        for name, table in self._tables.items():
            if name == IMPRESSIONS:
                content, rows, expand = columns.fields, None, None
                size = len(columns)
            else:
                rows, inverse = self._used[name](columns.links[name])
                content, expand, size = table.content, torch.from_numpy(inverse), len(rows)
            for fields, flat, offsets, weights in table.groups(content, rows, size):
                ids.append(flat)
                place = slice(taken, taken + len(flat))
                taken += len(flat)
                groups.append(_group(fields, place, offsets, weights, expand, size, name))
        rows, position = self._compactor(np.concatenate(ids) if ids else np.zeros(0, np.int64))
        positions = torch.from_numpy(position)
        return Batch(
            click=torch.from_numpy(columns.click),
            conversion=torch.from_numpy(columns.conversion),
            rows=torch.from_numpy(rows),
            groups=tuple(group(positions) for group in groups),
        )

    def in_order(self, part: Part, batch_size: int) -> Iterator[Batch]:
        """Every impression once, in the log's order: for predictions."""
        for chunk in part.chunks():
            for start in range(0, len(chunk), batch_size):
                yield self.batch(chunk.take(np.arange(start, min(start + batch_size, len(chunk)))))

    def epoch(
        self,
        part: Part,
        samples: Samples,
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
        held: list[Columns] = []
        chunks, more = part.chunks(rng), True
        while more:
            more = False
            for chunk in chunks:
                times = samples(chunk.click, chunk.conversion, rng)
                held.append(chunk.take(np.repeat(np.arange(len(chunk)), times)))
                if sum(map(len, held)) >= shuffle_rows:
                    more = True
                    break
            if not held:
                return
            mixed = concatenate(held)
            if block > 1 and self._widest is not None:
                order = blocks(mixed.links[self._widest], block, rng)
            else:
                order = rng.permutation(len(mixed))
            stop = len(order) // batch_size * batch_size if more else len(order)
            for start in range(0, stop, batch_size):
                yield self.batch(mixed.take(order[start : min(start + batch_size, stop)]))
            held = [mixed.take(order[stop:])]


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

    def __init__(self, dataset: Dataset, table: str, content: dict[str, Ragged] | None) -> None:
        index = {f.name: i for i, f in enumerate(dataset.fields)}
        self.fields = [f for f in dataset.fields if f.table == table]
        self._single = [f for f in self.fields if f.single]
        self._bags = [f for f in self.fields if not f.single]
        self._indices = [tuple(index[f.name] for f in fields) for fields in (self._single, self._bags)]
        self._first = np.array([f.offset for f in self._single], np.int64)
        self.content = content or {}
        self.rows = len(next(iter(self.content.values()))) if self.content else 0
        self.ids_a_row = sum(len(bags.values) for bags in self.content.values()) / max(1, self.rows)
        self._matrix = self._stack(self.content) if content is not None and self._single else None

    def _stack(self, content: dict[str, Ragged]) -> np.ndarray:
        """Rows of the embedding table of the single-valued fields. Shape: int64 (n, F_g)."""
        matrix = np.empty((len(content[self._single[0].name]), len(self._single)), np.int64)
        for i, f in enumerate(self._single):
            np.add(content[f.name].values, f.offset, out=matrix[:, i])
        return matrix

    def groups(
        self, content: dict[str, Ragged], rows: np.ndarray | None, size: int
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
    fields: list[DatasetField], bags: list[Ragged], size: int
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


def concatenate(pieces: list[Columns]) -> Columns:
    """The impressions of several chunks, one after the other."""
    if len(pieces) == 1:
        return pieces[0]
    first = pieces[0]
    return Columns(
        np.concatenate([p.click for p in pieces]),
        np.concatenate([p.conversion for p in pieces]),
        {name: _concatenate_bags([p.fields[name] for p in pieces]) for name in first.fields},
        {name: np.concatenate([p.links[name] for p in pieces]) for name in first.links},
    )


def _concatenate_bags(pieces: list[Ragged]) -> Ragged:
    values = np.concatenate([p.values for p in pieces])
    weights = None if pieces[0].weights is None else np.concatenate([_weights(p) for p in pieces])
    if pieces[0].offsets is None:
        return Ragged(values, None, weights)
    starts = np.cumsum([0, *(len(p.values) for p in pieces)])
    offsets = [p.offsets[:-1] + s for p, s in zip(pieces, starts, strict=False) if p.offsets is not None]
    return Ragged(values, np.concatenate([*offsets, starts[-1:]]), weights)


def _weights(bags: Ragged) -> np.ndarray:
    assert bags.weights is not None
    return bags.weights
