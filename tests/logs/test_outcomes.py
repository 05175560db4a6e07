"""Columns to labels and times, and the rows that could not be read."""

from __future__ import annotations

import math

import polars as pl
import pytest

from entirespace.core.rows import ValueFormat
from entirespace.logs.outcomes import read_label
from entirespace.logs.schema import LabelSchema


def labels_of(column, **label):
    """(label, rows where it is missing or cannot be read)."""
    one, unread, missing = read_label(column, LabelSchema.model_validate({"from": "x", **label}))
    return one, unread | missing


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        *((raw, 1) for raw in ("1", "1.0", " 1", "true", "True", "TRUE", "yes", "Y", "t")),
        *((raw, 0) for raw in ("0", "0.0", "false", "False", "FALSE", "No", "n", "F")),
        *((raw, "bad") for raw in ("2", "-1", "", "maybe", "0.5", "1e0", "nan")),
    ],
)
def test_label_in_text(raw, read):
    label, bad = labels_of(pl.Series([raw]))
    assert ("bad" if bad[0] else int(label[0])) == read


@pytest.mark.parametrize(
    ("column", "read"),
    [
        (pl.Series([1, 0, 2, -1, None], dtype=pl.Int8), [1, 0, "bad", "bad", "bad"]),
        (pl.Series([1.0, 0.0, 0.5, math.nan, None]), [1, 0, "bad", "bad", "bad"]),
        (pl.Series([True, False]), [1, 0]),
        (pl.Series([True, False, None]), [1, 0, "bad"]),
        (pl.Series(["1", "0"], dtype=pl.Categorical), [1, 0]),
        (pl.Series([None, None]), ["bad", "bad"]),
        (pl.Series([], dtype=pl.Int8), []),
    ],
)
def test_label_in_other_types(column, read):
    label, bad = labels_of(column)
    assert (label.dtype, bad.dtype) == (bool, bool)
    assert ["bad" if b else int(x) for x, b in zip(label, bad, strict=True)] == read


def test_label_of_levels():
    """AliExpress: 0 view, 1 click, 2 purchase."""
    column = pl.Series(["0", "1", "2", "3", "", "1.0"])
    click, bad = labels_of(column, values=[1, 2])
    assert click.tolist() == [False, True, True, False, False, True]
    assert bad.tolist() == [False, False, False, True, True, False]
    buys, bad = labels_of(pl.Series([0, 1, 2, 3]), values=["2"], others=["0", 1])
    assert (buys.tolist(), bad.tolist()) == ([False, False, True, False], [False, False, False, True])


def test_levels_are_values_however_they_are_stored():
    for column in (pl.Series([3.0, 5.0, 1.0]), pl.Series(["3", "5.0", "1"]), pl.Series([3, 5, 1], dtype=pl.Int8)):
        one, bad = labels_of(column, values=[3, 4, 5], others=[1.0, "2"])
        assert (one.tolist(), bad.any()) == ([True, True, False], False)
    one, bad = labels_of(pl.Series(["true", "True", "false"]), values=[True], others=[False])
    assert (one.tolist(), bad.any()) == ([True, True, False], False)


def test_a_label_of_a_number_that_is_large_enough():
    for column in (pl.Series(["4", "3.9", "", "x", "5e0"]), pl.Series(["4.0", "-1", None, "?", "1e9"])):
        one, unread, missing = read_label(column, LabelSchema.model_validate({"from": "x", "at_least": 4}))
        assert one.tolist() == [True, False, False, False, True]
        assert (unread.tolist(), missing.tolist()) == ([False] * 3 + [True, False], [False, False, True, False, False])


def test_a_label_that_is_1_where_there_is_a_value():
    one, unread, missing = read_label(
        pl.Series(["1/2/16", "", None, "NA", "0"]),
        LabelSchema.model_validate({"from": "x", "present": True}),
        ValueFormat(missing=("NA",)),
    )
    assert one.tolist() == [True, False, False, False, True]
    assert not unread.any()
    assert not missing.any()
