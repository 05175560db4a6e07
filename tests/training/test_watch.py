"""What the validation measures: training stops, and the best weights are chosen, by what `training.watch` names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from entirespace.batches.feed import Feed
from entirespace.config import Config
from entirespace.dataset.dataset import Dataset
from entirespace.errors import ConfigError, DataError
from entirespace.experiments.compare import compare
from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, UNBIAS, Method
from entirespace.network.probability import Prob
from entirespace.progress import Silent
from entirespace.reports.comparison import Comparison
from entirespace.runs.checkpoint import load_tensors
from entirespace.training import Run, fit
from entirespace.training.watch import Watch, needs_reference, watched

trainer_module = sys.modules["entirespace.training.trainer"]


def watching(config: Config, watch: str, **training: Any) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update={"watch": watch, **training})})


def checks(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "validation_loss" in line]


def loss_of(run: Run, data: Dataset, watch: str) -> float:
    """The watched loss by plain numpy, from the scores that the run gives."""
    scores = run.validation_scores(data.validation)
    y, z = data.validation.column("click"), data.validation.column("conversion")
    p, among = (scores.pcvr, y) if watch == "cvr" else (scores.pctcvr, np.ones(len(y), bool))
    p = np.minimum(p[among].astype(np.float64), 1 - 2**-24)
    return float(-np.where(z[among], np.log(p), np.log1p(-p)).mean())


@pytest.mark.parametrize("watch", ["ctcvr", "cvr"])
@pytest.mark.parametrize(
    "method", [BASE(), AMAN(rate=0.5), UNBIAS(), DIVISION(), ESMM(share_embedding=False), ESMM()], ids=lambda m: m.label
)
def test_the_lowest_watched_loss_is_that_of_the_runs_scores(watch, method, dataset, quick, reference, tmp_path) -> None:
    run = fit(method, dataset.train, config=watching(quick, watch), reference=reference, out=tmp_path / "run")
    lines = checks(tmp_path / "run")
    assert {line["watch"] for line in lines} == {watch}
    least = min(line["validation_loss"] for line in lines)
    assert loss_of(run, dataset, watch) == pytest.approx(least, rel=1e-5)
    assert [line["validation_loss"] for line in lines if line["best"]][-1] == least


def test_the_own_loss_is_watched_by_default_and_written_as_before(dataset, quick, tmp_path) -> None:
    fit(ESMM(), dataset.train, config=quick, out=tmp_path / "run")
    assert {tuple(line) for line in checks(tmp_path / "run")} == {("step", "epoch", "loss", "validation_loss", "best")}


def test_what_is_watched_decides_when_training_stops(dataset, quick, tmp_path, monkeypatch) -> None:
    """Where the losses disagree, the watched one is obeyed: here it says that each validation is worse than before."""
    worse = iter(range(1, 100))
    monkeypatch.setattr(Watch, "loss", lambda self, network: float(next(worse)))
    config = watching(quick, "ctcvr", epochs=8, checks_per_epoch=2, patience=2)
    first = fit(ESMM(), dataset.train, config=config, out=tmp_path / "run")
    assert [line["validation_loss"] for line in checks(tmp_path / "run")] == [1, 2, 3]
    assert [line["best"] for line in checks(tmp_path / "run")] == [True, False, False]
    monkeypatch.undo()
    config = watching(quick, "ctcvr", epochs=1, checks_per_epoch=2, patience=2)
    steps = checks(tmp_path / "run")[0]["step"]
    taken = iter(range(steps))
    step = trainer_module.Trainer._step

    def enough(self, batch):
        if next(taken, None) is None:
            raise StopIteration
        return step(self, batch)

    monkeypatch.setattr(trainer_module.Trainer, "_step", enough)
    with pytest.raises(StopIteration):
        fit(ESMM(), dataset.train, config=config, out=tmp_path / "half")
    record = json.loads((tmp_path / "half" / "run.json").read_text())
    half = load_tensors(tmp_path / "half" / record["best"]["file"], record["best"]["sha256"], "network.")
    assert all(torch.equal(tensor, half[name]) for name, tensor in first.network.state_dict().items())


def test_a_method_without_pcvr_watches_its_own_loss(dataset, quick, tmp_path) -> None:
    for watch in ("ctcvr", "cvr"):
        config = watching(quick, watch)
        assert watched(CTR(), config) == "own"
        fit(CTR(), dataset.train, config=config, out=tmp_path / watch)
        assert not any("watch" in line for line in checks(tmp_path / watch))
        assert watched(ESMM(), config) == watch
    assert needs_reference(BASE(), watching(quick, "ctcvr"))
    assert not needs_reference(BASE(), watching(quick, "cvr"))
    assert not needs_reference(DIVISION(), watching(quick, "ctcvr"))


def test_pctcvr_without_a_pctr_is_an_error_that_names_the_reference(dataset, quick) -> None:
    with pytest.raises(ConfigError, match=r'training.watch = "ctcvr", BASE needs the reference CTR network.*none'):
        fit(BASE(), dataset.train, config=watching(quick, "ctcvr"))
    fit(BASE(), dataset.train, config=watching(quick, "cvr"))


def test_watching_pcvr_needs_clicks_in_the_validation_part(dataset, quick, monkeypatch) -> None:
    part = dataset.validation.sampled(0.5)
    part.counts = part.counts.__class__(len(part), {"click": 0, "conversion": 0})
    with pytest.raises(DataError, match=r'training.watch = "cvr".*must hold clicked impressions.*0 clicks'):
        fit(ESMM(), dataset.train, config=watching(quick, "cvr"), validation=part)
    empty = dataset.validation.sampled(0.0)
    run = fit(ESMM(), dataset.train, config=watching(quick, "cvr", epochs=1), validation=empty)
    assert checks(run.folder)[-1]["validation_loss"] is None, "nothing is watched, and all epochs are made"


class Killed(Exception):
    pass


def test_an_interrupted_run_resumes_with_what_it_watches(dataset, quick, reference, tmp_path, monkeypatch) -> None:
    config = watching(quick, "ctcvr", checks_per_epoch=2, checkpoint_minutes=1e-9)
    method = OVERSAMPLING(copies=2)
    whole = fit(method, dataset.train, config=config, reference=reference, out=tmp_path / "whole")
    step, left = trainer_module.Trainer._step, iter(range(5))

    def dying(self, batch):
        if next(left, None) is None:
            raise Killed
        return step(self, batch)

    monkeypatch.setattr(trainer_module.Trainer, "_step", dying)
    with pytest.raises(Killed):
        fit(method, dataset.train, config=config, reference=reference, out=tmp_path / "cut")
    monkeypatch.undo()
    resumed = fit(method, dataset.train, config=config, reference=reference, out=tmp_path / "cut")
    pairs = zip(whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    both = (checks(tmp_path / name) for name in ("whole", "cut"))
    one, other = ([{k: v for k, v in line.items() if k != "loss"} for line in lines] for lines in both)
    assert one == other, "but for the training loss, which is that of the rest of the epoch"


def test_divisions_pcvr_above_one_has_a_finite_loss(dataset, quick) -> None:
    class Wild:
        """The network of a method whose pCVR is 2."""

        training, device = False, torch.device("cpu")

        def eval(self) -> None: ...
        def train(self, mode: bool) -> None: ...
        def __call__(self, batch):
            return len(batch)

    class Twice(Method):
        predicts = frozenset({"pctr", "pcvr", "pctcvr"})
        samples = loss = base_rates = None

        def predict(self, n):
            return {"pcvr": torch.full((n,), 2.0), "pctcvr": Prob.of_logit(torch.zeros(n))}

    Twice.__abstractmethods__ = frozenset()
    both = [Watch(w, Twice(), dataset.validation, Feed.of(dataset), None).loss(Wild()) for w in ("cvr", "ctcvr")]
    y, z = dataset.validation.column("click"), dataset.validation.column("conversion")
    assert both[0] == pytest.approx((y & ~z).sum() / y.sum() * 24 * np.log(2), rel=1e-5)
    assert both[1] == pytest.approx(np.log(2), rel=1e-5)


class Lines(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def done(self, note: str = "") -> None:
        self.notes.append(note)


def test_progress_names_what_is_watched(dataset, quick) -> None:
    for watch, name in (("own", ", validation 0"), ("ctcvr", ", CTCVR validation loss 0"), ("cvr", "CVR validation")):
        lines = Lines()
        fit(ESMM(), dataset.train, config=watching(quick, watch, epochs=1), progress=lines)
        assert name in lines.notes[0]


def test_a_comparison_watches_the_same_for_every_method(dataset, quick, tmp_path) -> None:
    methods: list[Method] = [BASE(), ESMM()]
    config = watching(quick, "ctcvr", epochs=2)
    compare(methods, dataset, seeds=1, config=config, out=tmp_path / "report")
    learning = Comparison.open(tmp_path / "report" / "report.json").learning
    assert {c.watch for seeds in learning.values() for lines in seeds.values() for c in lines} == {"ctcvr"}
    assert "CTCVR validation loss in nats" in (tmp_path / "report" / "report.md").read_text()
