"""A stored layout reads raw rows as `prepare` did: formats, missing values, keys, quantities; and a later log."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random

import numpy as np
import polars as pl
import pytest
from read_back import prepare_files

from entirespace.errors import ConfigError, DataError, EntirespaceError
from entirespace.features.frames import FrameEncoder
from entirespace.features.layout import Encoders
from entirespace.logs.rowfiles import read_rows

SCHEMA = """
[impressions]
files = ["log*"]
labels = { click = "y", conversion = "z" }
missing = ["NULL", -1]
decimal = ","
thousands = "."
[impressions.fields]
item = { missing = ["none"] }
price = { kind = "number", buckets = 5 }
hour = { from = "t", part = "hour", time = { format = "%d.%m.%Y %H:%M", zone = "Europe/Berlin" } }
month = { kind = "number", from = "u", part = "month", buckets = 12, time = { unit = "ms", zone = "America/New_York" } }
tags = { kind = "ids", separator = "|", weights = "w" }
[tables.user]
files = ["users.csv"]
key = "id"
on = "uid"
missing = ["?"]
[tables.user.fields]
city = { min_count = 2 }
age = { kind = "number", buckets = 3 }
[split]
train = 0.7
"""


def slow_number(cell: str, decimal: str, thousands: str) -> float | None:
    cell = cell.strip()
    if cell in ("", "NULL", "-1"):
        return None
    return float(cell.replace(thousands, "").replace(decimal, "."))


def rows_of(seed: int, n: int) -> list[dict[str, str]]:
    r, rows = random.Random(seed), []
    for _ in range(n):
        time = dt.datetime(2024, 1, 1) + dt.timedelta(minutes=r.randrange(365 * 1440))
        tags = [r.choice(["a", "7", "7.0", "NULL", "b"]) for _ in range(r.randrange(4))]
        price = r.choice(["", "NULL", " -1", "-1", "1.234,5", "0,25", "12.345.678", "17", " 3,5 "])
        rows.append({"y": "0", "z": "0", "item": r.choice(["x", "none", "NULL", "", "y"])})
        rows[-1] |= {
            "price": price if r.random() < 0.8 else str(r.randrange(999)),
            "uid": r.choice("0123501235014?") + r.choice(["", ".0"]),
        }
        rows[-1] |= {"uid": r.choice([rows[-1]["uid"].replace("?.0", "?"), "NULL", ""]), "t": f"{time:%d.%m.%Y %H:%M}"}
        rows[-1] |= {"u": r.choice(["NULL", str(1704067200000 + r.randrange(31_536_000_000))])}
        rows[-1] |= {"tags": "|".join(tags), "w": "|".join(r.choice(["1", "0,5"]) for _ in tags)}
    return rows


USERS = [
    {"id": user, "city": city, "age": age}
    for user, city, age in zip("0123?5", "ppqq?r", ["7", "", "30", "31.5", "1", "8"], strict=True)
]


def of_dataset(data) -> dict[str, list]:
    """Field -> its rows of the embedding, for all impressions of the log in order."""
    found: dict[str, list] = {}
    for part in data.parts:
        for rows in part.chunks():
            tables = {
                f.name: data.tables[f.table][f.name].take(rows.links[f.table])
                for f in data.fields
                if f.table != "impressions"
            }
            for name, bags in (dict(rows.fields) | tables).items():
                found.setdefault(name, []).extend(as_lists(bags))
    return found


def as_lists(bags) -> list:
    offsets = np.arange(len(bags) + 1) if bags.offsets is None else bags.offsets
    weights = np.ones(len(bags.values), np.float32) if bags.weights is None else bags.weights
    pairs = list(zip(bags.values.tolist(), weights.tolist(), strict=True))
    return [pairs[a:b] for a, b in itertools.pairwise(offsets)]


def of_layout(folder, given, users) -> dict[str, list]:
    encoder = FrameEncoder(Encoders.open(folder), {"user": users})
    rows, bad, _ = encoder.encode(given)
    assert not bad
    found = {name: as_lists(bags) for name, bags in rows.fields.items()}
    return found | {n: as_lists(bags.take(rows.links["user"])) for n, bags in encoder.tables["user"].items()}


@pytest.mark.parametrize("seed", range(3))
def test_text_given_to_a_stored_layout_makes_the_rows_that_prepare_wrote(tmp_path, few_rows, seed):
    rows = rows_of(seed, 120)
    with few_rows():
        data = prepare_files(tmp_path, SCHEMA, {"log.csv": rows, "users.csv": USERS}, max_bad=0.5)
    wanted = of_dataset(data)
    users = pl.DataFrame(USERS)
    file = next(iter(read_rows(str(tmp_path / "raw/log.csv")))).rows
    for given in (pl.DataFrame(rows), file):
        assert of_layout(data.path, given, users) == wanted
    # a later log: the same rows have the same rows of the embedding
    schema = SCHEMA.replace("train = 0.7", 'by = "all"\npart = "test"')
    later = prepare_files(tmp_path, schema, {}, encoders=data.path, max_bad=0.5)
    assert of_dataset(later) == wanted
    assert later.layout.digest == data.layout.digest
    # the numbers and times are those that plain Python reads
    for row, price, hour, month in zip(rows, wanted["price"], wanted["hour"], wanted["month"], strict=True):
        assert (price[0][0] == 0) == (slow_number(row["price"], ",", ".") is None)
        assert (month[0][0] == 0) == (row["u"] == "NULL")
        known = data.vocabulary("hour")["id"].to_pylist()
        assert hour[0][0] == 0 or known[hour[0][0] - 1] == str(int(row["t"][11:13]))
    values = {
        slow_number(row["price"], ",", "."): price[0][0] for row, price in zip(rows, wanted["price"], strict=True)
    }
    ordered = [values[v] for v in sorted(v for v in values if v is not None)]
    assert ordered == sorted(ordered)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("Europe/Berlin", "Asia/Tokyo"), ("hour", "Asia/Tokyo", "Europe/Berlin")),
        (('part = "hour"', 'part = "day"'), ("hour", "day")),
        (('kind = "number", buckets = 5', 'kind = "id"'), ("price", "number")),
    ],
)
def test_a_later_schema_that_makes_other_values_is_refused(tmp_path, change, says):
    files = {"log.csv": rows_of(1, 60), "users.csv": USERS}
    data = prepare_files(tmp_path, SCHEMA, files, max_bad=0.5)
    with pytest.raises(ConfigError) as error:
        prepare_files(tmp_path, SCHEMA.replace(*change), {}, encoders=data.path, max_bad=0.5)
    assert all(word in str(error.value) for word in says)


def test_a_later_log_that_is_written_in_another_way_is_read_and_named(tmp_path):
    files = {"log.csv": rows_of(1, 60), "users.csv": USERS}
    data = prepare_files(tmp_path, SCHEMA, files, max_bad=0.5)
    rows = [
        row | {"price": row["price"].replace(",", "!").replace(".", ",").replace("!", ".")} for row in files["log.csv"]
    ]
    schema = SCHEMA.replace('decimal = ","\nthousands = "."', 'thousands = ","').replace("0,5", "0.5")
    rows = [row | {"w": row["w"].replace(",", ".")} for row in rows]
    later = prepare_files(tmp_path, schema, {"log.csv": rows}, encoders=data.path, max_bad=0.5)
    assert of_dataset(later)["price"] == of_dataset(data)["price"]
    notes = json.dumps(later.manifest.audit)
    assert "field 'price'" in notes
    assert "decimal = '.', not ','" in notes


# What a number is


NUMBER = """
[impressions]
files = ["log*"]
labels = { click = "y", conversion = "z" }
MORE
[impressions.fields]
age = { kind = "number", buckets = 4 }
[split]
by = "all"
part = "train"
"""
HOURS = pl.Series([dt.datetime(2024, 5, 31, hour) for hour in range(8)])
SORTS = {
    "numbers": pl.Series([float(i) for i in range(8)]),
    "ms": HOURS.cast(pl.Datetime("ms")),
    "us": HOURS.cast(pl.Datetime("us")),
    "ns": HOURS.cast(pl.Datetime("ns")),
    "zoned": HOURS.dt.replace_time_zone("UTC"),
    "dates": pl.Series([dt.date(2024, 5, day) for day in range(1, 9)]),
    "duration": pl.Series([dt.timedelta(minutes=i) for i in range(8)]),
    "nothing": pl.Series([None] * 8),
}


def number_files(*names: str) -> dict[str, pl.DataFrame]:
    frame = pl.DataFrame({"y": [0] * 8, "z": [0] * 8})
    return {f"log{i}.parquet": frame.with_columns(age=SORTS[name]) for i, name in enumerate(names)}


def test_a_number_from_timestamps_of_any_unit_is_one_number(tmp_path):
    data = prepare_files(tmp_path, NUMBER.replace("MORE", ""), number_files("ms", "us", "nothing", "ns"))
    positions = np.concatenate([rows.fields["age"].values for rows in data.train.chunks()])
    np.testing.assert_array_equal(positions[:8], positions[8:16])
    np.testing.assert_array_equal(positions[:8], positions[24:])
    assert not positions[16:24].any()
    # a layout of times reads text as times, and no numbers
    encoder = FrameEncoder(data.encoders)
    rows, bad, _ = encoder.encode({"age": [f"2024-05-31T{hour:02}:00" for hour in range(8)]})
    assert not bad
    np.testing.assert_array_equal(rows.fields["age"].values, positions[:8])
    for wrong in ([1.7e9], ["1717113600"], [dt.timedelta(1)], ["yesterday"], ["2024-05-31T00:00Z"]):
        assert encoder.encode({"age": wrong})[1], wrong


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("numbers", "us", ("numbers", "times without a zone")),
        ("us", "numbers", ("numbers", "times without a zone")),
        ("us", "duration", ("durations", "times without a zone")),
        ("us", "zoned", ("times with a zone", "zone = ")),
        ("dates", "zoned", ("times with a zone", "zone = ")),
        ("numbers", "duration", ("numbers", "durations")),
    ],
)
def test_a_number_from_columns_of_different_sorts_is_refused(tmp_path, first, second, words):
    with pytest.raises(DataError, match=r"log1\.parquet, row 1: column 'age'.*log0\.parquet") as error:
        prepare_files(tmp_path, NUMBER.replace("MORE", ""), number_files(first, second))
    assert all(word in str(error.value) for word in words)
    data = prepare_files(tmp_path, NUMBER.replace("MORE", "").replace("log*", "log0*"), {})
    with pytest.raises(EntirespaceError, match="the layout"):
        prepare_files(tmp_path, NUMBER.replace("MORE", "").replace("log*", "log1*"), {}, encoders=data.path)


def test_with_a_zone_times_with_and_without_one_are_one_sort(tmp_path):
    schema = NUMBER.replace("MORE", 'time = { zone = "UTC" }')
    data = prepare_files(tmp_path, schema, number_files("us", "zoned", "dates"))
    positions = np.concatenate([rows.fields["age"].values for rows in data.train.chunks()])
    np.testing.assert_array_equal(positions[:8], positions[8:16])


@pytest.mark.parametrize("user", ["NULL", "", None, "?", "99", "3.0", 3.0, 2.0**53])
def test_a_missing_key_finds_no_row_of_a_side_table_in_a_frame(tmp_path, user):
    data = prepare_files(tmp_path, SCHEMA, {"log.csv": rows_of(1, 60), "users.csv": USERS}, max_bad=0.5)
    encoder = FrameEncoder(data.encoders, {"user": pl.DataFrame([*USERS, {"id": "", "city": "p", "age": "1"}])})
    row = pl.DataFrame([rows_of(1, 1)[0] | {"uid": user}])
    rows, bad, _ = encoder.encode(row)
    assert len(bad) == (user == 2.0**53)
    assert rows.links["user"].tolist() == ([] if bad else [4 if user in ("3.0", 3.0) else 0])
