"""Presets: what they are, and that `fit` takes `best` by default."""

from __future__ import annotations

import polars as pl
import pytest

import entirespace as es
from entirespace.config import Config
from entirespace.errors import ConfigError
from entirespace.methods import BASE, CTR, ESMM
from entirespace.presets import preset, preset_settings
from entirespace.runs.record import RunRecord


def recorded(folder) -> Config:
    return Config.model_validate(RunRecord.open(folder).config)


def test_paper_is_the_default_of_every_value_but_reads_no_history(history):
    paper = preset("paper", history)
    assert paper == Config.model_validate({"network": {"history": False}})
    assert paper == preset("paper")


def test_best_follows_the_dataset(history, dataset):
    with_rates, plain = preset("best", history), preset("best", dataset)
    assert (with_rates.network.offset, plain.network.offset) == ("rates", "none")
    assert (with_rates.network.rated_ids, plain.network.rated_ids) == (False, True)
    assert (with_rates.training.watch, with_rates.training.refit) == ("ctcvr", True)
    assert (plain.training.watch, plain.training.refit, plain.network.tower.hidden) == ("own", False, (360, 200, 80))
    assert with_rates.training.calibrate == plain.training.calibrate == "auto"
    assert with_rates.training.batch_size == 64  # of a few thousand rows


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'papr'\. Did you mean 'paper'"):
        preset_settings("papr")


def test_fit_without_a_configuration_takes_best(history, monkeypatch):
    monkeypatch.setattr("entirespace.presets._VALIDATED", {"training.epochs": 1, "training.watch": "ctcvr"})
    ctr = es.reference_ctr(history.train)
    for method, watch, reference in ((ESMM(), "ctcvr", None), (BASE(), "cvr", None), (BASE(), "ctcvr", ctr)):
        run = es.fit(method, history.train, reference=reference)
        found = recorded(run.folder)
        assert (found.training.watch, found.network.offset) == (watch, "rates")
    assert recorded(ctr.folder).network.offset == "rates"
    assert ctr.method == CTR()


def test_best_without_outcomes_in_the_validation_part_makes_one_epoch():
    log = pl.DataFrame({"y": [i % 2 for i in range(80)], "z": [i % 4 == 1 for i in range(80)], "x": range(80)})
    data = es.from_frame(log, click="y", conversion="z", fields={"x": "id"}, validation=0.0)
    best = preset("best", data)
    assert (best.training.epochs, best.training.watch, best.training.refit) == (1, "own", False)
    assert es.fit(ESMM(), data.train).config.training.calibrate == "none"
