"""Numbers that are interpolated: a batch, its vectors and their gradients, against one number at a time."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import entirespace as es
from entirespace.batches.batch import Batch
from entirespace.batches.feed import Feed
from entirespace.config import NetworkConfig
from entirespace.core.rows import Rows
from entirespace.dataset.dataset import Dataset
from entirespace.features.chosen import ChosenFields
from entirespace.features.encoders import Knots
from entirespace.network.embedding import TORCH, Lookups
from entirespace.network.fields import BatchFields
from entirespace.training.embedding_kernels import KernelLookups

N, D = 240, 5
PRICES = [None, -2.0, 0.0, 0.25, 1.0, 1.5, 3.0, 7.0, 1e6]
NUMBERS = {"price": 4, "flag": 2, "none": 3, "age": 4}  # field -> buckets
LOOKUPS = pytest.mark.parametrize("lookups", [TORCH, KernelLookups()], ids=["torch", "kernels"])


@pytest.fixture(scope="module")
def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(4)
    at = np.arange(N)
    log = pl.DataFrame(
        {
            "t": at,
            "y": rng.integers(0, 2, N),
            "z": rng.integers(0, 2, N),
            "item": rng.integers(0, 5, N),
            "tags": [[int(i) for i in rng.integers(0, 4, i % 3)] for i in at],
            "price": [PRICES[i] for i in rng.integers(0, len(PRICES), N)],
            "flag": (rng.random(N) < 0.1).astype(float),  # one knot
            "none": pl.Series([None] * N, dtype=pl.Float64),  # no knot
            "uid": rng.integers(0, 14, N),  # 12 and 13 have no row
        }
    )
    ages = [None, *(float(x) for x in rng.integers(18, 60, 11))]
    return log, pl.DataFrame({"uid": np.arange(12), "age": ages, "town": np.arange(12) % 3})


@pytest.fixture(scope="module")
def data(frames) -> Dataset:
    log, users = frames
    number = {name: {"kind": "number", "buckets": buckets} for name, buckets in NUMBERS.items()}
    fields = {"price": number["price"], "item": "id", "flag": number["flag"], "tags": "ids", "none": number["none"]}
    side = es.SideTable(users, key="uid", fields={"town": "id", "age": number["age"]})
    how = {"click": "y", "conversion": "z", "order": "t", "train": 0.5, "validation": 0}
    return es.from_frame(log, fields=fields, tables={"user": side}, **how)


@pytest.fixture(scope="module")
def chunk(data: Dataset) -> Rows:
    return Rows.concatenate([rows for part in data.parts for rows in part.chunks()])


@pytest.fixture(scope="module")
def weight(data: Dataset) -> Tensor:
    return torch.randn(data.rows, D, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def feed(data: Dataset, numbers: str = "interpolate", *exclude: str) -> Feed:
    config = NetworkConfig.model_validate({"numbers": numbers, "exclude": exclude})
    return Feed.of(data, ChosenFields.of(data.layout.fields, config))


def slow(data: Dataset, frames: tuple[pl.DataFrame, pl.DataFrame], weight: Tensor, field: str, row: int) -> Tensor:
    """The vector of one number: linear between the values at the knots beside it, constant beyond the outer ones.

    Row k + 1 holds the value at knot k; the knots are numbered from 1. Shape: weight (rows, D) -> (D,).
    """
    log, users = frames
    table = log if field in log.columns else users
    at = row if table is log else log["uid"][row]
    value = table[field][at] if at < len(table) else None
    encoder, place = data.encoders[field], next(f for f in data.fields if f.name == field)
    assert isinstance(encoder, Knots)
    knots, first = encoder.edges.tolist(), place.offset
    if value is None or math.isnan(value):
        return weight[first]
    if len(knots) < 2:  # nothing to interpolate between
        return weight[first + 1 + sum(knot < value for knot in knots)]
    if value <= knots[0]:
        return weight[first + 2]
    if value >= knots[-1]:
        return weight[first + len(knots) + 1]
    k = max(i for i, knot in enumerate(knots) if knot < value)  # knots[k] < value <= knots[k + 1]
    t = (value - knots[k]) / (knots[k + 1] - knots[k])
    return (1 - t) * weight[first + 2 + k] + t * weight[first + 3 + k]


def vectors(batch: Batch, weight: Tensor, lookups: Lookups = TORCH) -> Tensor:
    return BatchFields(weight[batch.rows], batch, lookups).vectors()


def test_the_log_has_numbers_of_every_sort(data):
    """No knot, one, and more; a number on a knot, between two, beyond both ends, and missing."""
    knots = {name: data.encoders[name].edges.tolist() for name in NUMBERS}  # type: ignore[attr-defined]
    assert (len(knots["none"]), len(knots["flag"])) == (0, 1)
    assert len(knots["price"]) > 1 < len(knots["age"])
    inner = [p for p in PRICES if p is not None and knots["price"][0] < p < knots["price"][-1]]
    assert set(inner) - set(knots["price"])
    assert set(inner) & set(knots["price"])
    assert knots["price"][0] > -2.0
    assert knots["price"][-1] < 1e6


@LOOKUPS
@pytest.mark.parametrize("rows", [range(N), [17], [3, 3, 9, 3], []], ids=["all", "one", "repeats", "empty"])
def test_a_number_is_between_the_values_at_the_knots_beside_it(data, frames, chunk, weight, rows, lookups):
    rows = np.array(rows, np.int64)
    batch = feed(data).batch(chunk.take(rows))
    found = vectors(batch, weight, lookups)
    assert found.shape == (len(rows), len(data.fields), D)
    for place, field in enumerate(data.fields):
        if field.name in NUMBERS:
            for b, row in enumerate(rows.tolist()):
                want = slow(data, frames, weight, field.name, row)
                torch.testing.assert_close(found[b, place], want, atol=1e-6, rtol=1e-6, msg=f"{field.name} {row}")
    buckets = vectors(feed(data, "bucket").batch(chunk.take(rows)), weight, lookups)
    others = [i for i, f in enumerate(data.fields) if f.name not in NUMBERS]
    assert torch.equal(found[:, others], buckets[:, others])


@LOOKUPS
def test_its_gradient_is_that_of_the_slow_formula(data, frames, chunk, weight, lookups):
    rows = np.arange(60)
    batch = feed(data).batch(chunk.take(rows))
    gathered, table = weight[batch.rows].requires_grad_(), weight.clone().requires_grad_()
    numbers = [i for i, f in enumerate(data.fields) if f.name in NUMBERS]
    found = BatchFields(gathered, batch, lookups).vectors()[:, numbers]
    wanted = torch.stack([
        torch.stack([slow(data, frames, table, data.fields[i].name, row) for i in numbers]) for row in rows.tolist()
    ])  # fmt: skip
    towards = torch.randn(found.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    (mine,) = torch.autograd.grad(found, gathered, towards)
    (theirs,) = torch.autograd.grad(wanted, table, towards)
    torch.testing.assert_close(mine, theirs[batch.rows], atol=1e-5, rtol=1e-5)
    assert theirs.abs().sum() == pytest.approx(float(theirs[batch.rows].abs().sum())), "no row is left out"


def test_a_gradient_by_hand():
    """A position of 2.25 gives three quarters of its gradient to row 2, a quarter to row 3."""
    from entirespace.batches.batch import Group
    from entirespace.network.embedding import pool

    group = Group((0,), torch.tensor([0, 1]), None, torch.tensor([0.75, 0.25]), None, 1, "impressions", pairs=True)
    rows = torch.tensor([[4.0], [8.0]], requires_grad=True)
    out = pool(rows, group, KernelLookups())
    out.backward(torch.tensor([[2.0]]))
    assert out.tolist() == [[5.0]]
    assert rows.grad is not None
    assert rows.grad.tolist() == [[1.5], [0.5]]


def test_no_row_beyond_a_field_is_read(data, chunk):
    """Neither the first row of the next field, nor row 1 for a missing number."""
    batch = feed(data).batch(chunk)
    (own,) = (g for g in batch.groups if g.pairs and g.expand is None)
    rows = batch.rows[own.position].view(N, len(own.fields), 2)
    assert own.weights is not None
    for k, place in enumerate(own.fields):
        f = data.fields[place]
        assert f.offset <= int(rows[:, k].min()) <= int(rows[:, k].max()) < f.offset + f.size
        missing = chunk.fields[f.name].values == 0
        assert (rows[torch.from_numpy(missing), k] == f.offset).all()
    assert own.weights.dtype == torch.float32
    torch.testing.assert_close(own.weights.view(-1, 2).sum(1), torch.ones(N * len(own.fields)))


def test_a_side_table_row_occurs_once(data, chunk):
    batch = feed(data).batch(chunk)
    side = [g for g in batch.groups if g.expand is not None]
    assert [(g.pairs, g.size) for g in side] == [(False, 13), (True, 13)]  # 12 users, and the empty row
    assert torch.equal(*(g.expand for g in side))
    first, _ = BatchFields(torch.zeros(len(batch.rows), D), batch).inputs
    assert first.fields == side[0].fields + side[1].fields


def test_buckets_are_the_integer_parts_of_positions(data, chunk, weight):
    found = vectors(feed(data, "bucket").batch(chunk), weight)
    place = next(i for i, f in enumerate(data.fields) if f.name == "price")
    rows = data.fields[place].offset + chunk.fields["price"].values.astype(np.int64)
    assert torch.equal(found[:, place], weight[rows])


@LOOKUPS
def test_the_bag_of_a_number_is_its_two_rows(data, chunk, weight, lookups):
    batch = feed(data).batch(chunk)
    fields = BatchFields(weight[batch.rows], batch, lookups)
    for place, f in enumerate(data.fields):
        bag = fields.bag(place).by_impression()
        if f.name in NUMBERS:
            assert bag.offsets.tolist() == list(range(0, 2 * N + 1, 2))
        weights = torch.ones(len(bag.values)) if bag.weights is None else bag.weights
        pooled = weight.new_zeros(N, D).index_add(0, bag.owner, weights[:, None] * bag.values)
        torch.testing.assert_close(pooled, fields.vectors()[:, place])


KNOTS = st.lists(st.integers(-30, 30).map(float), min_size=2, max_size=6, unique=True).map(sorted)


@given(KNOTS, st.integers(0, 99))
def test_it_is_continuous_at_every_knot(knots, seed):
    from entirespace.features.encoders import pairs_of

    encoder = Knots(np.array(knots))
    row = np.random.default_rng(seed).normal(size=encoder.size)
    values = np.array([x for k in knots for x in (np.nextafter(k, -99), k, np.nextafter(k, 99))])
    rows, weights = pairs_of(encoder.encode(values)[:, None], np.array([encoder.size]))
    mixed = (row[rows] * weights).sum(2)[:, 0].reshape(-1, 3)
    np.testing.assert_allclose(mixed, mixed[:, [1, 1, 1]], atol=1e-5)
    np.testing.assert_allclose(mixed[:, 1], row[2:], atol=1e-5)  # row k + 1 is the value at knot k


def test_a_batch_of_excluded_fields_has_no_rows_for_them(data, chunk):
    """Offsets are counted among the fields that remain."""
    few = feed(data, "interpolate", "item", "price", "town", "age").batch(chunk)
    assert {g.table for g in few.groups} == {"impressions"}, "no field of the side table is left"
    sizes = {f.name: f.size for f in data.fields}
    assert int(few.rows.max()) < sum(sizes[name] for name in ("flag", "tags", "none"))
    assert sorted(f for g in few.groups for f in g.fields) == [0, 1, 2]
