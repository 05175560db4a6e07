"""Integers numbered as they appear: against a dictionary, through several growths of the table."""

from __future__ import annotations

import numpy as np
import pytest

from entirespace.data.intcodes import SLOTS, IntCodes


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


def test_an_unknown_key_has_no_code():
    codes = IntCodes()
    codes.encode(np.array([5, 7]))
    assert codes.find(np.array([7, 6, 5, -1])).tolist() == [1, -1, 0, -1]
    assert len(codes) == 2


def test_nothing_to_number():
    codes = IntCodes()
    assert codes.encode(np.zeros(0, np.int64)).tolist() == []
    assert codes.keys.tolist() == []
