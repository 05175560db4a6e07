"""`prepare` and `encode` give the same rows for the same raw rows; and which frames are accepted."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from entirespace.core.rows import IMPRESSIONS, Ragged
from entirespace.dataset.dataset import Dataset
from entirespace.errors import ConfigError, DataError
from entirespace.features.frames import FrameEncoder, as_frame

SCHEMA = """
[impressions]
files = ["log.csv"]
order = "t"
labels = { click = "y", conversion = "z" }
[impressions.fields]
item = { min_count = 2 }
hour = { from = "h" }
session = { hash = 5 }
price = { kind = "number", buckets = 4 }
tags = { kind = "ids", separator = "|", weights = "how" }
seen = { kind = "ids", separator = ";" }
[roles]
user = "uid"
[split]
validation = 0.2
[tables.user]
files = ["users.csv"]
key = "uid"
on = "u"
[tables.user.fields]
uid = {}
age = { kind = "number", buckets = 3 }
likes = { kind = "ids", separator = "|" }
"""


def raw(rng: np.random.Generator, rows: int = 200) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Impressions and users as text, as a CSV file would hold them."""
    bags = [rng.integers(0, 9, rng.integers(0, 4)).tolist() for _ in range(rows)]
    log = pl.DataFrame(
        {
            "u": [f"u{i}" for i in rng.integers(0, 30, rows)],
            "item": [str(i) for i in rng.integers(0, 40, rows)],
            "h": [str(i) if i else "" for i in rng.integers(0, 5, rows)],
            "session": [f"s{i}" for i in rng.integers(0, 90, rows)],
            "price": [f"{x:.2f}" if x > 0.1 else "" for x in rng.random(rows)],
            "tags": ["|".join(map(str, bag)) for bag in bags],
            "how": ["|".join(f"{1 + i / 2}" for i in bag) for bag in bags],
            "seen": [";".join(f"i{j}" for j in bag[:2]) for bag in bags],
            "t": [str(i) for i in range(rows)],
            "y": [str(i) for i in rng.integers(0, 2, rows)],
            "z": [str(i) for i in rng.integers(0, 2, rows)],
        }
    )
    users = pl.DataFrame(
        {
            "uid": [f"u{i}" for i in range(25)],  # five keys have no row
            "age": [str(i) if i % 7 else "" for i in range(25)],
            "likes": ["|".join(f"l{j}" for j in range(i % 4)) for i in range(25)],
        }
    )
    return log, users


@pytest.fixture
def made(log, rng) -> tuple[Dataset, pl.DataFrame, pl.DataFrame]:
    impressions, users = raw(rng)
    log.write("log.csv", impressions)
    log.write("users.csv", users)
    return log.prepare(SCHEMA), impressions, users


def bags(rows: Ragged) -> list[list[tuple[float, float]]]:
    offsets = np.arange(len(rows) + 1) if rows.offsets is None else rows.offsets
    weights = np.ones(len(rows.values)) if rows.weights is None else rows.weights
    pairs = list(zip(rows.values.tolist(), weights.tolist(), strict=True))
    return [pairs[i:j] for i, j in itertools.pairwise(offsets)]


def test_prepare_and_encode_give_the_same_rows(made):
    dataset, impressions, users = made
    encoder = FrameEncoder(dataset.encoders, {"user": users})
    start = 0
    for part in dataset.parts:
        rows, bad, unseen = encoder.encode(impressions[start : start + len(part)])
        assert not bad
        assert unseen == part.unseen
        place = 0
        for chunk in part.chunks():
            for name, written in chunk.fields.items():
                assert bags(written) == bags(rows.fields[name])[place : place + len(chunk)]
            assert chunk.links["user"].tolist() == rows.links["user"][place : place + len(chunk)].tolist()
            place += len(chunk)
        assert place == len(part)
        start += len(part)
    assert start == len(impressions)
    for name, written in dataset.tables["user"].items():
        assert bags(written) == bags(encoder.tables["user"][name])
    assert [(f.name, f.table, f.offset) for f in encoder.fields] == [
        (f.name, f.table, f.offset) for f in dataset.fields
    ]


def test_integers_lists_and_other_frames_give_the_same_rows(made):
    """Ids as numbers, bags as lists, and pandas or Arrow instead of polars."""
    dataset, impressions, users = made
    typed = impressions.with_columns(
        pl.col("item").cast(pl.Int32),
        pl.col("price").replace("", None).cast(pl.Float64),
        pl.col("tags").replace("", None).str.split("|").cast(pl.List(pl.Int64)).fill_null([]),
        pl.col("how").replace("", None).str.split("|").cast(pl.List(pl.Float64)).fill_null([]),
    )
    text, _, seen = FrameEncoder(dataset.encoders, {"user": users}).encode(impressions)
    for frame in (typed, typed.to_arrow(), typed.lazy(), typed.to_dict(as_series=False)):
        rows, bad, unseen = FrameEncoder(dataset.encoders, {"user": users.to_arrow()}).encode(frame)
        assert not bad
        assert unseen == seen
        assert all(bags(rows.fields[name]) == bags(text.fields[name]) for name in text.fields)


def test_a_side_table_may_be_joined_already(made):
    dataset, impressions, users = made
    there = impressions.filter(pl.col("u").is_in(users["uid"].to_list()))
    joined = there.join(users, left_on="u", right_on="uid", how="left").with_columns(uid=pl.col("u"))
    apart, _, seen = FrameEncoder(dataset.encoders, {"user": users}).encode(there)
    encoder = FrameEncoder(dataset.encoders)
    assert {f.table for f in encoder.fields} == {IMPRESSIONS}
    rows, _, unseen = encoder.encode(joined)
    assert unseen == seen
    table = FrameEncoder(dataset.encoders, {"user": users}).tables["user"]
    for name in ("uid", "age", "likes"):
        assert bags(rows.fields[name]) == [bags(table[name])[i] for i in apart.links["user"]]


def test_rows_that_cannot_be_encoded_are_named_and_left_out(made):
    dataset, impressions, users = made
    spoiled = impressions.with_row_index("i").with_columns(
        price=pl.when(pl.col("i") == 3).then(pl.lit("cheap")).otherwise("price"),
        tags=pl.when(pl.col("i") == 7).then(pl.lit("1|2")).otherwise("tags"),
        how=pl.when(pl.col("i") == 7).then(pl.lit("1")).otherwise("how"),
    )
    encoder = FrameEncoder(dataset.encoders, {"user": users})
    rows, bad, _ = encoder.encode(spoiled)
    assert [(b.row, b.field) for b in bad] == [(3, "price"), (7, "tags")]
    assert str(bad[0].error("row 4")) == "row 4: field 'price' must hold a number, however: 'cheap'."
    good, _, _ = encoder.encode(impressions.filter(~pl.int_range(pl.len()).is_in([3, 7])))
    assert len(rows) == len(impressions) - 2
    assert all(bags(rows.fields[name]) == bags(good.fields[name]) for name in rows.fields)


def test_one_row_and_no_row(made):
    dataset, impressions, users = made
    encoder = FrameEncoder(dataset.encoders, {"user": users})
    rows, _, unseen = encoder.encode(impressions[:1])
    assert len(rows) == 1
    assert unseen["item"].ids == 1
    rows, bad, unseen = encoder.encode(impressions[:0])
    assert (len(rows), bad, unseen["item"].ids) == (0, [], 0)


def test_what_is_refused(made):
    dataset, impressions, users = made
    with pytest.raises(DataError, match="must have the column 'price', however: it is missing; the columns are u"):
        FrameEncoder(dataset.encoders, {"user": users}).encode(impressions.drop("price"))
    with pytest.raises(DataError, match="side table 'user' must have the column 'uid'"):
        FrameEncoder(dataset.encoders, {"user": users.drop("uid")})
    with pytest.raises(
        DataError, match="a side table must be one of the layout's, however: 'usr'; the layout has user"
    ):
        FrameEncoder(dataset.encoders, {"usr": users})
    with pytest.raises(DataError, match=r"side table 'user', row 3: field 'age' must hold a number, however: 'old'"):
        FrameEncoder(
            dataset.encoders,
            {
                "user": users.with_row_index("i").with_columns(
                    age=pl.when(pl.col("i") == 2).then(pl.lit("old")).otherwise("age")
                )
            },
        )
    with pytest.raises(DataError, match=r"a data frame .*, however: builtins\.int"):
        as_frame(3)


# A later log with the same layout


def test_a_later_log_is_encoded_with_the_layout(made, log, rng):
    dataset, _, users = made
    later, _ = raw(rng, 120)
    log.write("log.csv", later)
    log.out = log.out.with_name("later")
    made_later = log.prepare(SCHEMA, known=dataset.encoders, part="test")
    assert made_later.layout.digest == dataset.layout.digest
    assert [len(p) for p in made_later.parts] == [0, 0, 120]
    rows, _, unseen = FrameEncoder(dataset.encoders, {"user": users}).encode(later)
    assert unseen == made_later.test.unseen
    (chunk,) = made_later.test.chunks()
    assert all(bags(chunk.fields[name]) == bags(rows.fields[name]) for name in rows.fields)


def test_grow_adds_the_new_ids_of_the_training_part(made, log, rng):
    dataset, _, _ = made
    later, _ = raw(rng, 120)
    later = later.with_columns(item=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("new")).otherwise("item"))
    log.write("log.csv", later)
    log.out = log.out.with_name("later")
    grown = log.prepare(SCHEMA, known=dataset.encoders, grow=True, part="train")
    before, after = (d.vocabulary("item")["id"].to_pylist() for d in (dataset, grown))
    assert after[: len(before)] == before
    assert after[len(before)] == "new"
    assert grown.layout.digest != dataset.layout.digest
    assert grown.vocabulary("price").equals(dataset.vocabulary("price"))


def test_an_unlabelled_log_has_no_labels(made, log, rng):
    dataset, _, _ = made
    log.write("log.csv", raw(rng, 50)[0].drop("y", "z"))
    log.out = log.out.with_name("later")
    unlabelled = log.prepare(SCHEMA, known=dataset.encoders, part="test", labelled=False)
    assert not unlabelled.manifest.labelled
    (chunk,) = unlabelled.test.chunks()
    assert chunk.labels is None
    with pytest.raises(DataError, match=r"the outcomes of the impressions must be known, however: .*--unlabelled"):
        unlabelled.test.column("click")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('hour = { from = "h" }\n', "", "field 'hour' is missing"),
        ("hour = {", "day = {", "the layout has no field 'day'"),
        ("hour = {", 'hour = { kind = "ids",', "field 'hour' is of kind ids in impressions, not id in impressions"),
    ],
)
def test_a_schema_with_other_fields_than_the_layout_is_refused(made, log, old, new, message):
    dataset, _, _ = made
    log.out = log.out.with_name("later")
    with pytest.raises(ConfigError, match=message):
        log.prepare(SCHEMA.replace(old, new), known=dataset.encoders)
