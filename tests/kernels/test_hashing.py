"""Hashed ids: against the formula a byte at a time, in Python's integers."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from entirespace.features.codes import HashedCodes, hash_buckets


def fnv(text: str) -> int:
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def plain_bucket(text: str, buckets: int) -> int:
    h = fnv(text)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ h >> 33) * factor % 2**64
    return (h ^ h >> 33) % buckets


def test_the_hash_is_the_published_one():
    assert (fnv("a"), fnv("foobar")) == (0xAF63DC4C8601EC8C, 0x85944171F73967E8)  # its authors' vectors
    ids = ["u1", "7", "", "ä"]
    assert [plain_bucket(i, 1000) for i in ids] == [785, 759, 342, 302]
    assert hash_buckets(pl.Series(ids), 1000).tolist() == [785, 759, 342, 302]


@given(st.lists(st.text(max_size=4), max_size=20), st.integers(1, 2**31 - 1))
def test_hashed_codes_are_the_buckets(ids, buckets):
    codes = HashedCodes(buckets)
    got = codes.encode(pl.Series(ids, dtype=pl.String))
    assert got.dtype == np.int32
    assert got.tolist() == [plain_bucket(i, buckets) for i in ids]
    assert len(codes) == buckets


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=20), st.integers(0, 5))
def test_an_integer_is_its_text_and_a_missing_id_the_empty_one(ids, start):
    given_, text = pl.Series(ids, dtype=pl.Int64)[start:], ["" if i is None else str(i) for i in ids][start:]
    assert hash_buckets(given_, 97).tolist() == [plain_bucket(i, 97) for i in text]


def test_buckets_fill_evenly():
    counts = np.bincount(hash_buckets(pl.Series(range(100_000)), 64), minlength=64)
    expected = 100_000 / 64
    assert ((counts - expected) ** 2 / expected).sum() < 110  # chi2 with 63 degrees: 99.98 %
