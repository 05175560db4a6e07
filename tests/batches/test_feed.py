"""Batches have the ids and weights of their impressions, and epochs have the samples that the method asks for."""
# ruff: noqa: E501 (one schema or case per line)

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entirespace.batches.batch import Batch
from entirespace.batches.feed import Feed, blocks
from entirespace.core.labels import Labels
from entirespace.core.rows import Ragged, Rows
from entirespace.dataset.dataset import Dataset
from entirespace.kernels.compact import Compactor

torch.set_num_threads(1)

HEAD = """
[impressions]
files = ["log.csv"]
labels = { click = "y", conversion = "z" }
[split]
train = 0.8
validation = 0.1
"""
SINGLE = "[impressions.fields]\nitem = {}\nscene = {}\n"
BAGS = '[impressions.fields]\ntags = { kind = "ids", separator = "|", weights = "w" }\nplain = { kind = "ids", from = "tags", separator = "|" }\n'
MIXED = SINGLE + BAGS.partition("\n")[2]
USER = """
[tables.user]
files = ["user.csv"]
key = "uid"
[tables.user.fields]
uid = {}
likes = { kind = "ids", separator = "|", weights = "how" }
age = { kind = "number" }
"""
SHOP = """
[tables.shop]
files = ["shop.csv"]
key = "sid"
[tables.shop.fields]
sells = { kind = "ids", separator = "|" }
"""
SCHEMAS = {
    "single": HEAD + SINGLE,
    "bags": HEAD + BAGS,
    "mixed": HEAD + MIXED,
    "star": HEAD + MIXED + USER + SHOP,
    "side only": HEAD + USER,
}


def write(log: Any, rows: int) -> None:
    r = random.Random(5)

    def bag(ids: str) -> str:
        chosen = [r.choice(ids) for _ in range(r.choice([0, 1, 4]))]
        return "|".join(chosen) + "," + "|".join(r.choice(["1", "0.5", "2"]) for _ in chosen)

    log.write("user.csv", "uid,likes,how,age\n" + "".join(f"u{i},{bag('abcd')},{i}\n" for i in range(6)))
    log.write("shop.csv", "sid,sells,x\n" + "".join(f"s{i},{bag('klm')}\n" for i in range(4)))
    lines = ["item,scene,tags,w,uid,sid,y,z"]
    for _ in range(rows):
        place = f"u{r.randrange(7)},s{r.randrange(6)}"  # u6, s4 and s5 have no row
        lines.append(f"{r.choice('pqrst')},{r.choice('xy')},{bag('efgh')},{place},{r.choice('0001')},{r.choice('01')}")
    log.write("log.csv", "\n".join(lines))


@pytest.fixture(scope="module")
def datasets(new_log, few_rows) -> dict[str, Dataset]:
    made = {}
    for name, schema in SCHEMAS.items():
        log = new_log()
        write(log, 120)
        with few_rows():
            made[name] = log.prepare(schema)
    return made


@pytest.fixture(params=SCHEMAS)
def dataset(request, datasets) -> Dataset:
    return datasets[request.param]


@pytest.fixture
def star(datasets) -> Dataset:
    return datasets["star"]


Impression = tuple[bool, bool, tuple[tuple[tuple[int, float], ...], ...]]
"""Click, conversion, and of each field of the dataset its bag of (row of the one embedding table, weight)."""


def slow(plain: Any, dataset: Dataset, part: str) -> list[Impression]:
    """The impressions of a part, straight from the files."""
    first = {f.name: f.offset for f in dataset.fields}
    return [
        (
            row["click"],
            row["conversion"],
            tuple(tuple((i + first[f.name], w) for i, w in row[f.name]) for f in dataset.fields),
        )
        for row in plain(dataset.path).part(part)
    ]


def read(batch: Batch, fields: int) -> list[Impression]:
    """The impressions of a batch, from its groups alone."""
    rows = batch.rows.tolist()
    bags: list[list[Any]] = [[None] * fields for _ in range(len(batch))]
    for group in batch.groups:
        width = len(group.fields)
        for b in range(len(batch)):
            row = b if group.expand is None else int(group.expand[b])
            assert 0 <= row < group.size
            for k, f in enumerate(group.fields):
                if group.offsets is None:
                    at = range(row * width + k, row * width + k + 1)
                else:
                    bag = k * group.size + row
                    at = range(int(group.offsets[bag]), int(group.offsets[bag + 1]))
                weights = [1.0] * len(group.position) if group.weights is None else group.weights.tolist()
                assert bags[b][f] is None  # each field stands in one group
                bags[b][f] = tuple((rows[int(group.position[i])], weights[i]) for i in at)
    return [(bool(y), bool(z), tuple(bag)) for y, z, bag in zip(batch.click, batch.conversion, bags, strict=True)]


def check(batch: Batch, dataset: Dataset) -> None:
    """What the network and the optimizer assume of a batch."""
    assert batch.rows.dtype == torch.int64
    assert len(set(batch.rows.tolist())) == len(batch.rows)  # each distinct row once
    positions = torch.cat([group.position for group in batch.groups])
    assert set(positions.tolist()) == set(range(len(batch.rows)))  # and no row that is not used
    assert (batch.click.dtype, batch.conversion.dtype) == (torch.bool, torch.bool)
    assert sorted(f for group in batch.groups for f in group.fields) == list(range(len(dataset.fields)))
    for group in batch.groups:
        assert group.position.dtype == torch.int64
        if group.offsets is None:
            assert len(group.position) == group.size * len(group.fields)
        else:
            assert group.offsets.dtype == torch.int64
            assert len(group.offsets) == group.size * len(group.fields) + 1
            assert int(group.offsets[0]) == 0
            assert int(group.offsets[-1]) == len(group.position)
        if group.weights is not None:
            assert group.weights.dtype == torch.float32
            assert len(group.weights) == len(group.position)
        if group.expand is None:
            assert group.size == len(batch)
        else:
            assert group.expand.dtype == torch.int64
            assert sorted(set(group.expand.tolist())) == list(range(group.size))  # each side-table row at most once


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batches_in_order_are_the_impressions_one_by_one(dataset, plain, batch_size):
    feed = Feed.of(dataset)
    for part in (dataset.train, dataset.validation, dataset.test):
        batches = list(feed.in_order(part.chunks(), batch_size))
        for batch in batches:
            assert len(batch) <= batch_size
            check(batch, dataset)
        got = [impression for batch in batches for impression in read(batch, len(dataset.fields))]
        assert got == slow(plain, dataset, part.name)


def test_a_batch_of_any_rows_with_repeats(star, plain):
    feed = Feed.of(star)
    chunk, expected = next(star.train.chunks()), slow(plain, star, "train")
    for rows in ([0], [7, 7, 7], [3, 1, 2, 1, 0]):
        batch = feed.batch(chunk.take(np.array(rows)))
        check(batch, star)
        assert read(batch, len(star.fields)) == [expected[r] for r in rows]


def test_a_side_table_row_occurs_once_in_a_batch(star):
    chunk = next(star.train.chunks())
    batch = Feed.of(star).batch(chunk.take(np.repeat(np.arange(len(chunk)), 5)))
    for group in batch.groups:
        tables = {star.fields[f].table for f in group.fields}
        assert len(tables) == 1
        (table,) = tables
        distinct = len(batch) if table == "impressions" else len(np.unique(chunk.links[table]))
        assert group.size == distinct
    sizes = {star.fields[g.fields[0]].table: g.size for g in batch.groups}
    assert sizes["user"] < len(batch)


def test_missing_weights_are_1(star):
    batch = next(iter(Feed.of(star).in_order(star.train.chunks(), 50)))
    weighted = {f for g in batch.groups if g.weights is not None for f in g.fields}
    names = {star.fields[f].name for f in weighted}
    assert names == {"tags", "plain", "likes"}  # one group holds tags and plain


# Epochs


def once(labels: Labels, rng: np.random.Generator) -> np.ndarray:
    return np.ones(len(labels), np.int64)


def epoch(dataset: Dataset, samples: Any, seed: int = 0, **how: int) -> list[list[Impression]]:
    how = {"batch_size": 7, "shuffle_rows": 1000, **how}
    feed = Feed.of(dataset)
    shuffled = feed.shuffled(dataset.train, samples, rng=np.random.default_rng(seed), **how)
    return [read(feed.batch(rows), len(dataset.fields)) for rows in shuffled]


@pytest.mark.parametrize("shuffle_rows", [1, 5, 20, 33, 1000])
@pytest.mark.parametrize("batch_size", [1, 7, 16, 500])
@pytest.mark.parametrize("block", [1, 3])
def test_an_epoch_shows_each_impression_once(star, plain, batch_size, shuffle_rows, block):
    expected = slow(plain, star, "train")
    batches = epoch(star, once, batch_size=batch_size, shuffle_rows=shuffle_rows, block=block)
    sizes = [len(b) for b in batches]
    assert sizes == [batch_size] * (len(expected) // batch_size) + [len(expected) % batch_size] * bool(
        len(expected) % batch_size
    )
    got = [impression for batch in batches for impression in batch]
    assert Counter(got) == Counter(expected)
    assert got != expected


def test_an_epoch_shows_each_impression_as_often_as_samples_say(dataset, plain):
    def samples(labels: Labels, rng: np.random.Generator) -> np.ndarray:
        return np.where(labels.conversion, 3, np.where(labels.click, 1, 0))

    expected = [i for i in slow(plain, dataset, "train") for _ in range(3 if i[1] else int(i[0]))]
    for shuffle_rows in (4, 1000):
        got = [i for batch in epoch(dataset, samples, shuffle_rows=shuffle_rows) for i in batch]
        assert Counter(got) == Counter(expected)


def test_samples_that_take_nothing_make_no_batch(star):
    assert epoch(star, lambda labels, rng: np.zeros(len(labels), np.int64)) == []
    assert epoch(star, lambda labels, rng: np.zeros(len(labels), np.int64), shuffle_rows=1) == []


def test_an_epoch_depends_only_on_the_generator(star):
    def half(labels: Labels, rng: np.random.Generator) -> np.ndarray:
        return (rng.random(len(labels)) < 0.5).astype(np.int64)

    one = epoch(star, half, seed=1, shuffle_rows=20)
    assert epoch(star, half, seed=1, shuffle_rows=20) == one
    assert epoch(star, half, seed=2, shuffle_rows=20) != one


def test_a_shuffle_of_all_rows_is_uniform(star, plain, monkeypatch):
    """An impression's place in the epoch is uniform: over 100 epochs its mean is the middle, +-4 deviations."""
    expected = slow(plain, star, "train")
    number = {impression: i for i, impression in enumerate(expected)}
    once_only = [i for i, n in Counter(expected).items() if n == 1]
    feed, rng = Feed.of(star), np.random.default_rng(3)
    places = np.zeros((100, len(expected)))
    chunks = list(star.train.chunks())
    monkeypatch.setattr(star.train, "chunks", lambda g, read: iter([chunks[i] for i in g.permutation(len(chunks))]))
    for e in range(100):
        order = [
            i
            for rows in feed.shuffled(star.train, once, batch_size=50, shuffle_rows=1000, rng=rng)
            for i in read(feed.batch(rows), len(star.fields))
        ]
        for place, impression in enumerate(order):
            places[e, number[impression]] = place
    rows = [number[i] for i in once_only]
    n = len(expected)
    neighbours = (np.diff(places, axis=1) == 1).sum(axis=1)  # about one in a shuffle; row groups keep most
    assert neighbours.mean() < 2
    deviation = np.sqrt((n**2 - 1) / 12 / 100)
    assert abs(places[:, rows].mean(axis=0) - (n - 1) / 2).max() < 4 * deviation


def test_blocks_share_a_row_of_the_widest_side_table(star):
    """Users have more ids than shops; in blocks of 4, neighbours share their user much more often than by chance."""

    def same(block: int) -> float:
        users, feed = [], Feed.of(star)
        rng = np.random.default_rng(1)
        shuffled = feed.shuffled(star.train, once, batch_size=500, shuffle_rows=1000, block=block, rng=rng)
        for b in map(feed.batch, shuffled):
            users += next(g.expand for g in b.groups if g.expand is not None).tolist()
        return float(np.mean(np.diff(users) == 0))

    assert same(4) > 0.5
    assert same(1) < 0.35


# Small parts


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(2, 6), st.integers(0, 99))
def test_blocks_share_a_side_table_row_and_have_bounded_length(link, most, seed):
    links = np.array(link, np.int32)
    order = blocks(links, most, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(link)))
    # as few pieces as the bound allows: neighbours with other links, at least, stand between two pieces
    pieces = sum(-(-link.count(key) // most) for key in {1, 2, 3, 4}) + link.count(0)
    shown = links[order]
    assert np.count_nonzero(np.diff(shown)) <= max(0, pieces - 1)


def test_blocks_are_random_among_the_impressions_of_a_row():
    """In 400 draws of five impressions in blocks of two, each pair shares a block about as often as any other."""
    pairs: Counter[tuple[int, int]] = Counter()
    first: Counter[int] = Counter()
    rng = np.random.default_rng(0)
    for _ in range(400):
        order = blocks(np.full(5, 7, np.int32), 2, rng).tolist()
        first[order[0]] += 1
        pairs.update(pairwise(order))
    assert min(pairs.values()) > 40  # 1600 / 20 = 80 expected
    assert min(first.values()) > 50  # 80 expected


@given(st.lists(st.lists(st.integers(0, 29), max_size=12), max_size=4))
def test_distinct_rows_in_order_of_appearance(calls):
    compactor = Compactor(30)
    for ids in calls:  # its scratch is not cleared between calls
        distinct, position = compactor(np.array(ids, np.int64))
        assert distinct.tolist() == list(dict.fromkeys(ids))
        assert distinct[position].tolist() == ids


@given(st.lists(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=4), min_size=1, max_size=4), st.booleans())
def test_concatenated_chunks(pieces, weighted):
    columns = []
    for bags in pieces:
        flat = np.array([i for bag in bags for i in bag], np.int32)
        offsets = np.concatenate(([0], np.cumsum([len(b) for b in bags]))).astype(np.int64)
        n = len(bags)
        ragged = Ragged(flat, offsets, flat.astype(np.float32) / 2 if weighted else None)
        single = Ragged(np.arange(n, dtype=np.int32))
        labels = Labels({"click": np.arange(n) % 2 == 0}, weight=np.arange(n, dtype=np.float32))
        columns.append(Rows(n, {"b": ragged, "s": single}, {"u": np.arange(n) + 5}, labels))
    whole = Rows.concatenate(columns)
    assert len(whole) == sum(map(len, pieces))
    assert whole.labels.click.tolist() == [c for p in columns for c in p.labels.click]
    assert whole.labels.weight.tolist() == [c for p in columns for c in p.labels.weight]
    assert whole.links["u"].tolist() == [c for p in columns for c in p.links["u"]]
    assert whole.fields["s"].values.tolist() == [i for p in pieces for i in range(len(p))]
    b = whole.fields["b"]
    assert b.offsets is not None
    got = [b.values[i:j].tolist() for i, j in zip(b.offsets[:-1], b.offsets[1:], strict=True)]
    assert got == [bag for p in pieces for bag in p]
    assert (b.weights is not None) == weighted
    if b.weights is not None:
        assert b.weights.tolist() == (b.values / 2).tolist()


def test_a_batch_moves_to_a_device_unchanged(star):
    batch = next(iter(Feed.of(star).in_order(star.train.chunks(), 9)))
    moved = batch.to("cpu")
    assert read(moved, len(star.fields)) == read(batch, len(star.fields))
    assert moved.given == {}
    assert {t.device.type for t in (moved.rows, moved.click, moved.groups[0].position)} == {"cpu"}
    assert batch.to("meta").groups[-1].position.device.type == "meta"
