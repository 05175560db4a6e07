"""describe: each rate of the history alone, compared with scikit-learn, and the impressions without history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

import entirespace as es
from entirespace.dataset import rates_alone as module
from entirespace.dataset.describe import describe, text
from entirespace.dataset.rates_alone import RatesAlone, rates_alone

N = 3000
KEYS = {"keys": ["uid", "tab", ["uid", "tab"]], "parents": {"uid": ["kind"]}}


def log(n: int = N) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    uid, tab = rng.integers(0, 300, n), rng.integers(0, 4, n)
    y = rng.random(n) < 0.2 + 0.15 * (uid % 4)
    z = y & (rng.random(n) < 0.2 + 0.2 * tab)
    new = np.arange(n) > 0.9 * n  # users of the last tenth are unknown before
    return pl.DataFrame({"t": np.arange(n), "y": y, "z": z, "uid": uid + 1000 * new, "tab": tab, "kind": uid % 4})


def prepared(frame: pl.DataFrame, history: dict[str, Any] | None = KEYS, **options: Any) -> es.Dataset:
    how = {"click": "y", "conversion": "z", "order": "t", "fields": {"uid": "id", "tab": "id"}, "history": history}
    return es.from_frame(frame, **how, **options)


@pytest.fixture(scope="module")
def data() -> es.Dataset:
    return prepared(log(), validation=0.4)


def numbers(part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log odds of the rates, clicks, conversions) of a part."""
    chunks = list(part.chunks())
    return (
        np.concatenate([rows.numbers for rows in chunks]),
        np.concatenate([rows.labels.click for rows in chunks]),
        np.concatenate([rows.labels.conversion for rows in chunks]),
    )


def expected(data: es.Dataset, part) -> dict[tuple[str, str], float]:
    odds, y, z = numbers(part)
    found = {}
    for i, name in enumerate(data.layout.rates):
        _, rate, key = name.split(".")
        among, outcome = {"click": (slice(None), y), "conversion": (y, z), "ctcvr": (slice(None), z)}[rate]
        found[key, rate] = float(roc_auc_score(outcome[among], odds[among, i]))
    return found


def aucs(alone: RatesAlone) -> dict[tuple[str, str], float]:
    return {(k.key, rate): auc for k in alone.keys for rate, auc in k.auc.items() if auc is not None}


def test_each_rate_alone_has_the_auc_of_its_own_outcome(data):
    alone = rates_alone(data)
    assert alone is not None
    assert (alone.part, alone.impressions) == ("validation", len(data.validation))
    found = aucs(alone)
    assert found == pytest.approx(expected(data, data.validation), abs=1e-12)
    assert found["uid", "click"] > 0.6  # clicks depend on the user
    assert found["tab", "conversion"] > 0.6 > found["tab", "click"]  # and conversions on the tab
    assert {k.key: k.parents for k in alone.keys} == {"uid": ("kind",), "tab": (), "uid x tab": ("uid", "kind")}
    assert alone.rates == len(data.layout.rates) == 9
    assert alone.rows == sum(f.size for f in data.fields if f.kind == "rate")


def test_impressions_without_history_are_counted_in_each_part(data):
    alone, frame = rates_alone(data), log()
    assert alone is not None
    uid = {k.key: k for k in alone.keys}["uid"]
    rows = np.cumsum([0, len(data.train), len(data.validation), len(data.test)])
    ids = frame["uid"].to_numpy()
    known = ids[: rows[1]]
    assert uid.without_history["validation"] == np.mean(~np.isin(ids[rows[1] : rows[2]], known))
    assert uid.without_history["test"] == np.mean(~np.isin(ids[rows[2] :], ids[: rows[2]])) > 0.15
    assert uid.ids == frame["uid"].n_unique()


def test_without_a_validation_part_the_training_part_is_measured():
    data = prepared(log(), validation=0.0)
    alone = rates_alone(data)
    assert alone is not None
    assert alone.part == "train"
    assert aucs(alone) == pytest.approx(expected(data, data.train), abs=1e-12)


def test_a_later_log_is_measured_on_the_part_it_has(data, tmp_path: Path):
    later = prepared(log(), encoders=data, part="test", out=tmp_path / "later")
    alone = rates_alone(later)
    assert alone is not None
    assert (alone.part, alone.impressions) == ("test", N)
    assert {k.key: k.without_history["train"] for k in alone.keys} == {"uid": None, "tab": None, "uid x tab": None}


def test_a_big_part_is_measured_on_some_of_its_impressions(data, monkeypatch):
    monkeypatch.setattr(module, "NUMBERS", 100 * 9)
    alone = rates_alone(data)
    assert alone is not None
    assert alone.impressions == 100


def test_rates_without_both_outcomes_have_no_auc():
    data = prepared(log().with_columns(z=pl.lit(value=False)))
    alone = rates_alone(data)
    assert alone is not None
    uid = alone.keys[0].auc
    assert uid["click"] is not None
    assert (uid["conversion"], uid["ctcvr"]) == (None, None)
    assert ["tab", "-", "4", "0.00", "0.00", "0.00"] in [line.split()[:6] for line in text(describe(data)).splitlines()]


def test_describe_has_a_table_of_its_own_for_the_history(data):
    about = describe(data)
    assert [f["field"] for f in about["fields"]] == ["uid", "tab"]
    assert [k["key"] for k in about["history"]["keys"]] == ["uid", "tab", "uid x tab"]
    lines = text(about).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("History: 9 rates by 3 keys, "))
    assert lines[start + 1].endswith(f"on {len(data.validation):,} impressions of the validation part")
    headers = "key, parents, ids, none in train %, none in validation %, none in test %, click AUC %, conversion AUC %"
    assert lines[start + 2].split() == f"{headers}, ctcvr AUC %".replace(",", "").split()
    assert lines[start + 4].split()[:2] == ["uid", "kind"]
    uid = about["history"]["keys"][0]
    assert lines[start + 4].split()[-3:] == [f"{100 * auc:.1f}" for auc in uid["auc"].values()]
    without = describe(prepared(log(), None))
    assert without["history"] is None
    assert "History" not in text(without)


def test_counts_and_a_single_rate():
    data = prepared(log(), {"keys": ["uid"], "rates": ["conversion"], "counts": True})
    alone = rates_alone(data)
    assert alone is not None
    assert list(alone.keys[0].auc) == ["conversion"]
    assert alone.rates == 2
    _, y, z = numbers(data.validation)
    odds = numbers(data.validation)[0][:, 0]
    assert alone.keys[0].auc["conversion"] == pytest.approx(roc_auc_score(z[y], odds[y]), abs=1e-12)


def test_without_outcomes_there_is_no_auc(data, tmp_path: Path):
    schema = tmp_path / "schema.toml"
    schema.write_text(
        """
        [impressions]
        files = ["log.parquet"]
        order = "t"
        labels = { click = "y", conversion = "z" }
        [impressions.fields]
        uid = {}
        tab = {}
        """
    )
    log().drop("y", "z").write_parquet(tmp_path / "log.parquet")
    later = es.prepare(schema, tmp_path, tmp_path / "later", encoders=data, part="test", labelled=False)
    alone = rates_alone(later)
    assert alone is not None
    assert alone.impressions == 0
    assert all(auc is None for key in alone.keys for auc in key.auc.values())
    assert alone.keys[0].without_history["test"] == 0  # all were counted before
    assert "AUC: of each rate alone, not known, because outcomes are not known" in text(describe(later))


def test_an_outcome_under_another_name_has_an_auc_of_one_and_is_suspected():
    from entirespace.dataset.leaks import leaks

    data = prepared(log().with_columns(paid=pl.col("z").cast(pl.Int8)), {"keys": ["tab", "paid"]}, validation=0.4)
    alone = rates_alone(data)
    assert alone is not None
    found = {k.key: k.auc["conversion"] for k in alone.keys}
    assert found["paid"] == 1.0 > 0.8 > found["tab"]
    assert "rate.conversion.paid" in {leak.field for leak in leaks(data)}
