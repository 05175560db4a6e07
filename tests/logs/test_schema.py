"""The schema of a log: what is accepted, and what is refused with its key and what to do."""
# ruff: noqa: E501 (one case per line)

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from entirespace.config import parse
from entirespace.core.rows import Field
from entirespace.errors import ConfigError
from entirespace.logs.schema import Schema, read_schema

ROOT = Path(__file__).parents[2]

BASE = """
[impressions]
files = ["log_*.csv"]
labels = { click = "y", conversion = "z" }
[impressions.fields]
a = {}
"""

FULL = """
[impressions]
files = ["log_*.csv", "log_*.parquet"]
order = "time_ms"
labels = { click = "is_click", conversion = { from = "level", values = [2], others = [0, 1] } }
unique = ["user_id", "time_ms"]
delimiter = "\\t"
columns = ["user_id", "time_ms", "is_click", "level"]
[impressions.fields]
hour = { kind = "id", from = "hourmin", min_count = 3 }
duration = { kind = "number", buckets = 7 }
length = { kind = "number" }
session = { kind = "id", hash = 1000 }
[split]
by = "column"
column = "part"
train = ["a"]
test = ["b", "c"]
validation = 0
[roles]
user = "user_id"
item = "hour"
[tables.user]
files = ["users.csv.gz"]
key = "user_id"
on = "uid"
[tables.user.fields]
user_id = { min_count = 2 }
tags = { kind = "ids", separator = ",", weights = "tag_weights" }
[truth]
files = ["truth.parquet"]
"""


def schema(text: str) -> Schema:
    return parse(Schema, tomllib.loads(text), "schema.toml")


def test_the_fields_come_impressions_first_then_table_by_table():
    full = schema(FULL)
    assert full.fields() == (
        Field("hour", "impressions", "id", 3, column="hourmin"),
        Field("duration", "impressions", "number", buckets=7),
        Field("length", "impressions", "number", buckets=20),
        Field("session", "impressions", "id", hash=1000),
        Field("user_id", "user", "id", 2),
        Field("tags", "user", "ids", separator=",", weights="tag_weights"),
    )
    assert full.impressions.fields["hour"].source == "hourmin"
    assert full.impressions.fields["duration"].source is None
    assert full.truth is not None
    assert (full.truth.pctr, full.truth.pcvr) == ("pctr", "pcvr")


def test_the_defaults_are_the_papers():
    split = schema(BASE).split
    assert (split.by, split.train, split.validation) == ("order", 0.5, 0.1)


def test_a_manifest_can_hold_it_and_read_it_back():
    full = schema(FULL)
    assert parse(Schema, full.model_dump(mode="json", by_alias=True, exclude_none=True), "again") == full


@pytest.mark.parametrize(
    "recipe", sorted((ROOT / "src" / "entirespace" / "recipes").glob("*.toml")), ids=lambda p: p.stem
)
def test_the_recipes_are_schemas(recipe):
    assert len(read_schema(recipe).fields()) > 30


def test_the_kuairand_recipe_uses_no_outcome_as_a_field():
    recipe = read_schema(ROOT / "src" / "entirespace" / "recipes" / "kuairand.toml")
    outcomes = {"long_view", "is_like", "is_click", "is_follow", "is_comment", "is_forward", "is_hate"}
    outcomes |= {"is_profile_enter", "play_time_ms"}
    for table in (recipe.impressions, *recipe.tables.values()):
        for name, field in table.fields.items():
            assert (field.source or name) not in outcomes
            assert not (field.source or name).startswith("conv_")


def edited(old: str, new: str) -> str:
    assert BASE.count(old) == 1
    return BASE.replace(old, new)


FIELD = "a = {}"
SIDE = '\n[tables.u]\nfiles = ["u.csv"]\nkey = "k"\n[tables.u.fields]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'impressions' must be given, however: it is missing"),
        (edited("files", "file"), "every key must be known, however: 'impressions.file'. Did you mean 'files'?"),
        (edited('["log_*.csv"]', "[]"), "'impressions.files' must be valid, however: [] (list should have at least 1"),
        (edited('["log_*.csv"]', '"log.csv"'), "'impressions.files' must be valid, however: 'log.csv' (input should be a list"),
        (edited(', conversion = "z"', ""), "'conversion' in [impressions.labels] must be given"),
        (edited('"y"', "1"), "'impressions.labels.click' must be valid, however: 1 (input should be a valid string, or"),
        (edited('"y"', '{ from = "x", vals = [1] }'), "'impressions.labels.click.vals'. Did you mean 'values'?"),
        (edited('"y"', '{ from = "x", values = [] }'), "'impressions.labels.click.values' must be valid, however: []"),
        (edited('"y"', '{ from = "x", values = ["0"] }'), "the level 0 is in both values and others"),
        (edited(FIELD, ""), "no fields: name at least one in [impressions.fields]"),
        (edited(FIELD, 'a = { kind = "idd" }'), "'impressions.fields.a.kind' must be valid, however: 'idd' (input should be 'id', 'ids' or 'number')"),
        (edited(FIELD, "a = { knd = 1 }"), "'impressions.fields.a.knd'. Did you mean 'kind'?"),
        (edited(FIELD, 'a = { separator = "," }'), "separator and weights can only be set with kind = 'ids'"),
        (edited(FIELD, 'a = { kind = "number", weights = "w" }'), "separator and weights can only be set with kind = 'ids'"),
        (edited(FIELD, 'a = { kind = "ids", separator = "" }'), "'impressions.fields.a.separator' must be valid"),
        (edited(FIELD, "a = { buckets = 3 }"), "buckets can only be set with kind = 'number'"),
        (edited(FIELD, 'a = { kind = "number", buckets = 1 }'), "'impressions.fields.a.buckets' must be valid, however: 1"),
        (edited(FIELD, 'a = { kind = "number", min_count = 2 }'), "cannot be set with kind = 'number'"),
        (edited(FIELD, 'a = { kind = "number", hash = 9 }'), "cannot be set with kind = 'number'"),
        (edited(FIELD, "a = { hash = 9, min_count = 2 }"), "min_count cannot be set with hash"),
        (edited(FIELD, "a = { hash = 2147483648 }"), "'impressions.fields.a.hash' must be valid"),
        (edited(FIELD, "a = { min_count = 0 }"), "'impressions.fields.a.min_count' must be valid, however: 0"),
        # a field's name is a column and a file of the dataset
        (edited(FIELD, '"a/b" = {}'), "'impressions.fields.a/b' must be valid, however: 'a/b' (the name of a field"),
        (edited(FIELD, '"" = {}'), "the name of a field or a table is used as a file name"),
        (edited(FIELD, '"../a" = {}'), "the name of a field or a table is used as a file name"),
        (edited(FIELD, '"link.user" = {}'), "link.X, fingerprint.X"),
        (edited(FIELD, '"a.weights" = {}'), "link.X, fingerprint.X"),
        (edited(FIELD, 'user = { from = "uid" }'), "field 'user' of the impressions has the name of a column that `prepare` writes; rename the field and add from = \"uid\""),
        *((edited(FIELD, f"{name} = {{}}"), f"field '{name}' of the impressions") for name in ("click", "order", "part", "true_pcvr")),
        (BASE + SIDE, "no fields in table 'u': name one in [tables.u.fields], or delete the table"),
        (BASE + SIDE + FIELD, "field 'a' is in two tables; rename one of them and add from = \"a\""),
        (BASE + (SIDE + "b = {}").replace('key = "k"', ""), "'tables.u.key' must be given"),
        (BASE + (SIDE + "b = {}").replace("tables.u", "tables.impressions"), "a side table cannot be named 'impressions'"),
        (BASE + (SIDE + "b = {}").replace("tables.u", 'tables."a/b"'), "is used as a file name"),
        (BASE + '[roles]\nusr = "a"', "'roles.usr'. Did you mean 'user'?"),
        (edited(FIELD, 'a = { kind = "number" }') + '[roles]\nitem = "a"', "role 'a' is a number"),
        (BASE + "[split]\ntrain = 1.0", "by = 'order' needs a share between 0 and 1 in train"),
        (BASE + "[split]\ntrain = 'half'", "'split.train' must be valid, however: 'half' (input should be a valid number"),
        (BASE + "[split]\ntrain = ['a']", "by = 'order' needs a share between 0 and 1 in train"),
        (BASE + "[split]\ntest = ['a']", "column and test can only be set with by = 'column' or 'file'"),
        (BASE + "[split]\nvalidation = 1", "'split.validation' must be valid, however: 1"),
        (BASE + "[split]\nby = 'time'", "'split.by' must be valid, however: 'time' (input should be 'order', 'random', 'user', 'column', 'file' or 'all')"),
        (BASE + "[split]\nby = 'file'", "by = 'file' needs lists in train and test"),
        (BASE + "[split]\nby = 'file'\ntrain = ['a']", "by = 'file' needs lists in train and test"),
        (BASE + "[split]\nby = 'column'\ntrain = ['a']\ntest = ['b']", "column must be set with by = 'column'"),
        (BASE + "[split]\nby = 'file'\ntrain = ['a']\ntest = ['b']\ncolumn = 'c'", "column must be set with by = 'column'"),
        (BASE + "[split]\nby = 'file'\ntrain = ['a', 'b']\ntest = ['b']", "'b' is in both train and test"),
        (BASE.replace("labels", 'delimiter = ""\nlabels'), "'impressions.delimiter' must be valid, however: ''"),
        (BASE.replace("labels", 'delimiter = "||"\nlabels'), "'impressions.delimiter' must be valid, however: '||'"),
        (BASE.replace("labels", 'delimiter = "→"\nlabels'), "delimiter must be an ASCII character"),
        (BASE + "[truth]\nfile = 't.parquet'", "'truth.file'. Did you mean 'files'?"),
    ],
)  # fmt: skip
def test_what_is_refused(text, message):
    with pytest.raises(ConfigError) as raised:
        schema(text)
    assert str(raised.value).startswith("schema.toml: ")
    assert message in str(raised.value)


def test_a_side_table_may_have_a_field_named_like_a_column_of_the_impressions():
    assert [f.name for f in schema(BASE + SIDE + "user = {}").fields()] == ["a", "user"]
