"""Codes while a log is read, and embedding rows by vocabulary, hash and bucket."""

from __future__ import annotations

import gc
import math

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entirespace.core.rows import Field, Ragged
from entirespace.features.codes import Codes
from entirespace.features.encoders import Hashed, Knots, Vocabulary, buckets_of, fit_ids, fit_knots

# Codes


@given(st.lists(st.lists(st.text(max_size=3), max_size=6), max_size=5))
def test_codes_number_ids_as_they_appear(chunks):
    codes, order = Codes(), {"": 0}
    for chunk in chunks:
        expected = [order.setdefault(i, len(order)) for i in chunk]
        got = codes.encode(pl.Series(chunk, dtype=pl.String))
        assert got.dtype == np.int32
        assert got.tolist() == expected
        assert len(codes) == len(order)
    assert codes.ids().cast(pa.string()).fill_null("").to_pylist() == list(order)


@given(
    st.lists(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 9))), max_size=4),
    st.booleans(),
)
def test_integers_have_the_codes_of_their_text(chunks, text_at_last):
    integers, text = Codes(), Codes()
    text.encode(pl.Series([""]))
    for chunk in chunks:
        column = pl.Series(chunk, dtype=pl.Int64)
        as_text = column.cast(pl.String).fill_null("")
        assert integers.encode(column).tolist() == text.encode(as_text).tolist()
        assert len(integers) == len(text)
    if text_at_last:
        for column in (pl.Series(["7", "007", ""]), pl.Series([7, 8, None])):
            as_text = column.cast(pl.String).fill_null("")
            assert integers.encode(column).tolist() == text.encode(as_text).tolist()
    counts = np.arange(len(text)) // 3
    field = Field("f", min_count=1)
    one, rows = fit_ids(field, integers.ids(), counts)
    other, rows_of_text = fit_ids(field, text.ids(), counts)
    assert one.to_table().equals(other.to_table())
    assert rows.tolist() == rows_of_text.tolist()


def test_codes_survive_garbage_collection_between_chunks():
    """Categories of polars forget their strings when no Series uses them."""
    codes = Codes()
    first = codes.encode(pl.Series(["b", "a", "b"])).tolist()
    for i in range(5):
        gc.collect()
        codes.encode(pl.Series([f"x{i}"]))
    gc.collect()
    assert codes.encode(pl.Series(["a", "b", "c"])).tolist() == [first[1], first[0], 8]
    assert codes.ids().to_pylist() == ["", "b", "a", "x0", "x1", "x2", "x3", "x4", "c"]


def test_codes_of_two_fields_are_independent():
    one, two = Codes(), Codes()
    assert one.encode(pl.Series(["a", "b"])).tolist() == two.encode(pl.Series(["c", "a"])).tolist() == [1, 2]
    assert two.ids().to_pylist() == ["", "c", "a"]


# Hashing


def test_a_hashed_field_has_a_row_for_each_bucket_and_nothing_to_fit():
    hashed = Hashed(3)
    assert hashed.size == 4
    rows = hashed.encode(pl.Series([f"id{i}" for i in range(100)]))
    assert set(rows.tolist()) == {1, 2, 3}
    assert hashed.encode(pl.Series([7, 7])).tolist() == [hashed.encode(pl.Series(["7"]))[0]] * 2
    assert hashed.to_table().num_rows == 0
    assert Hashed.from_table(Field("a", hash=3), hashed.to_table()) == hashed


# Vocabulary


def test_the_most_frequent_ids_come_first_and_ties_by_id():
    ids = pa.array(["", "z", "b", "a", "rare", "never"])
    vocabulary, rows = fit_ids(Field("f", min_count=2), ids, np.array([2, 9, 3, 3, 1, 0]))
    assert vocabulary.ids.to_list() == ["z", "a", "b", ""]
    assert vocabulary.size == 5
    assert rows.tolist() == [4, 1, 3, 2, 0, 0]
    assert vocabulary.to_table().to_pydict() == {"id": ["z", "a", "b", ""], "count": [9, 3, 3, 2]}


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 5), max_size=20), st.integers(1, 4), st.randoms())
def test_a_vocabulary_does_not_depend_on_the_order_of_codes(counts, min_count, random):
    field = Field("f", min_count=min_count)
    items = list(counts.items())
    random.shuffle(items)
    made = []
    for pairs in (list(counts.items()), items):
        ids = pa.array([i for i, _ in pairs], pa.string())
        vocabulary, rows = fit_ids(field, ids, np.array([c for _, c in pairs], np.int64))
        table = vocabulary.to_table().to_pydict()
        known = [None, *table["id"]]
        for (raw_id, count), row in zip(pairs, rows.tolist(), strict=True):
            assert known[row] == (raw_id if count >= min_count else None)
        made.append(table)
    assert made[0] == made[1]
    slow = sorted(((c, i) for i, c in counts.items() if c >= min_count), key=lambda p: (-p[0], p[1].encode()))
    assert made[0] == {"id": [i for _, i in slow], "count": [c for c, _ in slow]}


# Buckets


def slow_edges(numbers: list[float], buckets: int) -> list[float]:
    """The smallest values with at least i / buckets of the numbers at or below them, i = 1 .. buckets - 1."""
    present = sorted(x for x in numbers if not math.isnan(x))
    edges = set()
    for i in range(1, buckets):
        edges.update([next(x for k, x in enumerate(present, start=1) if k >= len(present) * i / buckets)][:1])
    return sorted(edges)


NUMBERS = st.lists(st.integers(-5, 5).map(float) | st.floats(-1e9, 1e9) | st.just(math.nan), max_size=30)


@given(NUMBERS, st.integers(2, 9))
def test_bucket_edges_are_quantiles(numbers, buckets):
    edges = fit_knots(Field("n", kind="number", buckets=buckets), np.array(numbers, np.float64)).edges
    if all(map(math.isnan, numbers)):
        assert edges.tolist() == []
    else:
        assert edges.tolist() == slow_edges(numbers, buckets)


@given(st.lists(st.tuples(st.integers(-5, 5).map(float), st.integers(0, 4)), max_size=12), st.integers(2, 9))
def test_a_weight_counts_as_that_many_numbers(pairs, buckets):
    field = Field("n", kind="number", buckets=buckets)
    values, weights = (np.array([p[i] for p in pairs], np.float64) for i in (0, 1))
    repeated = np.repeat(values, weights.astype(int))
    weighted, plain = fit_knots(field, values, weights.astype(np.int64)), fit_knots(field, repeated)
    assert weighted.edges.tolist() == plain.edges.tolist()
    assert weighted.size == len(weighted.edges) + 2


def test_buckets_hold_about_the_same_number(rng):
    values = rng.normal(size=10_000)
    vocabulary = fit_knots(Field("n", kind="number", buckets=20), values)
    assert vocabulary.size == 21
    counts = np.bincount(buckets_of(vocabulary.encode(values)), minlength=21)
    assert counts[0] == 0
    assert counts[1:].min() == counts[1:].max() == 500


def test_a_very_frequent_value_gives_fewer_buckets():
    values = np.array([0.0] * 80 + list(range(1, 21)))
    vocabulary = fit_knots(Field("n", kind="number", buckets=10), values)
    assert vocabulary.edges.tolist() == [0.0, 10.0]
    assert buckets_of(vocabulary.encode(np.array([0.0, 0.5, 10.0, 11.0]))).tolist() == [1, 2, 2, 3]


def test_a_number_that_is_always_missing_in_training():
    vocabulary = fit_knots(Field("n", kind="number", buckets=5), np.array([math.nan, 3.0]), np.array([2, 0]))
    assert (vocabulary.edges.tolist(), vocabulary.size) == ([], 2)
    assert buckets_of(vocabulary.encode(np.array([math.nan, 1.0]))).tolist() == [0, 1]


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=6),
    st.lists(st.floats(allow_nan=True), max_size=20),
)
def test_a_position_is_a_bucket_and_a_share_of_it(edges, values):
    edges = sorted(set(edges))
    values = [*values, *edges]
    positions = Knots(np.array(edges, np.float64)).encode(np.array(values, np.float64))
    assert positions.dtype == np.float32
    buckets = [0 if math.isnan(x) else 1 + sum(e < x for e in edges) for x in values]
    assert buckets_of(positions).tolist() == buckets
    for x, bucket, position in zip(values, buckets, positions.tolist(), strict=True):
        if 1 < bucket < len(edges) + 1:
            low, high = edges[bucket - 2], edges[bucket - 1]
            assert position - bucket == pytest.approx((x / 2 - low / 2) / (high / 2 - low / 2), abs=1e-6)


def test_positions_have_no_step_at_the_knots():
    """Linear interpolation between embedding rows, (1 - t) row k + t row k + 1, here with row k = k."""
    positions = Knots(np.array([0.0, 1.0, 10.0])).encode(np.array([-5.0, 0.0, 1e-9, 0.5, 1.0, 1.0 + 1e-9, 10.0, 11.0]))
    assert positions.tolist() == pytest.approx([2, 2, 2, 2.5, 3, 3, 4, 4], abs=1e-6)


def test_encoders_are_read_back_from_their_tables(rng):
    vocabulary = Vocabulary(pl.Series(["b", "", "ä"]), np.array([3, 2, 1]))
    raw = pl.Series(["", "b", "c", "ä", "b"])
    assert vocabulary.encode(raw).tolist() == [2, 1, 0, 3, 1]
    assert Vocabulary.from_table(Field("f"), vocabulary.to_table()).encode(raw).tolist() == [2, 1, 0, 3, 1]
    assert Vocabulary(pl.Series([], dtype=pl.String), np.zeros(0, np.int64)).encode(raw).tolist() == [0] * 5
    knots, values = Knots(np.array([0.25, 0.5])), rng.random(50)
    assert (Knots.from_table(Field("n"), knots.to_table()).encode(values) == knots.encode(values)).all()


def test_new_ids_get_rows_after_the_known_ones():
    ids, counts = pa.array(["", "a", "b", "new", "newer", "rare"]), np.array([0, 2, 0, 5, 7, 1])
    known = Vocabulary(pl.Series(["b", "a"]), np.array([9, 8]))
    grown, rows = fit_ids(Field("f", min_count=2), ids, counts, known)
    assert grown.to_table().to_pydict() == {"id": ["b", "a", "newer", "new"], "count": [9, 10, 7, 5]}
    assert rows.tolist() == [0, 2, 1, 4, 3, 0]


# Ragged.take, which every selection of bags uses


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=8), st.booleans(), st.data())
def test_take_gives_the_bags_of_the_rows(bags, weighted, data):
    flat = [i for bag in bags for i in bag]
    offsets = np.concatenate(([0], np.cumsum([len(b) for b in bags]))).astype(np.int64)
    weights = np.arange(len(flat), dtype=np.float32) if weighted else None
    ragged = Ragged(np.array(flat, np.int32), offsets, weights)
    rows = data.draw(st.lists(st.integers(0, len(bags) - 1), max_size=10) if bags else st.just([]))
    taken = ragged.take(np.array(rows, np.int64))
    assert len(taken) == len(rows)
    assert taken.offsets is not None
    assert taken.offsets[0] == 0
    ends = taken.offsets[1:-1]
    split = [p.tolist() for p in np.split(taken.values, ends)] if rows else []
    assert split == [bags[r] for r in rows]
    if weighted:
        assert taken.weights is not None
        assert taken.weights.tolist() == [float(k) for r in rows for k in range(offsets[r], offsets[r + 1])]


def test_take_of_single_values():
    ragged = Ragged(np.array([5, 6, 7], np.int32), None, np.array([0.5, 1, 2], np.float32))
    taken = ragged.take(np.array([2, 2, 0]))
    assert (taken.values.tolist(), taken.offsets) == ([7, 7, 5], None)
    assert taken.weights is not None
    assert taken.weights.tolist() == [2, 2, 0.5]


@pytest.mark.parametrize("offsets", [None, np.array([0, 2, 2, 3])])
def test_length_counts_rows(offsets):
    assert len(Ragged(np.array([1, 2, 3]), offsets)) == 3
