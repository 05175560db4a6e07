"""An ensemble: several runs that predict as one, by the mean of their log odds."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from importlib import import_module

import numpy as np
import polars as pl
import pytest
import torch
from history_logs import HISTORY, prepared, random_log, side_tables
from read_back import write_table

import entirespace as es
from entirespace.config import Config
from entirespace.errors import ConfigError, RunError
from entirespace.features.history.store import read_state
from entirespace.methods import DIVISION
from entirespace.network import Ensemble, Heads
from entirespace.network.probability import Prob, value_of
from entirespace.runs.record import is_of_a_run, runs_in
from entirespace.runs.run import Run

trainer_module = import_module("entirespace.training.trainer")


@pytest.fixture(scope="module")
def made(dataset, quick, reference, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("ensemble") / "run"
    return es.fit_ensemble(es.ESMM(), dataset.train, seed=4, config=quick, reference=reference, out=folder)


def arrays(p) -> np.ndarray:
    return np.stack([p.pctr, p.pcvr, p.pctcvr])


def odds(p: np.ndarray) -> np.ndarray:
    p = p.astype(np.float64)
    return np.log(p) - np.log1p(-p)


def averaged(members: list[np.ndarray]) -> np.ndarray:
    return 1 / (1 + np.exp(-np.mean([odds(p) for p in members], axis=0)))


# Log odds


def test_the_mean_of_log_odds_by_hand():
    """(log 9 + log 4 + log 1/2) / 3 = log 18 / 3, also where pCTR is multiplied and divided."""
    ctr, cvr = [0.9, 0.8, 1 / 3], [0.2, 0.5, 0.5]
    p = [Heads(ctr=of(a), cvr=of(b), ctcvr=of(b)) for a, b in zip(ctr, cvr, strict=True)]
    both = Heads(**{head: Prob.average([getattr(one, head) for one in p]) for head in ("ctr", "cvr", "ctcvr")})
    pctr, pcvr = 18 ** (1 / 3) / (1 + 18 ** (1 / 3)), 4 ** (-1 / 3) / (1 + 4 ** (-1 / 3))
    esmm = {name: value_of(found).item() for name, found in es.ESMM().predict(both).items()}
    assert esmm == pytest.approx({"pctr": pctr, "pcvr": pcvr, "pctcvr": pctr * pcvr})
    division = {name: value_of(found).item() for name, found in DIVISION().predict(both).items()}
    assert division == pytest.approx({"pctr": pctr, "pcvr": pcvr / pctr, "pctcvr": pcvr})
    low = Heads(ctr=Prob.average([of(0.1), of(0.2)]), ctcvr=Prob.average([of(0.5), of(0.5)]))
    assert value_of(DIVISION().predict(low)["pcvr"]).item() == pytest.approx(0.5 / (1 / 7)), "it may exceed 1"


def of(p: float) -> Prob:
    return Prob.of_logit(torch.tensor([math.log(p / (1 - p))]))


@pytest.mark.parametrize(
    ("logits", "mean"), [((90.0, -30.0), 30.0), ((60.0, 40.0), 50.0), ((-300.0, 100.0, 50.0), -50.0), ((40.0,), 40.0)]
)
def test_extreme_probabilities_are_averaged_exactly(logits, mean):
    """1 - p is 0 in float32 for a logit of 17, and p is 0 for one of -104; their log odds are not lost."""
    found = Prob.average([Prob.of_logit(torch.tensor([x])) for x in logits])
    assert found.log.dtype == torch.float32
    assert (found.log - found.log_not).item() == pytest.approx(mean, rel=1e-6)
    assert found.log_not.item() == pytest.approx(-math.log1p(math.exp(mean)), rel=1e-6)
    assert found.log.item() == pytest.approx(-math.log1p(math.exp(-mean)), rel=1e-6)


def test_the_order_of_members_does_not_matter(made, dataset):
    backwards = replace(made, network=Ensemble([member.network for member in reversed(made.members)]))
    np.testing.assert_allclose(arrays(backwards.predict(dataset.test)), arrays(made.predict(dataset.test)), rtol=3e-7)
    rng = np.random.default_rng(0)
    probs = [Prob.of_logit(torch.tensor(10 * rng.normal(size=1000), dtype=torch.float32)) for _ in range(5)]
    a, b = Prob.average(probs), Prob.average(probs[::-1])
    torch.testing.assert_close(a.log, b.log, rtol=2.0**-23, atol=0)
    torch.testing.assert_close(a.log_not, b.log_not, rtol=2.0**-23, atol=0)


# An ensemble is a run


def test_an_ensemble_is_the_mean_of_its_members(made, dataset, quick):
    assert [member.seed for member in made.members] == [4, 5, 6]
    assert made.title == "ESMM, ensemble of 3, seeds 4, 5, 6"
    members = [es.load(made.folder / "members" / str(k)).predict(dataset.test) for k in range(3)]
    pctr, pcvr = (averaged([getattr(p, name) for p in members]) for name in ("pctr", "pcvr"))
    found = made.predict(dataset.test)
    assert {p.dtype for p in (found.pctr, found.pcvr, found.pctcvr)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(arrays(found), np.stack([pctr, pcvr, pctr * pcvr]), rtol=2e-6)
    assert np.abs(found.pctr - members[0].pctr).max() > 1e-3
    alone = es.fit(es.ESMM(), dataset.train, seed=5, config=quick)
    np.testing.assert_array_equal(alone.predict(dataset.test).pctcvr, members[1].pctcvr)


def test_division_averages_pctr_and_pctcvr(dataset, quick, reference):
    run = es.fit_ensemble(DIVISION(), dataset.train, seeds=2, config=quick, reference=reference)
    members = [member.predict(dataset.test) for member in run.members]
    pctr, pctcvr = (averaged([getattr(p, name) for p in members]) for name in ("pctr", "pctcvr"))
    found = run.predict(dataset.test)
    np.testing.assert_allclose(arrays(found), np.stack([pctr, pctcvr / pctr, pctcvr]), rtol=2e-6)


@pytest.mark.parametrize("method", [es.BASE(), es.ESMM(), es.DIVISION(), es.UNBIAS()], ids=lambda m: m.label)
def test_one_member_is_the_run_itself(method, dataset, quick, reference):
    one = es.fit_ensemble(method, dataset.train, seeds=1, seed=2, config=quick, reference=reference)
    run = es.fit(method, dataset.train, seed=2, config=quick, reference=reference)
    np.testing.assert_array_equal(arrays(one.predict(dataset.test)), arrays(run.predict(dataset.test)))
    assert one.evaluate(dataset.test) == run.evaluate(dataset.test)


def test_it_stands_alone_and_predicts_parts_datasets_and_frames(made, dataset, simulated_log, tmp_path):
    shutil.copytree(made.folder, tmp_path / "copy")
    moved = es.load(tmp_path / "copy")
    assert [member.seed for member in moved.members] == [4, 5, 6]
    want = arrays(made.predict(dataset.test))
    np.testing.assert_array_equal(arrays(moved.predict(dataset.test)), want)
    np.testing.assert_array_equal(arrays(moved.predict(dataset))[:, -len(dataset.test) :], want)
    impressions = pl.read_parquet(simulated_log / "impressions*.parquet").tail(len(dataset.test))
    common = pl.read_parquet(simulated_log / "common.parquet")
    found = moved.predict(impressions.drop("click", "conversion"), tables={"common": common})
    np.testing.assert_array_equal(arrays(found), want)
    assert str(moved.evaluate(dataset.test)) == str(made.evaluate(dataset.test))
    assert all(is_of_a_run(path.relative_to(made.folder).as_posix()) for path in made.folder.rglob("*.*"))


def test_members_share_the_reference(made, dataset, reference):
    found = made.evaluate(dataset.test).tasks
    single = made.members[0].evaluate(dataset.test).tasks
    assert found["ctr_reference"] == single["ctr_reference"]
    assert found["cvr"] != single["cvr"]
    inodes = {path.stat().st_ino for path in made.folder.rglob("reference/weights.safetensors")}
    assert inodes == {(reference.folder / "weights.safetensors").stat().st_ino}


def test_it_is_calibrated_once_for_all_members(made, dataset, tmp_path):
    shutil.copytree(made.folder, tmp_path / "run")
    run = es.load(tmp_path / "run").calibrate(dataset.validation, "platt", save=True)
    assert len(list(run.folder.rglob("calibration.json"))) == 1
    p, y = run.predict(dataset.validation), dataset.validation.column("click")
    assert p.pctr.sum(dtype=float) == pytest.approx(y.sum(), abs=2)
    np.testing.assert_array_equal(p.pctcvr, p.pctr * p.pcvr)
    again = es.load(run.folder)
    np.testing.assert_array_equal(arrays(again.predict(dataset.test)), arrays(run.predict(dataset.test)))
    other = es.fit_ensemble(es.ESMM(), dataset.train, seeds=2, config=made.config, reference=made.reference)
    shutil.copy(run.folder / "calibration.json", other.folder)
    with pytest.raises(RunError, match="the run has other weights"):
        es.load(other.folder)


def test_a_dataset_of_another_layout_is_refused(made, tmp_path):
    es.simulate(tmp_path / "raw", impressions=1200, click_rate=0.3, conversion_rate=0.3, seed=9)
    other = es.prepare(tmp_path / "raw" / "schema.toml", tmp_path / "raw", tmp_path / "other")
    with pytest.raises(RunError, match="must be prepared with the layout of the run"):
        made.predict(other.test)
    again = es.prepare(
        tmp_path / "raw" / "schema.toml", tmp_path / "raw", tmp_path / "same", encoders=made.folder, part="test"
    )
    assert len(made.predict(again.test).pcvr) == 1200


def test_a_member_that_is_missing_or_another_run_is_refused(made, tmp_path):
    shutil.copytree(made.folder, tmp_path / "run")
    first, second = (tmp_path / "run" / "members" / name for name in "01")
    shutil.rmtree(first)
    with pytest.raises(RunError, match=r"members/0: a run must be a folder"):
        es.load(tmp_path / "run")
    shutil.copytree(second, first)
    with pytest.raises(RunError, match=r"members/0: the members of an ensemble must be those .*it is another run"):
        es.load(tmp_path / "run")


def test_an_ensemble_of_ctr_networks_is_a_reference(dataset, quick, tmp_path):
    ctr = es.fit_ensemble(es.CTR(), dataset.train, seeds=2, config=quick, out=tmp_path / "ctr")
    run = es.fit(es.UNBIAS(), dataset.train, config=quick, reference=ctr, out=tmp_path / "run")
    want = ctr.own_pctr(dataset.test)
    shutil.rmtree(tmp_path / "ctr")
    np.testing.assert_array_equal(es.load(run.folder).reference_pctr(dataset.test), want)
    with pytest.raises(RunError, match="must predict pCVR"):
        es.fit_ensemble(es.CTR(), dataset.train, seeds=2, config=quick).predict(dataset.test)


# Training


class Killed(Exception):
    pass


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_interrupted_training_goes_on_with_the_next_member(share, dataset, quick, reference, tmp_path, monkeypatch):
    """Finished members are kept, and the ensemble is that of a training without interruption."""
    settings = {"checkpoint_minutes": 1e-9, "epochs": 1}
    config = quick.model_copy(update={"training": quick.training.model_copy(update=settings)})
    whole = es.fit_ensemble(es.BASE(), dataset.train, config=config, out=tmp_path / "whole")
    ends = [path.read_text().splitlines()[-1] for path in whole.folder.glob("members/*/metrics.jsonl")]
    left = int(share * sum(json.loads(line)["step"] for line in ends))
    step, out = trainer_module.Trainer._step, tmp_path / "cut"

    def dying(self, batch):
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return step(self, batch)

    monkeypatch.setattr(trainer_module.Trainer, "_step", dying)
    with pytest.raises(Killed):
        es.fit_ensemble(es.BASE(), dataset.train, config=config, out=out)
    monkeypatch.setattr(trainer_module.Trainer, "_step", step)
    finished = {path: path.stat().st_mtime_ns for path in out.rglob("weights.safetensors")}
    assert len(finished) == int(share * 3)
    with pytest.raises(RunError, match="not all members of the ensemble are trained"):
        es.load(out)
    with pytest.raises(RunError, match="must be new, empty or hold a run"):
        es.fit(es.BASE(), dataset.train, config=config, out=out)
    if finished:
        with pytest.raises(RunError, match="must be an ensemble of 1, however: an ensemble with members/"):
            es.fit_ensemble(es.BASE(), dataset.train, seeds=1, config=config, out=out)
        with pytest.raises(RunError, match=r"must have the same reference .*members/0 was trained with another one"):
            es.fit_ensemble(es.BASE(), dataset.train, config=config, reference=reference, out=out)
    resumed = es.fit_ensemble(es.BASE(), dataset.train, config=config, out=out)
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name]), name


def test_a_folder_of_another_training_is_refused(made, dataset, quick, reference, tmp_path):
    train = dataset.train
    again = es.fit_ensemble(es.ESMM(), train, seed=4, config=quick, reference=reference, out=made.folder)
    np.testing.assert_array_equal(arrays(again.predict(dataset.test)), arrays(made.predict(dataset.test)))
    with pytest.raises(RunError, match="must be an ensemble of 2, however: it is an ensemble of 3"):
        es.fit_ensemble(es.ESMM(), train, seeds=2, seed=4, config=quick, reference=reference, out=made.folder)
    with pytest.raises(RunError, match=r"members/0: .*must have the same seed .*it has seed 4, not 5"):
        es.fit_ensemble(es.ESMM(), train, seed=5, config=quick, reference=reference, out=made.folder)
    with pytest.raises(RunError, match="must be a single run, however: it is an ensemble of 3"):
        es.fit(es.ESMM(), train, seed=4, config=quick, reference=reference, out=made.folder)
    es.fit(es.BASE(), train, config=quick, out=tmp_path / "single")
    with pytest.raises(RunError, match="must be an ensemble of 3, however: it is a single run"):
        es.fit_ensemble(es.BASE(), train, config=quick, out=tmp_path / "single")
    (tmp_path / "own" / "members").mkdir(parents=True)
    (tmp_path / "own" / "members" / "list.txt").write_text("Ann, Bob")
    with pytest.raises(RunError, match=r"must be new, empty or hold a run, however: it holds members/list\.txt"):
        es.fit_ensemble(es.BASE(), train, config=quick, out=tmp_path / "own")


def test_members_start_from_the_members_of_an_earlier_ensemble(made, dataset, quick, tmp_path):
    still = quick.model_copy(update={"optimizer": quick.optimizer.model_copy(update={"learning_rate": 1e-12})})
    next_day = es.fit_ensemble(es.ESMM(), dataset.train, seed=9, config=still, start=made, out=tmp_path / "next")
    for name, weight in next_day.network.state_dict().items():
        torch.testing.assert_close(weight, made.network.state_dict()[name], atol=1e-8, rtol=0)
    from_one = es.fit_ensemble(es.ESMM(), dataset.train, seeds=2, config=still, start=made.members[1])
    for member in from_one.members:
        for name, weight in member.network.state_dict().items():
            torch.testing.assert_close(weight, made.members[1].network.state_dict()[name], atol=1e-8, rtol=0)
    with pytest.raises(ConfigError, match="an ensemble of as many members, however: 3 members, not 2"):
        es.fit_ensemble(es.ESMM(), dataset.train, seeds=2, config=still, start=made)
    with pytest.raises(ConfigError, match="must be a single run, however: it is an ensemble of 3"):
        es.fit(es.ESMM(), dataset.train, config=still, start=made)


@pytest.mark.parametrize("method", [es.ESMM(), es.DIVISION(), es.BASE()], ids=lambda m: m.label)
def test_a_refitted_ensemble_keeps_the_averaged_scores_of_its_selection_models(method, dataset, quick, tmp_path):
    settings = {"refit": True, "epochs": 2}
    config = quick.model_copy(update={"training": quick.training.model_copy(update=settings)})
    reference = es.reference_ctr(dataset.train, config=config)
    run = es.fit_ensemble(method, dataset.train, seeds=2, config=config, reference=reference, out=tmp_path / "run")
    members = [member.validation_scores() for member in run.members]
    found = run.validation_scores()
    assert found.own.keys() == members[0].own.keys()
    for name in {"pctr", "pctcvr"} & found.own.keys() if method.divides else {"pctr", "pcvr"} & found.own.keys():
        np.testing.assert_allclose(found.own[name], averaged([one.own[name] for one in members]), rtol=1e-6)
    if "pctcvr" in found.own:
        np.testing.assert_allclose(found.own["pctcvr"], found.own["pctr"] * found.own["pcvr"], rtol=1e-6)
    assert np.abs(found.own["pcvr"] - run.outputs(dataset.validation).own["pcvr"]).max() > 1e-4
    with pytest.raises(ConfigError, match="must be calibrated on the validation scores that it keeps"):
        run.calibrate(dataset.validation, "platt")
    shutil.copytree(run.folder, tmp_path / "copy")
    again = es.load(tmp_path / "copy").validation_scores()
    assert again.reference_pctr is not None
    np.testing.assert_array_equal(again.own["pcvr"], found.own["pcvr"])
    one = es.fit_ensemble(method, dataset.train, seeds=1, config=config, reference=reference)
    np.testing.assert_array_equal(one.validation_scores().own["pcvr"], members[0].own["pcvr"])


def test_seeds_that_make_no_ensemble_are_refused(dataset, quick):
    with pytest.raises(ConfigError, match="must have at least one member"):
        es.fit_ensemble(es.ESMM(), dataset.train, seeds=0, config=quick)
    with pytest.raises(ConfigError, match=r"RATES must be trained from one seed, .*depends on no seed"):
        es.fit_ensemble(es.RATES(), dataset.train, config=quick)


# Rates of a history

ROWS = random_log(120, seed=3)
NEXT = [row | {"t": row["t"] + 1000} for row in random_log(60, seed=8)]
QUICK = Config.model_validate(
    {"network": {"embedding_size": 3, "hidden": [5]}, "training": {"epochs": 1, "batch_size": 64, "threads": 1}}
)


def test_an_update_reaches_the_reference_and_every_member(tmp_path):
    data = prepared(tmp_path / "a", ROWS, HISTORY)
    reference = es.reference_ctr(data.train, config=QUICK, out=tmp_path / "run" / "reference")
    es.fit_ensemble(es.BASE(), data.train, seeds=2, config=QUICK, reference=reference, out=tmp_path / "run")
    for day in range(3):
        for name, table in {**side_tables(), "log.csv": [row | {"t": row["t"] + 2000 * day} for row in NEXT]}.items():
            write_table(tmp_path / str(day) / name, table)
        found = es.update(tmp_path / "run", tmp_path / str(day))
        assert found.added == len(NEXT)
        folders = list(runs_in(tmp_path / "run"))
        assert len(folders) == 6
        assert {read_state(folder).digest for folder in folders} == {found.state} != {read_state(data.path).digest}
    for folder in folders:
        names = {path.name.split(".")[1] for path in (folder / "history").glob("*.parquet")}
        assert names == {"2", "3"}, "the state before stays for its readers, older ones are removed"
    run = es.load(tmp_path / "run")
    assert len(run.members) == 2
    tomorrow = prepared(tmp_path / "later", random_log(30, seed=9), "", encoders=tmp_path / "run", part="test")
    assert run.evaluate(tomorrow.test).history["state"] == read_state(tomorrow.path).digest


def test_members_beside_the_logistic_baseline_share_its_coefficients(tmp_path):
    data = prepared(tmp_path / "a", random_log(300, seed=3), HISTORY)
    config = QUICK.model_copy(update={"network": QUICK.network.model_copy(update={"offset": "rates"})})
    run = es.fit_ensemble(es.BASE(), data.train, seeds=2, config=config, reference=es.reference_ctr(data.train))
    assert run.coefficients == run.members[1].coefficients != {}
    assert run.evaluate(data.test).coefficients == run.coefficients
