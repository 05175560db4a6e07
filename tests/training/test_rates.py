"""RATES and network.offset: the baseline that is solved, the network that starts at it, and runs that stand alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import expit, logit

from entirespace.batches.feed import Feed
from entirespace.config import Config
from entirespace.core.rows import Rows
from entirespace.dataset.dataset import Dataset, Part
from entirespace.errors import ConfigError, DataError
from entirespace.experiments.compare import compare
from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, RATES, UNBIAS, Method
from entirespace.reports.comparison import Comparison
from entirespace.runs.build import fields_of
from entirespace.training import Run, fit, rates, reference_ctr
from entirespace.training.learner import Learner
from entirespace.training.rates import install, solve_baseline

trainer_module = sys.modules["entirespace.training.trainer"]
NAMES = tuple(f"rate.{rate}.{key}" for key in ("item_id", "user_id") for rate in ("click", "conversion", "ctcvr"))


def offset(config: Config, **network: object) -> Config:
    return config.model_copy(update={"network": config.network.model_copy(update={"offset": "rates", **network})})


def by_hand(data: Dataset, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """pCTR and pCVR of the baseline, in float64."""
    solved = solve_baseline(data.train)
    x = np.concatenate([rows.numbers for rows in part.chunks()])
    return expit(solved["ctr"].log_odds(x)), expit(solved["cvr"].log_odds(x))


def test_rates_is_a_run_like_any_other(history, quick, tmp_path) -> None:
    run = fit(RATES(), history.train, config=quick, out=tmp_path / "run")
    p, (pctr, pcvr) = run.predict(history.test), by_hand(history, history.test)
    np.testing.assert_allclose(p.pctr, pctr, rtol=1e-5)
    np.testing.assert_allclose(p.pcvr, pcvr, rtol=1e-5)
    np.testing.assert_allclose(p.pctcvr, pctr * pcvr, rtol=1e-5)
    assert not list(run.network.parameters()), "nothing but the baseline"
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    pctr, pcvr = by_hand(history, history.validation)
    y, z = history.validation.column("click"), history.validation.column("conversion")
    loss = -np.log(np.where(y, pctr, 1 - pctr)).mean() - np.where(y, np.log(np.where(z, pcvr, 1 - pcvr)), 0).mean()
    assert line["validation_loss"] == pytest.approx(loss, rel=1e-5)
    again = Run.open(tmp_path / "run")
    np.testing.assert_array_equal(again.predict(history.test).pctcvr, p.pctcvr)
    assert again.method == RATES()
    evaluation = fit(RATES(), history.train, config=quick, reference=reference_ctr(history.train, config=quick))
    assert evaluation.evaluate(history.test).as_dict()["tasks"]["cvr"]["auc"] > 0.55


def test_coefficients_are_written_by_size_and_say_which_rate(history, quick, tmp_path) -> None:
    run = fit(RATES(), history.train, config=quick, out=tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "coefficients.json").read_text())
    solved = solve_baseline(history.train)
    for head in ("ctr", "cvr"):
        sizes = [abs(weight) for weight in stored[head]["weights"].values()]
        assert sizes == sorted(sizes, reverse=True)
        for i, name in enumerate(NAMES):
            assert stored[head]["weights"][name] == pytest.approx(solved[head].weight[i], rel=1e-6)
            assert run.coefficients[head].mean[name] == pytest.approx(solved[head].mean[i], rel=1e-6)
        assert stored[head]["intercept"] == pytest.approx(solved[head].intercept, rel=1e-6)


def test_the_seed_and_the_network_change_nothing_of_rates(history, quick) -> None:
    one = fit(RATES(), history.train, seed=0, config=quick)
    two = fit(RATES(), history.train, seed=1, config=offset(quick, embedding_size=9))
    assert one.network.state_dict().keys() == two.network.state_dict().keys()
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, two.network.state_dict()[name]), name


@pytest.mark.parametrize(
    "method",
    [BASE(), UNBIAS(), DIVISION(), ESMM(share_embedding=False), ESMM(), CTR()],
    ids=lambda m: m.label,
)
def test_before_the_first_step_every_head_equals_the_baseline(method: Method, history, quick) -> None:
    pctr, pcvr = by_hand(history, history.test)
    for config in (quick, offset(quick, offset_hidden=(4,))):
        for head, odds in start(method, history, config).items():
            expected = logit({"ctr": pctr, "cvr": pcvr, "ctcvr": pctr * pcvr}[head])
            np.testing.assert_allclose(odds, expected, atol=5e-6, err_msg=head)


def test_layers_on_the_rates_are_added_to_the_baseline(history, quick) -> None:
    """Against their sum by hand, for a network that reads nothing else; and training moves them."""
    fields = tuple(f.name for f in history.fields if f.kind != "rate")
    alone = offset(quick, offset_hidden=(5, 3), history=False, exclude=fields)
    run = fit(ESMM(), history.train, config=alone)
    assert not run.network.embeddings
    assert not run.network.towers
    layers, ctr = run.network.rate_layers, run.network.baseline.regression("ctr")
    x = np.concatenate([rows.numbers for rows in history.test.chunks()]).astype(np.float64)
    scale = ctr.scale.numpy().astype(np.float64)
    hidden = np.where(scale > 0, (x - ctr.mean.numpy()) / np.where(scale > 0, scale, 1), 0).clip(-4, 4)
    for layer in layers.hidden:
        hidden = np.maximum(hidden @ layer.weight.detach().numpy().T + layer.bias.detach().numpy(), 0)
    more = hidden @ layers.last.weight.detach().numpy().T + layers.last.bias.detach().numpy()
    assert np.abs(more).max() > 1e-3, "training has moved them"
    outputs = run.own_scores(history.test)
    for place, (name, head) in enumerate((("pctr", "ctr"), ("pcvr", "cvr"))):
        regression = run.network.baseline.regression(head)
        z = (x - regression.mean.numpy()) / np.where(regression.scale.numpy() > 0, regression.scale.numpy(), np.inf)
        odds = z @ regression.weight.numpy().astype(np.float64) + regression.bias.item()
        np.testing.assert_allclose(outputs.own[name], expit(odds + more[:, place]), rtol=2e-5)
    again = Run.open(run.folder)
    np.testing.assert_array_equal(again.own_scores(history.test).pcvr, outputs.pcvr)


def test_rates_has_no_layers_beside_it(history, quick) -> None:
    run = fit(RATES(), history.train, config=offset(quick, offset_hidden=(4,)))
    assert not list(run.network.parameters())


def start(method: Method, data: Dataset, config: Config) -> dict[str, np.ndarray]:
    """The log odds of each head before the first step, on the test part."""
    learner = Learner(method, data, offset(config), seed=0)
    assert learner.network.baseline is not None
    install(solve_baseline(data.train), learner.network.baseline)
    with torch.inference_mode():
        feed = Feed.of(data, fields_of(method, data.layout, offset(config)))
        found = [learner.network(batch) for batch in feed.in_order(data.test.chunks(), 500)]
    return {
        head: np.concatenate([(getattr(p, head).log - getattr(p, head).log_not).numpy() for p in found])
        for head in method.heads
    }


def test_where_samples_have_other_rates_the_intercept_starts_at_the_difference(history, quick) -> None:
    """An OVERSAMPLING of k copies has k times the odds; AMAN has the un-clicked as negatives."""
    base = start(BASE(), history, quick)["cvr"]
    copies = start(OVERSAMPLING(copies=4), history, quick)["cvr"]
    counts = history.train.counts
    exact = 4 * (counts["conversion"] + 1 / 8) / (counts["conversion"] + 0.5)  # of smoothed rates
    np.testing.assert_allclose(copies - base, np.log(exact), atol=1e-5)
    assert np.log(exact) == pytest.approx(np.log(4), abs=0.01)
    aman = start(AMAN(rate=1.0), history, quick)["cvr"]
    rate = history.train.counts["conversion"] / len(history.train)
    shift = logit(rate) - logit(counts["conversion"] / counts["click"])
    np.testing.assert_allclose(aman - base, shift, atol=0.01)
    np.testing.assert_array_equal(start(AMAN(rate=0.0), history, quick)["cvr"], base)


def test_training_goes_on_from_the_baseline(history, quick, tmp_path) -> None:
    run = fit(ESMM(), history.train, config=offset(quick), out=tmp_path / "run")
    baseline, trained = fit(RATES(), history.train, config=quick), run.predict(history.test)
    assert np.abs(trained.pcvr - baseline.predict(history.test).pcvr).max() > 1e-3
    for head in ("ctr", "cvr"):
        assert run.coefficients[head] == baseline.coefficients[head], "the baseline itself is not trained"
    np.testing.assert_array_equal(Run.open(tmp_path / "run").predict(history.test).pcvr, trained.pcvr)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["network"]["offset"] == "rates"


def test_the_baseline_is_kept_if_training_does_not_lower_the_loss(history, quick, tmp_path) -> None:
    optimizer = quick.optimizer.model_copy(update={"learning_rate": 3.0})
    wild = offset(quick).model_copy(update={"optimizer": optimizer})
    run = fit(ESMM(), history.train, config=wild, out=tmp_path / "run")
    rates = fit(RATES(), history.train, config=quick)
    losses = [json.loads(line)["validation_loss"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert min(losses[1:]) > losses[0]
    for name in ("pctr", "pcvr"):
        kept, alone = (getattr(one.predict(history.test), name) for one in (run, rates))
        np.testing.assert_allclose(kept, alone, rtol=1e-5)


def test_rates_needs_only_the_columns_of_its_keys(history, quick, simulated_log) -> None:
    run = fit(RATES(), history.train, config=quick)
    impressions = pl.read_parquet(simulated_log / "impressions-*.parquet")
    common = pl.read_parquet(simulated_log / "common.parquet")
    tables = {"common": common.select("common", "user_id")}
    found = run.predict(impressions.select("common", "item_id"), tables=tables)
    assert found.pcvr.std() > 0
    np.testing.assert_array_equal(run.predict(impressions, tables={"common": common}).pcvr, found.pcvr)
    with pytest.raises(DataError, match="item_id"):
        run.predict(impressions.select("common"), tables=tables)


def test_an_interrupted_training_beside_the_baseline_ends_with_the_same_bits(history, quick, tmp_path, monkeypatch):
    config = offset(quick)
    whole = fit(ESMM(), history.train, config=config)
    save = trainer_module.Trainer._save

    def dying(self, best: bool = False) -> None:
        save(self, best)
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer_module.Trainer, "_save", dying)
    for method in (ESMM(), RATES()):
        with pytest.raises(KeyboardInterrupt):
            fit(method, history.train, config=config, out=tmp_path / method.name)
    monkeypatch.setattr(trainer_module.Trainer, "_save", save)
    resumed = fit(ESMM(), history.train, config=config, out=tmp_path / "ESMM")
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
    fit(RATES(), history.train, config=config, out=tmp_path / "RATES")
    lines = (tmp_path / "RATES" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 1, "it was validated once"


def test_training_from_a_run_keeps_its_baseline(history, quick, monkeypatch) -> None:
    config = offset(quick)
    first = fit(ESMM(), history.train, config=config)
    monkeypatch.setattr(rates, "solve_baseline", lambda *_: pytest.fail("it was solved again"))
    nearly_still = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"learning_rate": 1e-12})})
    second = fit(ESMM(), history.train, config=nearly_still, start=first)
    np.testing.assert_allclose(second.predict(history.test).pcvr, first.predict(history.test).pcvr, rtol=1e-5)
    with pytest.raises(ConfigError, match="must get no run to start from"):
        fit(RATES(), history.train, config=quick, start=first)


def test_the_baseline_is_solved_once_for_a_dataset(history, quick, monkeypatch) -> None:
    solved: list[str] = []
    solve = rates._solve

    def counted(train: Part, head: str, *others: object):
        solved.append(head)
        return solve(train, head, *others)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(rates, "_solve", counted)
    for seed in (0, 1):
        fit(RATES(), history.train, seed=seed, config=quick)
        fit(BASE(), history.train, seed=seed, config=offset(quick))
    assert solved == ["ctr", "cvr"]
    fit(RATES(c=1.0), history.train, config=quick)
    fit(RATES(), history.train, config=some(quick, 0.5))
    assert len(solved) == 6, "another penalty, and another share, are other solutions"


def some(config: Config, share: float) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update={"share": share})})


def test_cross_validation_chooses_a_penalty(history, quick) -> None:
    run = fit(RATES(c="cv"), history.train, config=quick)
    assert run.method.label == "RATES(c='cv')"
    assert solve_baseline(history.train, "cv")["cvr"].c in (0.01, 0.1, 1.0)
    assert Run.open(run.folder).method == RATES(c="cv")


def test_a_weight_of_impressions_counts(history, monkeypatch) -> None:
    """The weighted mean of the predictions is the weighted rate."""
    chunks = Part.chunks

    def weighed(part: Part, rng: np.random.Generator | None = None, **read: Any) -> Iterator[Rows]:
        for rows in chunks(part, rng, **read):
            assert rows.labels is not None
            weight = np.where(rows.labels.click, 2.0, 1.0).astype(np.float32)
            yield replace(rows, labels=replace(rows.labels, weight=weight))

    monkeypatch.setattr(Part, "chunks", weighed)
    y, weight = history.train.column("click"), np.where(history.train.column("click"), 2.0, 1.0)
    pctr, _ = by_hand(history, history.train)
    assert np.average(pctr, weights=weight) == pytest.approx(np.average(y, weights=weight), rel=1e-6)


@pytest.mark.parametrize("method", [RATES(), BASE()], ids=lambda m: m.label)
def test_a_dataset_without_history_is_refused(method: Method, dataset, quick) -> None:
    with pytest.raises(ConfigError, match=r"has none.*Add a table \[history\] to the schema"):
        fit(method, dataset.train, config=offset(quick))


def test_a_number_that_is_not_finite_is_an_error_that_names_the_rate(history, quick, monkeypatch) -> None:
    chunks = Part.chunks

    def spoiled(part: Part, rng: np.random.Generator | None = None, **read: Any) -> Iterator[Rows]:
        for rows in chunks(part, rng, **read):
            assert rows.numbers is not None
            rows.numbers[3, 1] = np.nan
            yield rows

    monkeypatch.setattr(Part, "chunks", spoiled)
    with pytest.raises(DataError, match=r"those of rate\.conversion\.item_id are not, in the train part"):
        fit(RATES(), Dataset(history.path).train, config=quick)


def test_half_precision_does_not_touch_the_baseline(history, quick) -> None:
    bf16 = offset(quick).model_copy(update={"training": quick.training.model_copy(update={"precision": "bf16"})})
    run = fit(RATES(), history.train, config=bf16)
    np.testing.assert_allclose(run.predict(history.test).pctr, by_hand(history, history.test)[0], rtol=1e-5)
    assert fit(ESMM(), history.train, config=bf16).predict(history.test).pcvr.min() > 0


def test_a_copied_run_stands_alone(history, quick, tmp_path) -> None:
    import shutil

    fit(RATES(), history.train, config=quick, out=tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert {p.name for p in (tmp_path / "copy").iterdir()} >= {"weights.safetensors", "coefficients.json"}
    run = Run.open(Path(tmp_path / "copy"))
    np.testing.assert_allclose(run.predict(history.test).pctr, by_hand(history, history.test)[0], rtol=1e-5)


# In comparisons and reports


def test_rates_stands_in_every_comparison(history, quick, tmp_path) -> None:
    comparison = compare([BASE(), ESMM()], history, seeds=2, config=quick, out=tmp_path, jobs=1, sampling_rates=[0.5])
    assert [line.name for line in comparison.methods] == ["BASE", "ESMM", "RATES"], "after the methods that were named"
    base, esmm, ours = comparison.methods
    assert set(ours.against) == {"BASE", "ESMM"}
    assert set(esmm.against) == {"BASE", "RATES"}
    cvr = ours.auc["cvr"]
    paired = base.against["RATES"]["cvr"].seeds
    assert paired is not None
    assert paired.difference == pytest.approx(np.mean(base.auc["cvr"]) - np.mean(cvr))
    assert cvr[0] == cvr[1], "no seed changes it"
    assert set(comparison.sampling_curve[0].auc) == {"BASE", "ESMM", "RATES"}
    weights = comparison.coefficients["RATES"]["cvr"].weights
    assert set(weights) == set(NAMES)
    assert Comparison.open(tmp_path / "report.json").coefficients == comparison.coefficients
    for told in (str(comparison), (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()):
        assert "The line to beat is RATES" in told
        assert "Coefficients of RATES" in told
        assert f"{next(iter(weights.values())):+.4f}" in told.replace("\\", "")
    assert (tmp_path / "report.html").read_text().count("RATES</text>") > 3, "it is in the pictures"


def test_rates_is_not_added_twice_nor_without_history(history, dataset, quick, monkeypatch) -> None:
    both = compare([BASE(), RATES(c=1.0)], history, seeds=1, config=quick, jobs=1)
    assert [line.label for line in both.methods] == ["BASE", "RATES(c=1.0)"]
    monkeypatch.undo()
    plain = compare([BASE()], dataset, seeds=1, config=quick, jobs=1)
    assert [line.label for line in plain.methods] == ["BASE"]
    assert "coefficients" not in plain.as_dict()


def test_evaluate_prints_the_coefficients(history, quick) -> None:
    found = fit(RATES(), history.train, config=quick, reference=reference_ctr(history.train, config=quick))
    evaluation = found.evaluate(history.test)
    assert evaluation.as_dict()["coefficients"]["ctr"]["weights"] == found.coefficients["ctr"].weights
    assert "pCVR, from the clicked ones" in str(evaluation)
    assert all(name in str(evaluation) for name in NAMES)
    plain = fit(BASE(), history.train, config=quick, reference=found.reference).evaluate(history.test)
    assert "coefficients" not in plain.as_dict()
    assert "Logistic baseline" not in str(plain)
