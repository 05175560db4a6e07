"""Integers numbered as they appear: against a dictionary, through several growths of the table."""

from __future__ import annotations

import numpy as np
import pytest

from entirespace.kernels.intcodes import SLOTS, IntCodes


def slow(keys: list[int]) -> list[int]:
    codes: dict[int, int] = {}
    return [codes.setdefault(key, len(codes)) for key in keys]


@pytest.mark.parametrize(
    "distinct",
    [
        np.arange(5 * SLOTS),
        np.arange(5 * SLOTS) << 32,
        np.arange(5 * SLOTS) * SLOTS,
        np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 5 * SLOTS),
        np.array([0, -1, 1, 2**63 - 1, -(2**63)]),
    ],
    ids=["in a row", "high bits", "multiples", "any", "limits"],
)
def test_codes_are_those_of_a_dictionary(distinct):
    keys = np.random.default_rng(1).choice(distinct, 40_000)
    codes = IntCodes()
    cut = 17_000
    got = [*codes.encode(keys[:cut]), *codes.encode(keys[cut:])]
    assert got == slow(keys.tolist())
    assert len(codes) == len(set(keys.tolist()))
    assert codes.keys[got].tolist() == keys.tolist()
    assert codes.find(keys).tolist() == got


def test_a_window_that_moves_and_ids_far_from_it(rng):
    """Ids that lie close together, a few far off, chunks that reach lower and higher: all have a dictionary's codes."""
    chunks = [
        rng.integers(low, low + width, 3000) for low, width in ((10**6, 500), (10**6 - 9000, 20_000), (10**9, 60))
    ]
    chunks += [np.append(rng.integers(5 * 10**6, 6 * 10**6, 3000), [2**62, -(2**62)]), rng.integers(-5, 10**9, 3000)]
    codes, got = IntCodes(), []
    for chunk in chunks:
        got += codes.encode(chunk).tolist()
    keys = np.concatenate(chunks)
    assert got == slow(keys.tolist())
    assert codes.keys[got].tolist() == keys.tolist()
    assert codes.find(keys).tolist() == got
    assert codes.find(np.array([10**7, 7, 2**61])).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("low", [0, -(2**63), 2**63 - 40_000])
def test_a_window_that_grows_to_both_sides(low, monkeypatch):
    monkeypatch.setattr("entirespace.kernels.intcodes.WINDOW", 4096)
    ids, codes, got = low + np.arange(39_000), IntCodes(), []
    keys = np.concatenate([ids[20_000 - n : 19_990 + n] for n in range(100, 19_000, 3700)])
    for cut in np.array_split(keys, 23):
        got += codes.encode(cut).tolist()
    assert got == slow(keys.tolist())
    assert codes.find(keys).tolist() == got


def test_an_unknown_key_has_no_code():
    codes = IntCodes()
    codes.encode(np.array([5, 7]))
    assert codes.find(np.array([7, 6, 5, -1])).tolist() == [1, -1, 0, -1]
    assert len(codes) == 2


def test_nothing_to_number():
    codes = IntCodes()
    assert codes.encode(np.zeros(0, np.int64)).tolist() == []
    assert codes.keys.tolist() == []
