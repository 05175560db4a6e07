"""What [history] accepts, and what it refuses with the place, the reason and what to do."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.config import parse
from entirespace.errors import ConfigError
from entirespace.logs.schema import Schema

N = 60
FIELDS: dict[str, Any] = {
    "uid": {},
    "tab": {},
    "tags": {"kind": "ids", "separator": "|"},
    "price": {"kind": "number", "buckets": 2},
}


def log(n: int = N) -> pl.DataFrame:
    i = np.arange(n)
    columns = {"t": i, "y": i % 3 == 0, "z": i % 6 == 0, "uid": i % 7, "tab": i % 4, "tags": i % 5, "price": i % 9}
    return pl.DataFrame({**columns, "shop": i % 2, "a/b": i % 2}).with_columns(pl.col("tags").cast(pl.String))


def prepared(history: dict[str, Any] | None, **options: Any) -> es.Dataset:
    """A small log with a side table "author", counted by the settings of [history]."""
    videos = pl.DataFrame({"uid": range(7), "author": [str(i % 3) for i in range(7)], "size": np.arange(7) / 7})
    side = es.SideTable(videos, key="uid", fields={"author": "id", "size": "number"})
    how = {"click": "y", "conversion": "z", "order": "t", "fields": FIELDS, "tables": {"user": side}, **options}
    return es.from_frame(log(), history=history, **how)


def keys(data: es.Dataset) -> dict[str, tuple[str, ...]]:
    """Key -> its parents."""
    history = data.layout.history
    return {} if history is None else {key.name: key.parents for key in history.keys}


# What is counted


def test_all_stands_for_every_field_of_ids():
    everything = {"uid": (), "tab": (), "tags": (), "author": ()}
    assert keys(prepared({"keys": "all"})) == everything
    assert keys(prepared({"keys": ["all"]})) == everything
    more = {"keys": ["all", ["uid", "tab"], "shop", "tab"], "parents": {"uid": ["author"], "tab": ["shop"]}}
    assert keys(prepared(more)) == {
        **everything,
        "uid": ("author",),
        "tab": ("shop",),
        "uid x tab": ("uid", "author"),
        "shop": (),
    }


def test_a_pair_leans_on_its_first_column_unless_the_schema_says_otherwise():
    pair = ["tab", "shop"]
    assert keys(prepared({"keys": [pair]})) == {"tab x shop": ("tab",), "tab": ()}
    assert keys(prepared({"keys": [pair], "parents": {"tab x shop": ["shop"]}})) == {
        "tab x shop": ("shop",),
        "shop": (),
    }
    assert keys(prepared({"keys": [pair], "parents": {"tab x shop": []}})) == {"tab x shop": ()}


def test_a_pair_can_be_a_parent_if_it_is_a_key():
    history = {"keys": ["uid", ["tab", "shop"]], "parents": {"uid": ["tab x shop"]}}
    assert keys(prepared(history))["uid"] == ("tab x shop",)


def test_without_history_there_are_no_rates():
    data = prepared(None)
    assert keys(data) == {}
    assert not any(f.kind == "rate" for f in data.fields)


# What is refused before the log is read

PAGE = """
[impressions]
files = ["log.csv"]
order = "t"
labels = { click = "y", conversion = "z" }
times = { conversion = "z_time" }
[impressions.fields]
uid = {}
[history]
"""


def refused(text: str, page: str = PAGE) -> str:
    with pytest.raises(ConfigError) as error:
        parse(Schema, tomllib.loads(page + text), "schema.toml")
    return str(error.value)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("[]", '[] (it must list at least one column, or be "all")'),
        ('["uid", "uid"]', "['uid', 'uid'] (key 'uid' is listed twice)"),
        ('[["uid", "uid"]]', "[['uid', 'uid']] (a pair must have two different columns, not 'uid' twice)"),
        (
            '[["a", "b"], ["b", "a"]]',
            "[['a', 'b'], ['b', 'a']] (the pair of 'a' and 'b' is listed twice)",
        ),
        ('[["a"]]', "[['a']] (a key must be a column or a pair of columns, not a list of 1)"),
        ('[["a", "b", "c"]]', "[['a', 'b', 'c']] (a key must be a column or a pair of columns, not a list of 3)"),
        ('"every"', "'every' (input should be 'all', or input should be a list)"),
    ],
)
def test_keys_that_are_refused(keys, why):
    assert refused(f"keys = {keys}") == f"schema.toml: 'history.keys' must be valid, however: {why}."


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("rates", '["clicks"]', "['clicks'] ('clicks' is not a rate. Did you mean 'click'?)"),
        ("rates", '["click", "click"]', "['click', 'click'] (rate 'click' is listed twice)"),
        ("rates", "[]", "[] (it must list at least one of click, conversion, ctcvr)"),
        ("prior", "0", '0 (it must be a positive number of impressions, or "fit")'),
        ("half_life", "0", "0 (it must be longer than 0; leave it out if all outcomes count alike)"),
        ("half_life", '"0d"', "'0d' (it must be longer than 0; leave it out if all outcomes count alike)"),
        ("half_life", "-5", "-5 (a duration cannot be negative)"),
        ("delay", "-5", "-5 (a duration cannot be negative)"),
        (
            "delay",
            '"1 week"',
            "'1 week' (a duration must be a number with a unit, such as 7d, 12h, 30m or 90s, not '1 week')",
        ),
        ("seed", "-1", "-1 (input should be greater than or equal to 0)"),
        ("folds", "1", "1 (input should be greater than or equal to 2)"),
        ("cross_fit", '"fold"', "'fold' (input should be 'folds' or 'time')"),
    ],
)
def test_settings_that_are_refused(setting, value, why):
    expected = f"schema.toml: 'history.{setting}' must be valid, however: {why}."
    assert refused(f'keys = "all"\n{setting} = {value}') == expected


@pytest.mark.parametrize(
    ("parents", "why"),
    [
        ('{ uid = ["uid"] }', "parents must not lead back to their key, as uid -> uid does"),
        (
            '{ uid = ["b"], b = ["c"], c = ["uid"] }',
            "parents must not lead back to their key, as uid -> b -> c -> uid does",
        ),
        ('{ uid = ["b", "b"] }', "'b' is listed twice among the parents of 'uid'"),
    ],
)  # fmt: skip
def test_parents_that_are_refused(parents, why):
    message = refused(f'keys = ["uid", "b", "c"]\nparents = {parents}')
    assert message.startswith("schema.toml: 'history' must be valid, however: {'keys': ['uid', 'b', 'c'], 'parents': ")
    assert message.endswith(f"({why}).")


def test_a_pair_that_is_the_parent_of_its_first_column_leads_back_to_itself():
    message = refused('keys = ["uid", ["uid", "b"]]\nparents = { uid = ["uid x b"] }')
    assert message.endswith("(parents must not lead back to their key, as uid x b -> uid x b does).")


@pytest.mark.parametrize("name", ["a/b", "a\\\\b"])
def test_a_name_that_cannot_be_that_of_a_file_is_refused(name):
    name_ = name.replace("\\\\", "\\")
    advice = (
        "the name of a key or a parent is used as a file name: it cannot be empty or contain a slash, as "
        f"'{name_}'; make it a field of another name, with from = \"{name_}\""
    )
    assert refused(f'keys = ["{name}"]').endswith(f"({advice}).")
    assert refused(f'keys = ["uid"]\nparents = {{ uid = ["{name}"] }}').endswith(f"({advice}).")


@pytest.mark.parametrize(
    ("column", "what"), [("y", "click"), ("z", "conversion"), ("z_time", "the time of a conversion")]
)
@pytest.mark.parametrize("setting", ['keys = ["uid", "{}"]', 'keys = [["uid", "{}"]]', 'keys = ["uid"]\nparents = {{ uid = ["{}"] }}'])  # fmt: skip # noqa: E501
def test_an_outcome_is_no_key(column, what, setting):
    assert refused(setting.format(column)) == (
        f"schema.toml: the file must be valid, however: [history] counts by column '{column}', which is {what}: an "
        "outcome is not known when the impression is shown, so it cannot be a key."
    )


@pytest.mark.parametrize("setting", ['half_life = "7d"', "delay = 3"])
def test_times_are_needed_where_they_decide(setting):
    page = PAGE.replace('order = "t"\n', "")
    assert refused(f'keys = "all"\n{setting}', page) == (
        "schema.toml: the file must be valid, however: half_life and delay in [history] need the times of the "
        "impressions: set order."
    )


@pytest.mark.parametrize("name", ["rate.click.uid", "history.uid", "earlier.uid.0"])
def test_a_field_cannot_have_the_name_of_a_rate(name):
    message = refused('keys = "all"', PAGE.replace("uid = {}", f'uid = {{}}\n"{name}" = {{}}'))
    assert "rate.X, history.X, earlier.X and X.weights are reserved for columns that `prepare` writes" in message


def test_a_window_of_conversions_is_no_negative_duration_either():
    page = """
        [impressions]
        files = ["log.csv"]
        order = "t"
        labels = { click = "y" }
        [impressions.fields]
        uid = {}
        [conversions]
        files = ["orders.csv"]
        key = "uid"
        time = "when"
        window = -1
    """
    assert refused("", page) == (
        "schema.toml: 'conversions.window' must be valid, however: -1 (a duration cannot be negative)."
    )


# What is refused when the columns are known

NO_COLUMN = (
    "impressions.parquet: a key or a parent in [history] must be a field, a column of the impressions or a pair among "
    "keys, however:"
)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (
            {"keys": ["uid", "authr"]},
            f"{NO_COLUMN} 'authr' is none of these. Did you mean 'author'?",
        ),
        (
            {"keys": [["uid", "shp"]]},
            f"{NO_COLUMN} 'shp' is none of these. Did you mean 'shop'?",
        ),
        (
            {"keys": ["uid"], "parents": {"uid": ["uid x tab"]}},
            f'{NO_COLUMN} \'uid x tab\' is none of these. A pair is a list of two columns: ["uid", "tab"].',
        ),
        (
            {"keys": ["uid"], "parents": {"ud": ["tab"]}},
            "parents in [history] must be given for keys, however: 'ud' is no key. Did you mean 'uid'?",
        ),
        (
            {"keys": ["uid", "price"]},
            "a key in [history] must be a field or a column of ids, however: 'price' is a number. "
            "Leave it out, or count by a column of ids.",
        ),
        (
            {"keys": ["uid"], "parents": {"uid": ["size"]}},
            "a parent in [history] must be a field or a column of ids, however: 'size' is a number. "
            "Leave it out, or count by a column of ids.",
        ),
        (
            {"keys": [["uid", "tags"]]},
            "the columns of a pair in [history] must have one id per row, however: 'tags' has any number of ids. "
            "Use 'tags' as a key of its own.",
        ),
        (
            {"keys": "all", "half_life": "7d"},
            "half_life must be a number in the unit of `order`, because times are numbers of an unknown unit, however: "
            "'7d'. Declare the unit: time = { unit = \"s\" } in [impressions].",
        ),
    ],
)
def test_keys_that_do_not_fit_the_log(history, message):
    with pytest.raises(ConfigError) as error:
        prepared(history)
    assert str(error.value) == message


def test_all_needs_a_field_of_ids():
    with pytest.raises(ConfigError) as error:
        prepared({"keys": "all"}, fields={"price": "number"}, tables={})
    assert str(error.value) == (
        'keys = "all" in [history] needs a field of kind id or ids, however: all fields are numbers. '
        "List columns of ids in keys."
    )


def test_a_column_of_lists_that_is_no_field_is_no_key():
    frame = log().with_columns(lists=pl.concat_list("uid", "tab"))
    with pytest.raises(ConfigError) as error:
        es.from_frame(frame, click="y", conversion="z", fields=["uid"], history={"keys": ["lists"]})
    assert str(error.value) == (
        "impressions.parquet: the column for [history] must hold one value per row, however: column 'lists' holds "
        'List(Int64). kind = "ids" reads lists of ids.'
    )


# A later log


def test_a_later_log_is_counted_as_the_layout_says(tmp_path: Path):
    first = prepared({"keys": ["uid", "shop", ["uid", "tab"]], "parents": {"uid": ["author"]}})
    notes = {}
    for name, history in {
        "same": {"keys": ["uid", "shop", ["uid", "tab"]], "parents": {"uid": ["author"]}},
        "none": None,
        "other": {"keys": ["uid"]},
    }.items():
        later = prepared(history, encoders=first, part="test", out=tmp_path / name)
        assert later.layout.digest == first.layout.digest
        rates = np.concatenate([rows.numbers for rows in later.test.chunks() if rows.numbers is not None])
        assert rates.shape == (N, len(first.layout.rates))
        notes[name] = [note for note in later.manifest.audit["notes"] if "[history]" in note]
    assert notes == {
        "same": [],
        "none": [],
        "other": ["The schema's [history] has other keys or parents than the layout's, which is used."],
    }


def test_a_layout_without_history_stays_without(tmp_path: Path):
    first = prepared(None)
    later = prepared({"keys": "all"}, encoders=first, part="test", out=tmp_path / "later")
    assert later.layout.digest == first.layout.digest
    assert "The layout has no history, so the schema's [history] is not used." in later.manifest.audit["notes"]
