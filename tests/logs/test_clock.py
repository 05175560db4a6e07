"""Times of one log that are of different sorts or units, through `prepare`: equal, or an error that says what to do."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest
from read_back import by_row, prepare_files, reasons

from entirespace.errors import DataError

SCHEMA = """
[impressions]
files = ["log*"]
order = "t"
labels = { click = "y", conversion = "z" }
MORE
[impressions.fields]
item = {}
[roles]
segments = ["rid"]
[split]
by = "all"
part = "train"
"""
DAY = dt.datetime(2024, 5, 31, 18, 30)
SECONDS = 1717180200  # DAY in UTC


def files(*columns: Any, ending: str = "csv") -> dict[str, Any]:
    """A file for each column of times."""
    found = {}
    for number, times in enumerate(columns):
        n = len(times)
        plain = {"rid": [f"{number}-{i}" for i in range(n)], "y": [0] * n, "z": [0] * n, "item": ["a"] * n}
        frame = pl.DataFrame(plain).with_columns(pl.Series("t", times))
        found[f"log{number}.{ending}"] = frame if ending == "parquet" else frame.to_dicts()
    return found


def test_timestamps_of_any_unit_and_text_are_one_time(tmp_path):
    stamp = pl.Series([DAY, DAY + dt.timedelta(milliseconds=250)])
    found = files(*(stamp.cast(pl.Datetime(unit)) for unit in ("ms", "us", "ns")), ending="parquet")
    texts = files(["2024-05-31T18:30", "2024-05-31 18:30:00.250"])["log0.csv"]
    found["log3.csv"] = [row | {"rid": f"3-{row['rid'][-1]}"} for row in texts]
    data = prepare_files(tmp_path, SCHEMA.replace("MORE", ""), found)
    assert data.train.column("order").tolist() == [SECONDS * 10**6, SECONDS * 10**6 + 250_000] * 4


@pytest.mark.parametrize(
    ("form", "columns"),
    [
        ('{ unit = "s" }', [[SECONDS], [float(SECONDS)], [f"{SECONDS}.0"], [f"{SECONDS / 1e9!r}e9"]]),
        ('{ unit = "ms" }', [[SECONDS * 1000], [SECONDS * 1e3]]),
        ('{ unit = "ns" }', [[SECONDS * 10**9], [f"{SECONDS}000000000.0"]]),
        ('{ unit = "s", zone = "Europe/Berlin" }', [[SECONDS], ["2024-05-31 20:30"], ["2024-05-31T18:30Z"]]),
        ('{ zone = "Asia/Kolkata" }', [["2024-06-01 00:00"], ["2024-06-01"], ["2024-05-31 20:30+02:00"]]),
        ('{ format = "%m/%d/%y %H:%M" }', [["05/31/24 18:30"], [" 05/31/24 18:30 "]]),
    ],
)
def test_declared_times_of_several_sorts_are_one_time(tmp_path, form, columns):
    data = prepare_files(tmp_path, SCHEMA.replace("MORE", f"time = {form}"), files(*columns))
    assert set(data.train.column("order").tolist()) == {SECONDS * 10**6}


ISO = "2024-05-31 18:30"
MIXED = {
    "seconds, then milliseconds": ([SECONDS], [SECONDS * 1000], "", [str(SECONDS * 1000), "milliseconds", "one unit"]),
    "milliseconds, then seconds": ([SECONDS * 1000], [SECONDS], "", [str(SECONDS), "seconds", "one unit"]),
    "after zeros": ([0, SECONDS], [SECONDS * 1000], "", [str(SECONDS * 1000), "milliseconds", "log0.csv, line 3"]),
    "with fractions": ([SECONDS + 0.5], [SECONDS * 1000], "", [str(SECONDS * 1000), "milliseconds"]),
    "of a declared unit": ([SECONDS * 1000], [SECONDS], 'time = { unit = "ms" }', [str(SECONDS), "one unit"]),
    "seconds, then ISO": ([SECONDS], [ISO], "", [ISO, 'unit = "s"', "zone ="]),
    "ISO, then seconds": ([ISO], [SECONDS], "", [str(SECONDS), 'unit = "s"', "zone ="]),
    "without and with a zone": ([ISO], [ISO + "Z"], "", [ISO + "Z", "zone ="]),
    "with and without a zone": ([ISO + "+02:00"], [ISO], "", [ISO, "zone ="]),
}


@pytest.mark.parametrize("case", MIXED)
@pytest.mark.parametrize("column", ["order", "times", "conversions"])
def test_times_of_another_sort_are_an_error_that_says_what_to_declare(tmp_path, case, column):
    first, second, form, words = MIXED[case]
    found, schema = files(first, second), SCHEMA.replace("MORE", form + "\nMORE")
    if column == "times":  # of one file, in two columns; the first is the order
        last = [row | {"u": second[0], "y": 1} for row in found["log0.csv"]]
        found, more = {"log0.csv": last}, 'times = { click = "u" }'
        schema = schema.replace("MORE", more)
    elif column == "conversions":
        schema = schema.replace(', conversion = "z"', "").replace("MORE", "")
        schema += '[conversions]\nfiles = ["bought.csv"]\nkey = "item"\ntime = "when"\n'
        found = {"log0.csv": found["log0.csv"], "bought.csv": [{"item": "a", "when": second[0]}]}
    with pytest.raises(DataError) as error:
        prepare_files(tmp_path, schema.replace("MORE", ""), found, max_bad=1.0)
    message = str(error.value)
    if column == "order":
        assert all(word in message for word in [*words, "log1.csv, line 2"]), message
    else:  # which of the two came first depends on what is read first
        assert ".csv, line " in message
        assert any(word in message for word in ("zone", "unit", "format")), message


@pytest.mark.parametrize("columns", [(["01/02/2024"],), ([ISO], ["01/02/2024"] * 10), ([ISO] * 3 + ["31.5.24"] * 10,)])
def test_times_in_another_format_are_an_error_or_bad_rows(tmp_path, columns):
    found, schema = files(*columns), SCHEMA.replace("MORE", "")
    if len(columns) == 1 and len(columns[0]) > 1:  # between readable ones
        data = prepare_files(tmp_path, schema, found, max_bad=1.0)
        assert reasons(data) == {"bad_order": 10}
        return
    last = f"log{len(columns) - 1}.csv, line 2"
    with pytest.raises(DataError, match=f"{last}: the times of 't' must be .*'01/02/2024'.*time = {{ format = "):
        prepare_files(tmp_path, schema, found, max_bad=1.0)


def test_a_naive_and_a_zoned_parquet_timestamp(tmp_path):
    naive = pl.Series([DAY])
    zoned = naive.dt.replace_time_zone("Europe/Berlin")
    with pytest.raises(DataError, match=r"log1\.parquet, row 1.*zone = "):
        prepare_files(tmp_path, SCHEMA.replace("MORE", ""), files(naive, zoned, ending="parquet"))
    form = 'time = { zone = "Europe/Berlin" }'
    data = prepare_files(tmp_path, SCHEMA.replace("MORE", form), files(naive, zoned, ending="parquet"))
    assert data.train.column("order").tolist() == [(SECONDS - 7200) * 10**6] * 2


def test_a_date_and_a_time_are_of_one_sort(tmp_path):
    found = files(pl.Series([dt.date(2024, 5, 31)]), pl.Series([DAY]), ending="parquet")
    data = prepare_files(tmp_path, SCHEMA.replace("MORE", ""), found)
    assert {rid: row["part"] for rid, row in by_row(data).items()} == {"0-0": "train", "1-0": "train"}
    midnight = SECONDS - 18 * 3600 - 30 * 60
    assert data.train.column("order").tolist() == [midnight * 10**6, SECONDS * 10**6]


def test_a_count_is_no_time_since_1970(tmp_path):
    columns = ([1, 99_999_999, 100_000_001], [10**8 + 5, 10**11 + 5])
    data = prepare_files(tmp_path, SCHEMA.replace("MORE", ""), files(*columns))
    assert data.train.column("order").tolist() == [*columns[0], *columns[1]]
