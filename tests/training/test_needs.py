"""What is refused before training, what is a warning, and what a finished training must have reached."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import entirespace as es
from entirespace.config import Config
from entirespace.core.labels import Counts
from entirespace.dataset.dataset import Dataset
from entirespace.errors import ConfigError, DataError, RunError
from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, UNBIAS, Method
from entirespace.training import Run, fit, needs, reference_ctr
from entirespace.training.base_rates import base_rate_loss, judge
from entirespace.training.needs import check_labels, check_memory, warnings_of

HOW = {"click": "y", "conversion": "z", "order": "t", "train": 0.5, "validation": 0.4}


def made(n: int, y: np.ndarray, z: np.ndarray, **columns: list) -> Dataset:
    rng = np.random.default_rng(0)
    frame = {
        "t": np.arange(n),
        "y": y.astype(int),
        "z": z.astype(int),
        "item": rng.integers(0, 5, n),
        "played": rng.random(n),
        "tags": [[int(i), 7] for i in rng.integers(0, 5, n)],
        **columns,
    }
    fields = {"item": "id", "played": "number", "tags": "ids"}
    return es.from_frame(pl.DataFrame(frame), fields=fields, **HOW)


HALF = np.arange(40) % 2 == 0
NONE, ALL = np.zeros(40, bool), np.ones(40, bool)
CLICKED_ONLY = (BASE(), AMAN(rate=0.5), OVERSAMPLING(copies=2), UNBIAS())
ENTIRE = (DIVISION(), ESMM(share_embedding=False), ESMM())


@pytest.mark.parametrize(
    ("y", "z", "refused", "which"),
    [
        (NONE, NONE, CLICKED_ONLY, "converted, however: none of its 12 impressions, 0 clicks, 0 conversions"),
        (NONE, NONE, (*ENTIRE, CTR()), "impressions that are clicked"),
        (HALF, NONE, (*CLICKED_ONLY, *ENTIRE), "impressions that are converted"),
        (HALF, HALF, (*CLICKED_ONLY, *ENTIRE), "clicked but not converted"),
        (ALL, HALF, (*ENTIRE, CTR()), "impressions that are un-clicked"),
    ],
    ids=["nothing", "no click", "no conversion", "all converted", "all clicked"],
)
def test_both_outcomes_of_what_is_learned_must_occur(y, z, refused: tuple[Method, ...], which: str) -> None:
    train = made(40, y, z).train
    for method in refused:
        with pytest.raises(DataError, match=which):
            check_labels(method, train)
        with pytest.raises(DataError, match=which):
            fit(method, train)


def test_what_is_not_learned_need_not_occur() -> None:
    for method in CLICKED_ONLY:
        check_labels(method, made(40, ALL, HALF).train)
    check_labels(CTR(), made(40, HALF, NONE).train)
    some = made(40, HALF, np.arange(40) == 0).train.sampled(0.5)
    with pytest.raises(DataError, match=r"the training part \(50 % of it, by training\.share\)"):
        check_labels(BASE(), some if not some.counts["conversion"] else made(40, HALF, NONE).train.sampled(0.5))


def test_a_part_without_outcomes_is_a_warning() -> None:
    data = made(40, HALF, (np.arange(40) < 8) & (np.arange(40) % 4 == 0))
    assert warnings_of(data, Config()) == (
        "The validation part has no conversion: when training should stop cannot be told by conversions.",
    )


def test_an_embedding_beyond_the_memory_is_refused(dataset, quick, monkeypatch) -> None:
    check_memory(ESMM(), dataset, quick)
    needed = 3 * 4 * 4 * dataset.rows
    monkeypatch.setattr(needs, "memory", lambda: needed)
    check_memory(ESMM(), dataset, quick)
    for method in (ESMM(share_embedding=False), DIVISION()):
        with pytest.raises(
            ConfigError, match=r"fit into memory.*2 x .* rows x 4 numbers.*largest fields: item_id 200, .* and others"
        ):
            fit(method, dataset.train, config=quick)


# A training that diverged


@pytest.mark.parametrize("method", [CTR(), ESMM(), DIVISION(), AMAN(rate=1.0)])
def test_the_loss_of_base_rates_is_the_entropy(method, dataset) -> None:
    from entirespace.batches.feed import Feed

    rates = method.base_rates(dataset.train.counts)
    rng = np.random.default_rng(0)
    feed = Feed.of(dataset)
    shuffled = feed.shuffled(dataset.train, method.samples, batch_size=100, shuffle_rows=1000, rng=rng)
    batches = map(feed.batch, shuffled)

    def entropy(p: float) -> float:
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    counts: Counts = dataset.train.counts
    ctr, ctcvr = (counts[stage] / counts.impressions for stage in ("click", "conversion"))
    expected = {"CTR": entropy(ctr), "AMAN": entropy(ctcvr)}.get(method.name, entropy(ctr) + entropy(ctcvr))
    assert base_rate_loss(method, rates, batches) == pytest.approx(expected, rel=1e-3)


def test_a_training_that_diverged_fails_and_a_useless_one_warns(dataset, quick, tmp_path, monkeypatch) -> None:
    def at(rate: float, **training: int):
        update = {"optimizer": quick.optimizer.model_copy(update={"learning_rate": rate})}
        update["training"] = quick.training.model_copy(update=training)
        return quick.model_copy(update=update)

    with pytest.raises(RunError, match=r"training must not diverge.*Lower optimizer\.learning_rate, which is 100"):
        fit(CTR(), dataset.train, config=at(100.0), out=tmp_path / "wild")
    # without a validation part, by the loss of the training part
    with pytest.raises(RunError, match=r"best training loss of CTR is .* more than 10 times"):
        fit(CTR(), dataset.train, config=at(100.0, epochs=1), validation=dataset.validation.sampled(0.0))
    good = fit(CTR(), dataset.train, config=quick, out=tmp_path / "good")
    assert json.loads((good.folder / "run.json").read_text())["warnings"] == []
    monkeypatch.setattr(sys.modules["entirespace.training.trainer"], "base_rate_loss", lambda *_: 0.2)
    useless = fit(CTR(), dataset.train, config=quick, out=tmp_path / "useless")
    (warning,) = json.loads((useless.folder / "run.json").read_text())["warnings"]
    assert "worse than the 0.2 of predicting the base rates" in warning


def test_judge(tmp_path: Path) -> None:
    assert judge("X", "validation", 0.3, 0.4, 0.1, tmp_path) is None
    assert judge("X", "validation", math.nan, 0.4, 0.1, tmp_path) is None
    assert judge("X", "validation", 5.0, -0.4, 0.1, tmp_path) is None, "a loss below 0 has no ratio"
    said = judge("X", "validation", 0.5, 0.4, 0.1, tmp_path)
    assert said is not None
    assert "validation loss of X is 0.5, worse than the 0.4" in said
    with pytest.raises(RunError, match="more than 10 times"):
        judge("X", "validation", 4.1, 0.4, 0.1, tmp_path)


# A field that is an outcome


def leaking(n: int = 2000, **columns) -> Dataset:
    rng = np.random.default_rng(1)
    y = rng.random(n) < 0.4
    z = y & (rng.random(n) < 0.3)
    return made(n, y, z, **{name: of(y, z, rng) for name, of in columns.items()})


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({}, []),
        ({"item": lambda y, z, rng: np.where(y, 1, rng.integers(2, 5, len(y)))}, [("item", "click")]),
        ({"item": lambda y, z, rng: np.where(y & ~z, 1, 2)}, [("item", "conversion")]),
        ({"played": lambda y, z, rng: np.where(y, rng.random(len(y)) * 60, 0.0)}, [("played", "click")]),
        ({"played": lambda y, z, rng: [1.5 if c else None for c in z]}, [("played", "conversion")]),
        ({"tags": lambda y, z, rng: [[3] if c else [] for c in y]}, [("tags", "click")]),
        ({"tags": lambda y, z, rng: [[9, 3, 8] if c else [8, 9] for c in z]}, [("tags", "conversion")]),
    ],
    ids=["none", "id", "id of conversions", "number", "missing number", "empty bag", "bag"],
)
def test_a_field_that_is_an_outcome_is_found(columns, found) -> None:
    from entirespace.dataset.leaks import leaks

    assert [(leak.field, leak.stage) for leak in leaks(leaking(**columns))] == found


def test_few_positives_do_not_tell() -> None:
    data = leaking(60, item=lambda y, z, rng: y.astype(int))
    assert warnings_of(data, Config()) == ()


def test_a_field_of_a_side_table_that_is_an_outcome_is_found() -> None:
    from entirespace.dataset.leaks import leaks

    rng = np.random.default_rng(2)
    n = 2000
    user = rng.integers(0, 300, n)
    y = user % 2 == 0
    z = y & (rng.random(n) < 0.5)
    users = pl.DataFrame({"uid": np.arange(300), "buyer": np.arange(300) % 2, "bag": [[u % 2, 5] for u in range(300)]})
    frame = pl.DataFrame({"t": np.arange(n), "y": y.astype(int), "z": z.astype(int), "uid": user})
    side = es.SideTable(users, key="uid", fields={"buyer": "id", "bag": "ids"})
    data = es.from_frame(frame, tables={"user": side}, fields={}, **HOW)
    assert [(leak.field, leak.stage) for leak in leaks(data)] == [("buyer", "click"), ("bag", "click")]


def test_a_leak_is_a_warning_of_every_run_and_of_the_comparison(quick, tmp_path) -> None:
    data = leaking(item=lambda y, z, rng: y.astype(int))
    table = es.compare([BASE(), ESMM()], data, seeds=1, config=quick, out=tmp_path / "report", jobs=1)
    (warning, *_) = table.warnings
    assert warning.startswith("The field 'item' may be an outcome: it alone predicts the click with an AUC of 100.0 %")
    assert (tmp_path / "report" / "report.md").read_text(encoding="utf-8").count("may be an outcome") == 1
    run = reference_ctr(data.train, config=quick, out=tmp_path / "run")
    assert json.loads((run.folder / "run.json").read_text())["warnings"] == [warning]
    assert isinstance(Run.open(run.folder).network, torch.nn.Module)
