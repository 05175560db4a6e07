"""Columns to raw ids, numbers and bags, and the rows that could not be read."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest

from entirespace.core.rows import Field
from entirespace.features import values
from entirespace.features.values import canonical, text


def test_text():
    assert values.text(pl.Series([7, None])).to_list() == ["7", ""]
    assert values.text(pl.Series(["007", "", None, " x"])).to_list() == ["007", "", "", " x"]
    assert values.text(pl.Series(["a"], dtype=pl.Categorical)).to_list() == ["a"]


@pytest.mark.parametrize(
    ("column", "numbers", "bad"),
    [
        (pl.Series(["1", " 2.5 ", "-1e3", "inf"]), [1, 2.5, -1000, math.inf], []),
        (pl.Series(["", "  ", None, "nan"]), [math.nan] * 4, []),
        (pl.Series(["x", "1,5", "1", "1 2"]), [math.nan, math.nan, 1, math.nan], [0, 1, 3]),
        (pl.Series([1, None]), [1, math.nan], []),
        (pl.Series([2.5, math.nan, None]), [2.5, math.nan, math.nan], []),
        (pl.Series([True, None]), [1, math.nan], []),
        (pl.Series([dt.date(1970, 1, 3)]), [172_800], []),
        (pl.Series([], dtype=pl.String), [], []),
    ],
)
def test_number(column, numbers, bad):
    got, wrong = values.number(column)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, numbers)
    assert np.flatnonzero(wrong).tolist() == bad


def bags(columns: dict, **schema) -> tuple[list[list[str]], list[list[float]] | None, list[int], list[int]]:
    """(ids, weights, rows with another number of weights than ids, rows with a bad weight)."""
    read, checks = values.bags(pl.DataFrame(columns), Field("a", kind="ids", **schema))
    failed = dict(checks)
    none = np.zeros(len(read.lengths), bool)
    mismatch, bad = failed.get("wrong_feature_count", none), failed.get("bad_weight", none)
    ends = np.cumsum(read.lengths)[:-1]
    ids = (
        [p.tolist() for p in np.split(np.array(values.text(read.ids).to_list(), object), ends)]
        if len(read.lengths)
        else []
    )
    good = not mismatch.any() and not bad.any()
    weights = None if read.weights is None or not good else [p.tolist() for p in np.split(read.weights, ends)]
    assert read.weights is None or read.weights.dtype == np.float32
    return ids, weights, np.flatnonzero(mismatch).tolist(), np.flatnonzero(bad).tolist()


@pytest.mark.parametrize(
    ("column", "separator", "ids"),
    [
        (["1|2", "", None, "3"], "|", [["1", "2"], [], [], ["3"]]),
        (["1||2", "1|"], "|", [["1", "", "2"], ["1", ""]]),  # an empty id is an id like any other
        (["1|2"], "||", [["1|2"]]),
        (["1||2"], "||", [["1", "2"]]),
        (["1|2", None, ""], None, [["1|2"], [], []]),
        ([5, None], None, [["5"], []]),
        ([[5, 6], [], None, [None]], None, [["5", "6"], [], [], [""]]),
        ([["a", "b"], []], "|", [["a", "b"], []]),
        ([None, None], "|", [[], []]),
        (pl.Series([], dtype=pl.String), "|", []),
        (pl.Series([], dtype=pl.List(pl.Int32)), None, []),
        (pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)), None, [["1", "2"], ["3", "4"]]),
    ],
)
def test_bags(column, separator, ids):
    assert bags({"a": column}, separator=separator) == (ids, None, [], [])


def test_weights():
    columns = {"a": ["1|2", "", "3"], "w": ["0.5|2", "", "0"]}
    ids = [["1", "2"], [], ["3"]]
    assert bags(columns, separator="|", weights="w") == (ids, [[0.5, 2.0], [], [0.0]], [], [])
    columns = {"a": [[1, 2], None, [3]], "w": [[0.5, 2], [], [1e-3]]}
    assert bags(columns, weights="w") == (ids, [[0.5, 2.0], [], [np.float32(1e-3)]], [], [])
    assert bags({"a": ["1", "2"], "w": [0.5, 2]}, weights="w") == ([["1"], ["2"]], [[0.5], [2.0]], [], [])


def test_another_number_of_weights_than_ids():
    columns = {"a": ["1|2", "1", "", "1|2"], "w": ["1", "1|1", "1", ""]}
    assert bags(columns, separator="|", weights="w")[2:] == ([0, 1, 2, 3], [])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "-0.001", "x", "", "1e39", "1e400"])
def test_a_bad_weight_is_found_in_its_row(bad):
    columns = {"a": ["1", "1|2|3", "2"], "w": ["1", f"1|{bad}|2", "0.5"]}
    assert bags(columns, separator="|", weights="w")[2:] == ([], [1])


def test_a_bad_weight_in_a_list():
    columns = {"a": [[1], [1, 2], [1, 2]], "w": [[-1.0], [1.0, math.nan], [1.0, None]]}
    assert bags(columns, weights="w")[2:] == ([], [0, 1, 2])


def test_an_id_does_not_depend_on_the_other_values_of_its_column():
    odd = [
        "7",
        "7.0",
        "-0",
        "07",
        "1e3",
        "x",
        "",
        "true",
        "TRUE",
        "2024-01-01",
        "2024-01-01 00:00",
        "2024-01-01T00:00Z",
    ]
    odd += ["2024-01-01T02:00+02:00", "2024-01-01 10:00:00.50", "2024-13-01 00:00", "9" * 30, "-9007199254740993.00"]
    together = text(pl.Series(odd)).to_list()
    assert together == [canonical(value) for value in odd]
    assert text(pl.Series([*odd, None])[::-1]).to_list() == ["", *together[::-1]]
