"""A request of raw values scores as the same rows in a data frame."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from requested import as_request, joined_rows

from entirespace.core.rows import Field, Ragged, ValueFormat
from entirespace.errors import DataError
from entirespace.features.encoders import Hashed, Knots, Vocabulary
from entirespace.features.frames import FrameEncoder
from entirespace.features.layout import Encoders
from entirespace.serving.bundle import Bundle
from entirespace.serving.ports import Ports
from entirespace.serving.ranker import Ranker
from entirespace.serving.requests import BadRequest
from entirespace.serving.values import BadValue, column

NAMES = ("pctr", "pcvr", "pctcvr")


@pytest.fixture(scope="module")
def bundle(exported) -> Bundle:
    return Bundle.open(exported[1])


@pytest.fixture(scope="module")
def ranker(bundle) -> Ranker:
    return Ranker(bundle)


def ranked(ranker: Ranker, body):
    return ranker.rank(ranker.form.read(json.loads(json.dumps(body))))


@pytest.mark.parametrize("first", [0, 1, 7, 50])
def test_scores_are_those_of_data_frames(ranker, bundle, first):
    body, plain = as_request(joined_rows()[first : first + 200])
    for _ in range(2):  # the second time all values are known
        found, want = ranked(ranker, body), bundle.predict(plain)
        for name in NAMES:
            np.testing.assert_allclose(getattr(found, name), getattr(want, name), rtol=0, atol=1e-6)
        assert found.ids == plain["vid"].to_list()
        for field in ("vid", "shop"):
            assert found.unseen.get(field, 0) == want.unseen[field].unseen
        for field in ("uid", "city", "tab"):
            assert found.unseen.get(field, 0) == want.unseen[field].unseen / 200


def test_what_is_not_sent_is_missing_and_counted(ranker, bundle):
    rows = joined_rows()[:1]
    found = ranked(ranker, {"user_id": "u1", "candidates": [3, "4", {"id": 5}]})
    nothing = dict.fromkeys(rows.columns) | {"words": [], "liked": [], "liked_weights": []}
    plain = pl.DataFrame([nothing | {"uid": "u1", "vid": i} for i in (3, 4, 5)], schema=rows.schema)
    want = bundle.predict(plain)
    for name in NAMES:
        np.testing.assert_allclose(getattr(found, name), getattr(want, name), rtol=0, atol=1e-6)
    assert found.ids == [3, "4", 5]
    assert found.unseen["price"] == 1
    assert found.unseen["length"] == 3
    assert "uid" not in found.unseen
    assert len(ranked(ranker, {"candidates": []}).pctr) == 0


@pytest.mark.parametrize(
    ("body", "where", "must"),
    [
        ([], "the request", "the request must be an object"),
        ({}, "candidates", "must hold candidates"),
        ({"candidates": {}}, "candidates", "must be a list"),
        ({"candidates": [1], "usr": {}}, "body", "a request must hold"),
        ({"candidates": [1], "user": []}, "user", "user must be an object"),
        ({"candidates": [1], "user": {"agee": 3}}, "user", "user must hold columns of the model"),
        ({"candidates": [1], "user": {"age": True}}, "user.age", "'age' must hold a number"),
        ({"candidates": [1], "user": {"age": "old"}}, "user.age", "'age' must hold a number"),
        ({"candidates": [1], "user": {"age": "nan"}}, "user.age", "'age' must hold a number"),
        ({"candidates": [1], "user": {"city": ["Rome"]}}, "user.city", "'city' must hold an id"),
        ({"candidates": [1], "user": {"city": 2**70}}, "user.city", "64 bits"),
        ({"candidates": [1], "user": {"city": 1e300}}, "user.city", "'city' must hold an id"),
        ({"candidates": [1], "user": {"liked": [1, None]}}, "user.liked[1]", "'liked' must hold ids"),
        ({"candidates": [1], "user": {"liked": [1, 2], "liked_weights": [1]}}, "user.liked_weights", "as many weights"),
        ({"candidates": [1], "user": {"liked": [1]}}, "user.liked_weights", "as many weights"),
        ({"candidates": [1], "user": {"liked": [1], "liked_weights": [-1]}}, "user.liked_weights[0]", "weights"),
        ({"candidates": [1], "context": {"city": "Rome"}}, "context", "context must hold columns"),
        ({"candidates": [1, {"shop": "s1"}]}, "candidates[1]", "a candidate must have an id"),
        ({"candidates": [1, {"id": [1]}]}, "candidates[1].id", "an id must be"),
        ({"candidates": [1, None]}, "candidates[1]", "a candidate must be an object, or an id"),
        ({"candidates": [{"id": 1}, {"id": 2, "age": 3}]}, "candidates[1]", "candidate must hold columns"),
        ({"candidates": [{"id": 1}, {"id": 2, "length": {}}]}, "candidates[1].length", "'length' must hold a number"),
        ({"candidates": [1] * 5001}, "candidates", "at most 5,000"),
        ({"candidates": [{"id": "a"}, {"id": "a" * 10_001}]}, "candidates[1].id", "at most 10,000"),
        ({"candidates": [1], "context": {"words": ["a"] * 1001}}, "context.words", "at most 1,000"),
    ],
)
def test_a_fault_names_field_and_place(ranker, body, where, must):
    with pytest.raises(BadRequest) as caught:
        ranked(ranker, body)
    assert caught.value.where == where or caught.value.where == f"'{where}'"
    assert must in caught.value.must


def test_the_right_place_is_named(ranker):
    with pytest.raises(BadRequest) as caught:
        ranked(ranker, {"candidates": [{"id": 1, "age": 3}]})
    assert caught.value.do == "Send it in user"


class Tables:
    tables = frozenset({"user", "item"})

    def __init__(self, frames):
        self.frames = frames

    def fields(self, table, keys):
        key = {"user": "uid", "item": "vid"}[table]
        wanted = pl.DataFrame({key: keys}, schema={key: pl.String})
        return wanted.join(self.frames[table].with_columns(pl.col(key).cast(pl.String)), on=key, how="left")


class NewCounts:
    def counts(self, key, ids):
        return np.array([[3.0, 2.0, 1.0] if one == "7" else [0.0, 0.0, 0.0] for one in ids]).reshape(-1, 3)


def test_side_tables_on_the_server(bundle):
    from exported import small_log

    _, tables = small_log(seed=5)
    ranker = Ranker(bundle, Ports(lookup=Tables(tables)))
    found = ranked(ranker, {"user_id": "u3", "candidates": ["4", 999, {"id": 7, "shop": "other"}]})
    user = tables["user"].filter(uid="u3").to_dicts()[0]
    items = [tables["item"].filter(vid=i).to_dicts()[0] for i in (4, 7)]
    items[1]["shop"] = "other"
    candidates = [{"id": "4", **items[0]}, {"id": 999}, {"id": 7, **items[1]}]
    want = ranked(Ranker(bundle), {"user": user, "candidates": candidates})
    np.testing.assert_array_equal(found.pctcvr, want.pctcvr)
    assert found.unseen == want.unseen


def test_fresh_counts_change_the_rates_of_their_ids_only(bundle):
    old, new = Ranker(bundle), Ranker(bundle, Ports(fresh=NewCounts()))
    body, _ = as_request(joined_rows()[:60])
    body["candidates"] = [{"id": i} for i in range(20)]
    body["context"]["words"] = []
    before, after = ranked(old, body), ranked(new, body)
    changed = before.pctcvr != after.pctcvr
    assert changed[7]
    np.testing.assert_allclose(np.delete(before.pctcvr, 7), np.delete(after.pctcvr, 7), rtol=0, atol=1e-6)


# Values

PLAIN = ValueFormat()
IDS = Vocabulary(pl.Series(["7", "true", "007", "", "a", "7.5", "-3", "2024-05-31 18:00:00.5", "1"]), np.ones(9, int))
ODD = ["7", 7, 7.0, "7.0", "007", True, "True", 1, 1.0, "", None, "a", 7.5, -3, "-0", 0.0, -0.0, 1e-7, 2**40,
       "2024-05-31 18:00:00.50", "2024-05-31T20:00:00.5+02:00", False, "x" * 50, "ü", 2**63 + 5, "NULL"]  # fmt: skip
FORMATS = [PLAIN, ValueFormat(missing=("NULL", "7"))]


def of_frame(field: Field, encoder, value, weight=None) -> Ragged:
    """One value through a data frame."""
    columns = {field.source: [value]} | ({field.weights: [weight]} if field.weights else {})
    frame = pl.DataFrame(columns, strict=False)
    frame = frame.with_columns(pl.col(pl.Null).cast(pl.String))
    rows, bad, _ = FrameEncoder(Encoders((field,), {field.name: encoder}, {})).encode(frame)
    if bad:
        raise DataError(bad[0].must, bad[0].value)
    return rows.fields[field.name]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("encoder", [IDS, Hashed(50)])
def test_ids_are_encoded_as_in_data_frames(encoder, form):
    field = Field("f", format=form)
    mine = column(field, encoder.encode)
    want = [int(of_frame(field, encoder, value).values[0]) for value in ODD]
    for order in (list(range(len(ODD))), list(range(len(ODD)))[::-1], [*range(0, len(ODD), 2), *range(1, len(ODD), 2)]):
        found = column(field, encoder.encode).encode([ODD[i] for i in order]).values
        assert found.tolist() == [want[i] for i in order]
        assert mine.encode([ODD[i] for i in order]).values.tolist() == found.tolist()
    with pytest.raises(BadValue, match="exact"):
        mine.encode([1.0, 2.0**60])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("separator", [None, "|", " "])
def test_bags_are_encoded_as_in_data_frames(form, separator):
    field = Field("f", kind="ids", separator=separator, format=form)
    values = [["7", "a"], [7, 8], [], None, "", "7", 7, 7.0, True, "a|7", "[7, 'a']", "(a 7)", "7 a", ["7.0"], ["a|7"],
              [True], ["NULL", "a"], "NULL"]  # fmt: skip
    mine = column(field, IDS.encode)
    for some in (values, values[::-1], values[:3]):
        found = mine.encode(some)
        assert found.offsets is not None
        for i, value in enumerate(some):
            want = of_frame(field, IDS, value)
            assert found.values[found.offsets[i] : found.offsets[i + 1]].tolist() == want.values.tolist(), value
    assert mine.encode([[True, 1, "a", 7.5]]).values.tolist() == [2, 9, 5, 6]


def test_weights_are_encoded_as_in_data_frames():
    for form in FORMATS:
        field = Field("f", kind="ids", weights="w", separator="|", format=form)
        values = [["7", "a"], [7, 8], [], "a|7", ["a"], None]
        weights = [[1, 0.5], [0, 2.5], [], "0.5|2", [3], None]
        mine = column(field, IDS.encode)
        found = mine.encode(values, weights)
        assert found.offsets is not None
        assert found.weights is not None
        for i, (value, weight) in enumerate(zip(values, weights, strict=True)):
            want = of_frame(field, IDS, value, weight)
            here = slice(found.offsets[i], found.offsets[i + 1])
            assert found.values[here].tolist() == want.values.tolist()
            assert want.weights is not None
            assert found.weights[here].tolist() == want.weights.tolist()
        plain = mine.encode(values[:3], weights[:3])
        assert plain.weights is not None
        assert plain.weights.tolist() == [1, 0.5, 0, 2.5][: len(plain.weights)] or form != PLAIN


@pytest.mark.parametrize("form", [PLAIN, ValueFormat(missing=("-1",)), ValueFormat(decimal=",")])
def test_numbers_and_times_are_encoded_as_in_data_frames(form):
    knots = Knots(np.array([0.0, 1.5, 7.0, 20.0]))
    field = Field("f", kind="number", buckets=4, format=form)
    values = [1, 2.5, None, "7", " 7.5 ", "", 1e300, -1, "-1", 3.25, 0]
    if form.decimal == ",":
        values[4] = " 7,5 "
    mine = column(field, knots.encode)
    want = [of_frame(field, knots, value).values[0] for value in values]
    assert mine.encode(values).values.tolist() == want
    assert mine.encode(values[:3]).values.tolist() == want[:3]
    with pytest.raises(BadValue, match="a number"):
        mine.encode([1, "dear"])
    hour = Field("f", part="hour", format=ValueFormat(time_unit="s"))
    hours = Vocabulary(pl.Series([str(i) for i in range(24)]), np.ones(24, int))
    times = ["2024-05-31 18:00", "2024-05-31T18:00:00+02:00", None, 7200, datetime.datetime(2024, 5, 31, 5)]
    want = [of_frame(hour, hours, value).values[0] for value in times]
    assert column(hour, hours.encode).encode(times).values.tolist() == want
    with pytest.raises(BadValue, match="a time"):
        column(replace(hour, format=PLAIN), hours.encode).encode(["yesterday"])
