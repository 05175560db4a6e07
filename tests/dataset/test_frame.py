"""Datasets from data frames equal those from files with the same rows."""

from __future__ import annotations

import gc

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.dataset.describe import describe
from entirespace.errors import ConfigError


@pytest.fixture
def frames(rng) -> tuple[pl.DataFrame, pl.DataFrame]:
    n = 120
    impressions = pl.DataFrame(
        {
            "time": np.arange(n),
            "user": rng.integers(0, 9, n),
            "tab": rng.choice(["a", "b"], n),
            "price": rng.random(n),
            "seen": [[int(i), int(i) + 1] for i in rng.integers(0, 5, n)],
            "clicked": rng.random(n) < 0.5,
            "bought": rng.integers(0, 2, n),
        }
    )
    return impressions, pl.DataFrame({"user": range(8), "age": np.linspace(18, 80, 8)})


OPTIONS = {"click": "clicked", "conversion": "bought", "order": "time", "user": "user"}


def test_a_frame_is_prepared_like_files_with_its_rows(frames, tmp_path):
    impressions, users = frames
    made = es.from_frame(impressions, tables={"user": es.SideTable(users, key="user")}, **OPTIONS)
    assert [(f.name, f.table, f.kind) for f in made.fields] == [
        ("tab", "impressions", "id"),
        ("price", "impressions", "number"),
        ("seen", "impressions", "ids"),
        ("user", "user", "id"),
        ("age", "user", "number"),
    ]
    assert [len(part) for part in made.parts] == [54, 6, 60]
    (tmp_path / "raw").mkdir()
    impressions.write_parquet(tmp_path / "raw" / "impressions.parquet")
    users.write_parquet(tmp_path / "raw" / "user.parquet")
    schema = tmp_path / "schema.toml"
    schema.write_text("""
[impressions]
files = ["impressions.parquet"]
order = "time"
labels = { click = "clicked", conversion = "bought" }
[impressions.fields]
tab = {}
price = { kind = "number" }
seen = { kind = "ids" }
[tables.user]
files = ["user.parquet"]
key = "user"
[tables.user.fields]
user = {}
age = { kind = "number" }
[roles]
user = "user"
""")
    assert es.prepare(schema, tmp_path / "raw", tmp_path / "dataset").digest == made.digest


def test_a_later_frame_is_prepared_with_the_layout_of_an_earlier_one(frames):
    impressions, users = frames
    tables = {"user": es.SideTable(users, key="user")}
    made = es.from_frame(impressions, tables=tables, **OPTIONS)
    later = es.from_frame(impressions.to_arrow(), tables=tables, encoders=made, part="test", **OPTIONS)
    assert later.layout.digest == made.layout.digest
    assert [len(part) for part in later.parts] == [0, 0, 120]


def test_fields_may_be_named_with_their_kinds(frames):
    impressions, _ = frames
    fields = {
        "tab": "id",
        "cost": {"kind": "number", "from": "price", "buckets": 3},
        "uid": {"from": "user", "min_count": 2},
    }
    made = es.from_frame(impressions, fields=fields, weight="price", **(OPTIONS | {"user": "uid"}))
    assert [(f.name, f.kind) for f in made.fields] == [("tab", "id"), ("cost", "number"), ("uid", "id")]
    (chunk,) = made.test.chunks()
    np.testing.assert_array_equal(chunk.labels.weight, impressions["price"][60:].cast(pl.Float32).to_numpy())


def test_the_temporary_folder_is_deleted_with_the_dataset(frames):
    made = es.from_frame(frames[0], fields=["tab"], **(OPTIONS | {"user": None}))
    path = made.path
    assert path.is_dir()
    del made
    gc.collect()  # a dataset and its parts refer to each other
    assert not path.exists()


def test_what_is_refused(frames):
    impressions, _ = frames
    with pytest.raises(ConfigError, match=r"however: no column 'tba'\. Did you mean 'tab'"):
        es.from_frame(impressions, fields=["tba"], **OPTIONS)
    dated = impressions.with_columns(day=pl.lit("2024-01-01").str.to_date())
    with pytest.raises(ConfigError, match="column 'day' of the impressions must hold ids, lists of ids or numbers"):
        es.from_frame(dated, **OPTIONS)
    with pytest.raises(ConfigError, match=r"for roles\.user, however: no column 'nobody'"):
        es.from_frame(impressions, fields=["tab"], **{**OPTIONS, "user": "nobody"})


def test_a_log_of_one_part_alone_is_described_by_that_part(frames):
    impressions, _ = frames
    made = es.from_frame(impressions, part="test", **{**OPTIONS, "user": None, "fields": {"tab": "id", "seen": "ids"}})
    assert {f["field"]: f["ids_per_impression"] for f in describe(made)["fields"]} == {"tab": 1, "seen": 2}
