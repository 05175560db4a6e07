"""LightGBM on the simulated dataset: what it is trained on, what it chooses, and what it refuses."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.config import Config
from entirespace.errors import ConfigError, DataError, RunError
from entirespace.metrics.auc import auc
from entirespace.rivals import LightGBM
from entirespace.rivals import lightgbm as room
from entirespace.rivals.columns import Columns
from entirespace.rivals.scores import RIVAL, SCORES, RivalScores


@pytest.fixture(scope="module")
def trees(quick_rival, dataset, quick):
    return quick_rival.fit(dataset, seed=1, config=quick)


def log_loss(p, label) -> float:
    return -np.mean(np.log(np.where(label, p, 1 - p.astype(np.float64))))


def test_both_heads_rank_better_than_chance_and_pctcvr_is_their_product(trees, dataset):
    outputs = trees.outputs(dataset.test)
    y, z = dataset.test.column("click"), dataset.test.column("conversion")
    assert outputs.pctr.dtype == outputs.pcvr.dtype == np.float32
    assert len(outputs.pctr) == len(outputs.pcvr) == len(y)
    assert auc(outputs.pctr, y) > 0.55
    assert auc(outputs.pcvr[y], z[y]) > 0.55
    np.testing.assert_array_equal(outputs.pctcvr, outputs.pctr * outputs.pcvr)
    assert abs(outputs.pcvr[y].mean() / z[y].mean() - 1) < 0.25, "pCVR is learned on clicked impressions"


def test_the_setting_with_the_lowest_log_loss_on_the_validation_part_is_chosen(trees, dataset):
    kept = trees.validation_scores()
    y, z = dataset.validation.column("click"), dataset.validation.column("conversion")
    assert trees.chosen["ctr"].log_loss == pytest.approx(log_loss(kept.pctr, y), rel=1e-5)
    assert trees.chosen["cvr"].log_loss == pytest.approx(log_loss(kept.pcvr[y], z[y]), rel=1e-5)
    for chosen in trees.chosen.values():
        assert (chosen.leaves, chosen.least) in room.GRID
        assert 1 <= chosen.trees <= room.MOST
    refit = trees.outputs(dataset.validation)
    assert log_loss(refit.pctr, y) < log_loss(kept.pctr, y), "the trees of the test part have seen the validation part"
    for fitted in trees.fitted.values():
        assert fitted.final.num_trees() == fitted.chosen.trees


def test_the_seed_decides_the_trees_and_the_threads_do_not(trees, quick_rival, dataset, quick):
    threads = quick.model_copy(update={"training": quick.training.model_copy(update={"threads": 2})})
    outputs, again = trees.outputs(dataset.test), quick_rival.fit(dataset, seed=1, config=threads).outputs(dataset.test)
    np.testing.assert_array_equal(again.pctr, outputs.pctr)
    np.testing.assert_array_equal(again.pcvr, outputs.pcvr)
    other = quick_rival.fit(dataset, seed=2, config=quick).outputs(dataset.test)
    assert np.any(other.pctr != outputs.pctr)


def test_a_share_of_the_log_is_a_share_of_both_parts(quick_rival, dataset, quick, monkeypatch):
    seen: list[tuple[int, int, int]] = []
    fit = room._fit
    monkeypatch.setattr(room, "_fit", lambda samples, known, *rest: seen.append(known) or fit(samples, known, *rest))
    some = quick.model_copy(update={"training": quick.training.model_copy(update={"share": 0.5})})
    quick_rival.fit(dataset, config=some)
    train, validation = len(dataset.train.sampled(0.5)), len(dataset.validation)
    assert seen == [(train, train + validation // 2, train + validation)] * 2


def test_weights_of_impressions_count(quick_rival, quick):
    rng = np.random.default_rng(0)
    n = 600
    frame = pl.DataFrame(
        {
            "y": rng.random(n) < 0.5,
            "z": rng.random(n) < 0.5,
            "x": rng.random(n),
            "w": np.where(np.arange(n) % 2, 1.0, 3.0),
        }
    )
    kept = {"click": "y", "conversion": "z", "fields": {"x": "number"}}
    plain, weighted = es.from_frame(frame, **kept), es.from_frame(frame, weight="w", **kept)
    one, other = (quick_rival.fit(data, config=quick).outputs(data.test) for data in (plain, weighted))
    assert np.any(one.pctr != other.pctr)


def test_scores_are_kept_and_damage_is_noticed(trees, dataset, tmp_path):
    made = RivalScores.of(trees, dataset.test)
    assert RivalScores.there(tmp_path / "none") is None
    made.save(tmp_path / "here")
    read = RivalScores.there(tmp_path / "here")
    assert read.chosen == trees.chosen
    for part in ("validation", "test"):
        for name, p in made.by_part[part].own.items():
            np.testing.assert_array_equal(read.by_part[part].own[name], p)
    content = bytearray((tmp_path / "here" / SCORES).read_bytes())
    content[-1] ^= 1
    (tmp_path / "here" / SCORES).write_bytes(content)
    with pytest.raises(RunError, match="SHA-256"):
        RivalScores.there(tmp_path / "here")
    (tmp_path / "here" / RIVAL).write_text("{}")
    with pytest.raises(RunError, match="format"):
        RivalScores.there(tmp_path / "here")


def test_more_than_the_memory_is_refused(quick_rival, dataset, quick, monkeypatch):
    columns = Columns.of(dataset, quick.network).count
    rows = len(dataset.train) + len(dataset.validation)
    assert quick_rival.bytes(dataset, quick) > 4 * columns * rows
    monkeypatch.setattr(room, "memory", lambda: 4 * columns * rows)
    with pytest.raises(ConfigError, match=rf"must fit into memory, however: {rows:,} impressions x {columns} columns"):
        quick_rival.check(dataset, quick)
    quick_rival.check(dataset, quick.model_copy(update={"training": quick.training.model_copy(update={"share": 0.1})}))


def test_a_part_without_an_outcome_is_refused(quick_rival):
    frame = pl.DataFrame({"y": [i % 2 for i in range(80)], "z": [i % 4 == 1 for i in range(80)], "x": range(80)})
    kept = {"click": "y", "conversion": "z", "fields": {"x": "id"}}
    with pytest.raises(DataError, match="the validation part must hold impressions that are clicked, however: none"):
        quick_rival.check(es.from_frame(frame, validation=0.0, **kept), Config())
    none = frame.with_columns(z=pl.lit(False))
    with pytest.raises(DataError, match="the train part must hold impressions that are converted"):
        quick_rival.check(es.from_frame(none, **kept), Config())


def test_without_the_package_it_says_what_to_install(dataset, quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match=r"lightgbm must be installed, .* pip install 'entirespace\[rivals\]'"):
        LightGBM().check(dataset, quick)


def test_ids_that_it_does_not_read_are_named(dataset, quick, monkeypatch):
    assert LightGBM().warnings(dataset, quick) == ()
    monkeypatch.setattr("entirespace.rivals.columns.CATEGORIES", 130)
    (warning,) = LightGBM().warnings(dataset, quick)
    assert "LightGBM does not read the ids of item_id, user_id: " in warning
