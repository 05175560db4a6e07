"""Parts of times through `prepare`, and through a layout from frames and files, compared with Python's datetime."""

from __future__ import annotations

import datetime as dt
import random
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from read_back import by_row, prepare_files

from entirespace.errors import EntirespaceError
from entirespace.features.frames import FrameEncoder
from entirespace.features.layout import Encoders
from entirespace.logs.rowfiles import read_rows

SCHEMA = """
[impressions]
files = ["log*"]
labels = { click = "y", conversion = "z" }
missing = ["NULL", -1]
FORM
[impressions.fields]
hour = { from = "t", part = "hour" }
weekday = { from = "t", part = "weekday" }
day = { from = "t", part = "day" }
month = { from = "t", part = "month" }
hour_number = { kind = "number", from = "t", part = "hour", buckets = 24 }
[roles]
segments = ["rid"]
[split]
by = "all"
part = "train"
"""
PARTS = {
    "hour": lambda t: t.hour,
    "weekday": lambda t: t.isoweekday(),
    "day": lambda t: t.day,
    "month": lambda t: t.month,
}


def some_times(seed: int, n: int = 40) -> list[dt.datetime | None]:
    """Instants of 1900 to 2100, many of them near the hours when the clocks of Berlin change."""
    r, found = random.Random(seed), []
    for _ in range(n):
        changes = dt.datetime(2024, r.choice([3, 10]), r.choice([27, 31]), tzinfo=dt.UTC)
        near = changes + dt.timedelta(minutes=15 * r.randrange(-20, 20))
        any_time = dt.datetime(1900, 1, 1, tzinfo=dt.UTC) + dt.timedelta(
            microseconds=r.randrange(200 * 365 * 86_400) * 10**6
        )
        found.append(r.choice([near, any_time, any_time + dt.timedelta(microseconds=r.randrange(10**6)), None]))
    return found


def written(instant: dt.datetime | None, how: str, zone: str | None, r: random.Random) -> object:
    """An instant as a cell of the log."""
    if instant is None:
        return None if how == "timestamp" or how == "zoned timestamp" else r.choice(["", "NULL", " NULL", "-1"])
    local = instant.astimezone(ZoneInfo(zone or "UTC"))
    naive = local.replace(tzinfo=None)
    if how == "iso":
        return naive.isoformat(sep=r.choice("T "))
    if how == "zoned iso":
        return instant.astimezone(dt.timezone(dt.timedelta(minutes=r.choice([0, 330, -480])))).isoformat()
    if how == "format":
        return f"{naive:%d.%m.%Y %H:%M:%S.%f}"
    if how == "ms":
        return int(instant.timestamp() * 1000 // 1)
    return naive if how == "timestamp" else instant


FORMS = {
    "iso": "time = { ZONE }",
    "zoned iso": "time = { ZONE }",
    "format": 'time = { format = "%d.%m.%Y %H:%M:%S.%f" ZONE }',
    "ms": 'time = { unit = "ms" ZONE }',
    "timestamp": "time = { ZONE }",
    "zoned timestamp": "time = { ZONE }",
}


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("how", FORMS)
def test_parts_are_those_of_the_clock_in_the_zone(tmp_path, how, zone):
    r, instants = random.Random(3), some_times(5)
    if how in ("iso", "format", "timestamp") and zone:  # a local time that comes twice is the first of both
        there = ZoneInfo(zone)
        again = [t is not None and t.astimezone(there).fold == 1 for t in instants]
        instants = [t - dt.timedelta(hours=1) if t and twice else t for t, twice in zip(instants, again, strict=True)]
    cells = [written(t, how, zone, r) for t in instants]
    n = len(cells)
    frame = pl.DataFrame({"rid": [f"r{i}" for i in range(n)], "y": [0] * n, "z": [0] * n}).with_columns(
        pl.Series("t", cells if how != "ms" else list(map(str, cells)))
    )
    parquet = how.endswith("timestamp")
    if parquet:
        unit = pl.Datetime("us", "America/New_York" if how == "zoned timestamp" else None)
        frame = frame.with_columns(
            pl.Series("t", cells, dtype=pl.Datetime("us", "UTC") if unit.time_zone else unit).cast(unit)
        )
    form = FORMS[how].replace("ZONE", f', zone = "{zone}"' if zone else "").replace("{ ,", "{")
    schema = SCHEMA.replace("FORM", form)
    data = prepare_files(
        tmp_path, schema, {"log.parquet": frame} if parquet else {"log.csv": frame.to_dicts()}, max_bad=0
    )
    rows, clock = by_row(data), ZoneInfo(zone or "UTC")
    for i, instant in enumerate(instants):
        for name, part in PARTS.items():
            want = "" if instant is None else str(part(instant.astimezone(clock)))
            assert rows[f"r{i}"][f"field.{name}"] == [want], (cells[i], instant, name)
        position = rows[f"r{i}"]["field.hour_number"]
        assert (position == 0) == (instant is None)
    check_the_layout_reads_the_same(tmp_path, data, frame, parquet)


def check_the_layout_reads_the_same(tmp_path, data, frame, parquet) -> None:
    """The stored layout, given the same rows as frames and files, makes the same rows of the embedding."""
    encoder = FrameEncoder(Encoders.open(data.path))
    chunks, names = list(data.train.chunks()), [f.name for f in data.fields]
    wanted = {name: np.concatenate([rows.fields[name].values for rows in chunks]) for name in names}
    file = tmp_path / ("raw/log.parquet" if parquet else "raw/log.csv")
    for given in (frame, frame.to_arrow(), *(batch.rows for batch in read_rows(str(file)))):
        rows, bad, _ = encoder.encode(given)
        assert not bad
        for name, values in wanted.items():
            np.testing.assert_array_equal(rows.fields[name].values, values)


@pytest.mark.parametrize(
    ("form", "first", "second", "words"),
    [
        ("", ["2024-05-31 18:00"], ["2024-05-31T18:00Z"], ["2024-05-31T18:00Z", "zone"]),
        ("", ["2024-05-31 18:00"], [1717180200], ["1717180200", "unit"]),
        ("", ["05/31/2024"], ["05/31/2024"], ["05/31/2024", "format"]),
        ('time = { unit = "s" }', [1717180200], [1717180200000], ["1717180200000", "t = 1717180200000"]),
    ],
)
def test_times_of_parts_that_are_of_another_sort_are_refused(tmp_path, form, first, second, words):
    files = {
        f"log{i}.csv": [{"rid": f"{i}-{j}", "y": 0, "z": 0, "t": t} for j, t in enumerate(times)]
        for i, times in enumerate((first, second))
    }
    with pytest.raises(EntirespaceError) as error:
        prepare_files(tmp_path, SCHEMA.replace("FORM", form), files)
    assert any(word in str(error.value) for word in words)
    assert "log" in str(error.value)


def test_a_local_time_that_the_clock_skipped_is_a_bad_value(tmp_path):
    rows = [
        {"rid": "r0", "y": 0, "z": 0, "t": "2024-03-31 02:30"},
        {"rid": "r1", "y": 0, "z": 0, "t": "2024-03-31 03:30"},
    ]
    form = 'time = { zone = "Europe/Berlin" }'
    with pytest.raises(EntirespaceError, match=r"t = '2024-03-31 02:30'"):
        prepare_files(tmp_path, SCHEMA.replace("FORM", form), {"log.csv": rows})
