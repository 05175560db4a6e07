"""A run reads the fields that its configuration leaves, as if its dataset had no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch

import entirespace as es
from entirespace.batches.batch import Batch
from entirespace.config import Config
from entirespace.core.rows import PlacedField
from entirespace.dataset.dataset import Dataset
from entirespace.errors import ConfigError, DataError, RunError
from entirespace.features.chosen import ChosenFields
from entirespace.methods import Method, base_rate, once
from entirespace.runs.run import Run
from entirespace.scoring.score import score
from entirespace.training import needs
from entirespace.training.needs import check_memory, warnings_of

N = 1500
FIELDS = {"uid": "id", "item": "id", "price": {"kind": "number", "buckets": 6}, "tags": "ids"}
OF_SHOP = {"sid": "id", "size": {"kind": "number", "buckets": 4}}


def frames(n: int = N, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    uid, price = rng.integers(0, 40, n), rng.normal(size=n)
    y = rng.random(n) < 1 / (1 + np.exp(-price + (uid % 3 - 1)))
    log = pl.DataFrame(
        {
            "t": np.arange(n),
            "y": y.astype(int),
            "z": (y & (rng.random(n) < 0.4)).astype(int),
            "uid": uid,
            "item": rng.integers(0, 30, n),
            "price": [None if i % 9 == 0 else p for i, p in enumerate(price.tolist())],
            "tags": [[int(tag) for tag in rng.integers(0, 6, i % 3)] for i in range(n)],
            "shop": rng.integers(0, 9, n),
        }
    )
    return log, pl.DataFrame({"shop": np.arange(8), "sid": np.arange(8), "size": rng.normal(size=8).round(2)})


def prepared(*without: str, **columns: Any) -> Dataset:
    log, shops = frames()
    fields = {**FIELDS, **dict.fromkeys(columns, "id")}
    own, side = ({name: kind for name, kind in some.items() if name not in without} for some in (fields, OF_SHOP))
    tables = {"shop": es.SideTable(shops, key="shop", fields=side)} if side else {}
    how: dict[str, Any] = {"click": "y", "conversion": "z", "order": "t", "train": 0.7, "validation": 0.2}
    return es.from_frame(
        log.with_columns(pl.Series(k, v) for k, v in columns.items()), fields=own, tables=tables, **how
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    return prepared()


@pytest.fixture(scope="module")
def with_fields(quick) -> Callable[..., Config]:
    """The quick configuration, with fields excluded."""

    def made(*exclude: str, **network: Any) -> Config:
        plain = quick.model_dump(mode="json")
        return Config.model_validate({**plain, "network": {**plain["network"], "exclude": exclude, **network}})

    return made


@pytest.fixture(scope="module")
def ctr(data, quick) -> Run:
    """The reference CTR network, which reads all fields."""
    return es.reference_ctr(data.train, config=quick)


@pytest.fixture(scope="module")
def without_user(data, ctr, with_fields, tmp_path_factory) -> Run:
    """BASE without the user, beside a reference CTR network with all fields."""
    folder = tmp_path_factory.mktemp("chosen") / "run"
    return es.fit(es.BASE(), data.train, config=with_fields("uid"), reference=ctr, out=folder)


def arrays(p) -> np.ndarray:
    return np.stack([p.pctr, p.pcvr, p.pctcvr])


def losses(run: Run) -> list[float]:
    return [json.loads(line)["validation_loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


# As if there were no other fields


@pytest.mark.parametrize("numbers", ["bucket", "interpolate"])
@pytest.mark.parametrize(
    "exclude", [("uid",), ("price",), ("tags",), ("sid",), ("sid", "size"), ("item", "uid", "tags")], ids=",".join
)
def test_a_run_is_that_of_a_dataset_without_the_field(data, with_fields, exclude, numbers):
    """To the bit: weights, losses and predictions."""
    less = prepared(*exclude)
    mine = es.fit(es.ESMM(), data.train, seed=2, config=with_fields(*exclude, numbers=numbers))
    theirs = es.fit(es.ESMM(), less.train, seed=2, config=with_fields(numbers=numbers))
    assert losses(mine) == losses(theirs)
    for name, weight in theirs.network.state_dict().items():
        assert torch.equal(mine.network.state_dict()[name], weight), name
    np.testing.assert_array_equal(arrays(mine.predict(data.test)), arrays(theirs.predict(less.test)))
    assert mine.network.embedding("shared").weight.shape[0] == less.rows < data.rows


def test_nothing_excluded_is_every_field(data, with_fields):
    chosen = ChosenFields.of(data.layout.fields, with_fields().network)
    assert chosen.names == tuple(f.name for f in data.fields)
    assert chosen.offsets == data.layout.offsets == tuple(f.offset for f in data.fields)
    assert (chosen.rows, chosen.numbers) == (data.rows, "bucket")


def test_interpolated_numbers_are_learned_kept_and_predicted_from_frames(data, with_fields, tmp_path):
    run = es.fit(es.ESMM(), data.train, config=with_fields(numbers="interpolate"), out=tmp_path / "run")
    assert losses(run)[-1] < losses(run)[0]
    buckets = es.fit(es.ESMM(), data.train, config=with_fields())
    want = run.predict(data.test)
    assert not np.array_equal(want.pctcvr, buckets.predict(data.test).pctcvr)
    log, shops = frames()
    found = es.load(tmp_path / "run").predict(log.tail(len(data.test)), tables={"shop": shops})
    np.testing.assert_array_equal(arrays(found), arrays(want))
    empty = run.predict(log.head(0), tables={"shop": shops})
    assert empty.pcvr.shape == (0,)
    np.testing.assert_allclose(
        run.predict(log[-1:], tables={"shop": shops}).pctcvr, want.pctcvr[-1:], rtol=1e-5, err_msg="one row"
    )


def test_a_prediction_is_continuous_only_if_numbers_are_interpolated(data, with_fields):
    """Beside a knot, two buckets differ and two neighbouring positions do not."""
    knots = data.encoders["price"].edges  # type: ignore[attr-defined]
    log, shops = frames()
    beside = [float(np.nextafter(knots[2], to)) for to in (-9, 9)]
    rows = pl.concat([log[:1].with_columns(price=pl.lit(price)) for price in beside])
    jumps = {}
    for numbers in ("bucket", "interpolate"):
        run = es.fit(es.ESMM(), data.train, config=with_fields(numbers=numbers))
        p = run.predict(rows, tables={"shop": shops}).pctr
        jumps[numbers] = abs(float(p[0] - p[1]))
    assert jumps["interpolate"] < 1e-6 < jumps["bucket"]


# Errors


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        (("uuid",), r"network\.exclude must name fields of the dataset, however: 'uuid'\. Did you mean 'uid'\?"),
        (("uid", "zzzzzz"), r"'zzzzzz'\. Known: item, price, sid, size, tags, uid"),
        ((*FIELDS, *OF_SHOP), r"a network must read at least one field, however: none of 6 remain\. Leave some"),
    ],
)
def test_an_impossible_choice_is_refused_before_training(data, with_fields, exclude, message, tmp_path):
    config = with_fields(*exclude)
    for attempt in (
        lambda: es.fit(es.ESMM(), data.train, config=config, out=tmp_path / "run"),
        lambda: check_memory(es.ESMM(), data, config),
        lambda: es.compare([es.ESMM()], data, seeds=1, config=config, out=tmp_path / "report"),
    ):
        with pytest.raises(ConfigError, match=message) as raised:
            attempt()
        assert raised.value.where == str(data.path)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "report" / "runs").exists()


def test_memory_and_warnings_are_those_of_the_fields_that_are_read(data, with_fields, monkeypatch):
    config = with_fields("item")
    rows = ChosenFields.of(data.layout.fields, config.network).rows
    monkeypatch.setattr(needs, "memory", lambda: 3 * 4 * 4 * rows)
    check_memory(es.ESMM(), data, config)
    with pytest.raises(ConfigError, match="must fit into memory") as raised:
        check_memory(es.ESMM(), data, with_fields())
    assert "leave some out with network.exclude" in str(raised.value)

    log, _ = frames()
    leaking = prepared(outcome=log["y"])
    assert any("'outcome' may be an outcome" in warning for warning in warnings_of(leaking, with_fields()))
    assert not any("may be an outcome" in warning for warning in warnings_of(leaking, with_fields("outcome")))


# The fields of a history


def test_without_history_the_fields_of_rates_are_left_out():
    fields = [
        PlacedField("uid", "impressions", "id", 5, 0, single=True, weighted=False),
        PlacedField("rate.click.uid", "impressions", "rate", 4, 5, single=True, weighted=False),
    ]
    assert [f.is_position for f in fields] == [False, True]

    def chosen(**network: Any) -> ChosenFields:
        return ChosenFields.of(fields, Config.model_validate({"network": network}).network)

    assert chosen().names == ("uid", "rate.click.uid")
    assert chosen(history=False) == ChosenFields(("uid",), (5,), "bucket")
    assert chosen(exclude=["uid"]).offsets == (0,)
    with pytest.raises(ConfigError, match="none remain without the history"):
        chosen(history=False, exclude=["uid"])


def test_ids_that_have_rates_can_be_left_to_their_rates():
    ids = [PlacedField(name, "impressions", "id", 5, 0, single=True, weighted=False) for name in ("uid", "tab", "a.b")]
    rates = [
        PlacedField(f"rate.{rate}.{key}", "impressions", "rate", 4, 0, single=True, weighted=False)
        for rate in ("click", "ctcvr")
        for key in ("uid", "uid x tab", "a.b")  # a pair is no field, and takes none away
    ]

    def chosen(**network: Any) -> ChosenFields:
        return ChosenFields.of([*ids, *rates], Config.model_validate({"network": network}).network)

    assert chosen(rated_ids=False).names == ("tab", *(f.name for f in rates))
    assert chosen(rated_ids=False, history=False).names == ("tab",)
    nothing = {"rated_ids": False, "history": False, "exclude": ["tab"]}
    with pytest.raises(ConfigError, match="none remain"):
        chosen(**nothing)
    with pytest.raises(ConfigError, match="none remain"):
        chosen(**nothing, offset_hidden=[4])  # there is no baseline whose rates the layers could read
    alone = chosen(**nothing, offset="rates", offset_hidden=[4])
    assert (alone.names, alone.rates) == ((), tuple(f.name for f in rates))


# Data frames


def test_a_frame_needs_no_column_of_an_excluded_field(data, with_fields, tmp_path):
    run = es.fit(es.ESMM(), data.train, config=with_fields("uid", "tags"))
    log, shops = frames()
    rows = log.tail(len(data.test))
    want = run.predict(data.test)
    found = run.predict(rows.drop("uid", "tags"), tables={"shop": shops})
    np.testing.assert_array_equal(arrays(found), arrays(want))
    assert found.unseen == want.unseen
    assert list(found.unseen) == ["item", "price", "sid", "size"]
    spoiled = rows.with_columns(uid=pl.lit(0.5), tags=pl.lit("x"))  # whatever the columns hold
    np.testing.assert_array_equal(arrays(run.predict(spoiled, tables={"shop": shops})), arrays(want))
    with pytest.raises(DataError, match="must have the column 'item'"):
        run.predict(rows.drop("item"), tables={"shop": shops})
    rows.drop("uid", "tags").write_parquet(tmp_path / "rows.parquet")
    shops.write_parquet(tmp_path / "shops.parquet")
    out = tmp_path / "out.parquet"
    scored = score(run, [str(tmp_path / "rows.parquet")], str(out), tables={"shop": str(tmp_path / "shops.parquet")})
    assert list(scored.unseen) == ["item", "price", "sid", "size"]
    np.testing.assert_array_equal(pl.read_parquet(out)["pctcvr"].to_numpy(), want.pctcvr)


def test_a_side_table_without_fields_that_are_read_is_not_needed(data, with_fields):
    run = es.fit(es.ESMM(), data.train, config=with_fields("sid", "size"))
    log, _ = frames()
    rows, want = log.tail(len(data.test)), arrays(run.predict(data.test))
    for tables in ({}, {"shop": pl.DataFrame({"anything": [1]})}):
        np.testing.assert_array_equal(arrays(run.predict(rows.drop("shop"), tables=tables)), want)
    with pytest.raises(DataError, match="the layout has shop"):
        run.predict(rows, tables={"shp": rows})


def test_a_field_of_a_side_table_is_excluded_alone(data, with_fields):
    run = es.fit(es.ESMM(), data.train, config=with_fields("sid"))
    log, shops = frames()
    found = run.predict(log.tail(len(data.test)), tables={"shop": shops.drop("sid")})
    np.testing.assert_array_equal(arrays(found), arrays(run.predict(data.test)))


# A reference CTR network with other fields


def test_scoring_works_with_a_reference_that_reads_other_fields(data, without_user, ctr):
    run = es.load(without_user.folder)
    want = run.predict(data.test)
    np.testing.assert_array_equal(want.pctr, ctr.own_pctr(data.test))
    log, shops = frames()
    rows = log.tail(len(data.test))
    np.testing.assert_array_equal(arrays(run.predict(rows, tables={"shop": shops})), arrays(want))
    with pytest.raises(DataError, match="must have the column 'uid'"):  # the reference CTR network reads it
        run.predict(rows.drop("uid"), tables={"shop": shops})
    assert run.evaluate(data.test).tasks["ctcvr"].impressions == len(data.test)
    assert "uid" in want.unseen


def test_impressions_that_were_encoded_for_fewer_fields_are_refused(data, with_fields, quick):
    narrow = es.fit(es.ESMM(), data.train, config=with_fields("uid"))
    wide = es.fit(es.ESMM(), data.train, config=quick)
    log, shops = frames()
    encoded = narrow.impressions(log, {"shop": shops})
    with pytest.raises(DataError, match="all fields that the network reads, however: 'uid' is not among them"):
        wide.outputs(encoded)


GIVEN: list[Batch] = []


@dataclass(frozen=True)
class Watching(Method):
    """Keeps the batches that its loss was given."""

    heads: ClassVar = ("cvr",)
    reads: ClassVar = ("propensity",)

    def samples(self, labels, rng):
        return once(labels)

    def loss(self, p, batch):
        GIVEN.append(batch)
        return -torch.where(batch.conversion, p.cvr.log, p.cvr.log_not).mean()

    def base_rates(self, counts):
        return {"cvr": base_rate(counts["conversion"], counts.impressions)}

    def predict(self, p):
        return {"pcvr": p.cvr}


@pytest.mark.parametrize("network", [{}, {"numbers": "interpolate"}], ids=["fields", "numbers"])
def test_a_given_run_that_reads_other_fields_is_read_in_its_own_way(data, with_fields, ctr, network):
    GIVEN.clear()
    config = with_fields("uid", "price", **network)
    one = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 1})})
    es.fit(Watching(), data.train, config=one, given={"propensity": ctr}, validation=data.validation.sampled(0.0))
    seen = torch.cat([batch.given["propensity"] for batch in GIVEN[: -(-len(data.train) // 256)]])
    np.testing.assert_allclose(np.sort(seen.numpy()), np.sort(ctr.own_pctr(data.train)), rtol=1e-5)
    assert {f for batch in GIVEN for g in batch.groups for f in g.fields} == set(range(4))


def test_unbias_learns_from_a_reference_with_other_fields(data, with_fields, ctr):
    run = es.fit(es.UNBIAS(), data.train, config=with_fields("item", numbers="interpolate"), reference=ctr)
    assert np.isfinite(arrays(run.predict(data.test))).all()


# Earlier runs


def test_training_starts_from_a_run_with_the_same_fields(data, with_fields, without_user, ctr, quick):
    config = with_fields("uid")
    still = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"learning_rate": 1e-12})})
    again = es.fit(es.BASE(), data.train, config=still, seed=9, start=without_user)
    for name, weight in again.network.state_dict().items():
        torch.testing.assert_close(weight, without_user.network.state_dict()[name], atol=1e-8, rtol=0)
    with pytest.raises(RunError, match=r"its fields are item, .*Use the network\.exclude and network\.history of that"):
        es.fit(es.BASE(), data.train, config=quick, start=without_user)


def test_ids_keep_their_rows_when_a_layout_grows(without_user, with_fields):
    """The rows of `item`, which come after those of the excluded user in the layout."""
    log, shops = frames(seed=5)
    log = log.with_columns(pl.col("item") + 10, uid=pl.col("uid") + 20)
    side = es.SideTable(shops, key="shop", fields=OF_SHOP)
    how: dict[str, Any] = {"click": "y", "conversion": "z", "order": "t", "part": "train"}
    later = es.from_frame(log, fields=FIELDS, tables={"shop": side}, encoders=without_user.folder, **how)
    config = with_fields("uid")
    still = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"learning_rate": 1e-12})})
    run = es.fit(es.BASE(), later.train, config=still, seed=9, start=without_user)
    before, after = (r.network.embedding("cvr").weight for r in (without_user, run))
    torch.testing.assert_close(after, before, atol=1e-8, rtol=0)


def test_a_run_of_before_these_settings_is_opened_and_resumed(data, quick, tmp_path):
    from entirespace.runs.record import RunRecord

    run = es.fit(es.ESMM(), data.train, config=quick, out=tmp_path / "run")
    record = RunRecord.open(run.folder)
    older = {**record.config, "network": dict(record.config["network"])}
    for name in ("numbers", "history", "exclude"):
        del older["network"][name]
    record.model_copy(update={"config": older}).write(run.folder / "run.json")
    want = arrays(run.predict(data.test))
    np.testing.assert_array_equal(arrays(es.load(run.folder).predict(data.test)), want)
    again = es.fit(es.ESMM(), data.train, config=quick, out=tmp_path / "run")
    np.testing.assert_array_equal(arrays(again.predict(data.test)), want)
    network = quick.network.model_copy(update={"numbers": "interpolate"})
    other = quick.model_copy(update={"network": network})
    with pytest.raises(RunError, match=r"network\.numbers = bucket, not interpolate"):
        es.fit(es.ESMM(), data.train, config=other, out=tmp_path / "run")


def test_a_comparison_keeps_runs_of_other_choices_apart(data, with_fields, tmp_path: Path):
    reports = [
        es.compare([es.ESMM()], data, seeds=1, config=config, out=tmp_path / "report", jobs=1)
        for config in (with_fields(), with_fields("uid"), with_fields("uid", numbers="interpolate"))
    ]
    assert len(list((tmp_path / "report" / "runs").glob("ESMM*"))) == 3
    assert len({str(report.methods[0].auc["ctcvr"]) for report in reports}) == 3
