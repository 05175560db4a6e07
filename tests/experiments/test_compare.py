"""`compare`: which runs are trained, where the best are chosen, what is reported, and that it can be resumed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import entirespace.experiments.runs as runs_module
from entirespace.errors import ConfigError, RunError
from entirespace.experiments.compare import compare
from entirespace.kernels.threads import threads
from entirespace.methods import AMAN, BASE, ESMM, Family
from entirespace.metrics.significance import paired
from entirespace.reports.report import text

METHODS = (BASE(), Family("AMAN", (AMAN(rate=0.1), AMAN(rate=1.0))), ESMM())


@pytest.fixture(scope="module")
def report(dataset, quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "report"
    return out, compare(METHODS, dataset, seeds=2, config=quick, out=out, jobs=1)


def test_the_table_is_the_mean_over_seeds(report):
    out, comparison = report
    about = comparison.as_dict()
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(about))
    assert [line["name"] for line in about["methods"]] == ["BASE", "AMAN", "ESMM"]
    for line in about["methods"]:
        for task in ("cvr", "ctcvr"):
            values = line["auc"][task]
            assert len(values) == 2
            assert line["tasks"][task]["auc"]["mean"] == pytest.approx(np.mean(values))
            assert line["tasks"][task]["auc"]["std"] == pytest.approx(np.std(values, ddof=1))
    base, _, esmm = about["methods"]
    expected = paired(esmm["auc"]["cvr"], base["auc"]["cvr"])
    assert esmm["against"]["BASE"]["cvr"]["difference"] == pytest.approx(expected.difference)
    assert esmm["against"]["BASE"]["cvr"]["p_value"] == pytest.approx(expected.p_value)
    p_values = [line["against"]["BASE"]["cvr"]["p_value"] for line in about["methods"][1:]]
    adjusted = [line["against"]["BASE"]["cvr"]["p_holm"] for line in about["methods"][1:]]
    assert min(adjusted) == pytest.approx(min(1, 2 * min(p_values)))
    assert max(adjusted) == pytest.approx(max(min(1, 2 * min(p_values)), max(p_values)))
    users = esmm["against"]["BASE"]["ctcvr"]["users"]
    assert users["difference"] == pytest.approx(esmm["against"]["BASE"]["ctcvr"]["difference"])
    assert users["low"] < users["difference"] < users["high"]
    assert "BASE" not in base["against"]
    for told in (str(comparison), (out / "report.md").read_text()):
        assert "66.00±0.37" in told, "the paper's own line stands beside ours"
        assert f"{100 * esmm['tasks']['cvr']['auc']['mean']:.2f}±" in told
        assert "true pCVR" in told
        assert "the test part was only used to test" in told


def test_a_method_named_with_its_rate_has_the_papers_line_too(report):
    comparison = report[1]
    base, aman, esmm = comparison.methods
    renamed = aman.model_copy(update={"name": aman.label})
    assert "65.21±0.59" in text(comparison.model_copy(update={"methods": [base, renamed, esmm]}))


def test_scores_of_an_earlier_format_are_made_again(report, dataset, quick):
    out, comparison = report
    scores = next(path for path in out.glob("runs/ESMM-seed0-*/test-scores.npy"))
    whole = np.load(scores)
    assert whole.shape == (4, len(dataset.test))
    np.testing.assert_array_equal(whole[1], whole[0] * whole[2])  # pCVR, its product with pCTR, pCTR; pCTCVR for bids
    np.save(scores, whole[:2])
    again = compare(METHODS, dataset, seeds=2, config=quick, out=out, jobs=1)
    assert again.as_dict() == comparison.as_dict()
    np.testing.assert_array_equal(np.load(scores), whole)


def test_rates_are_chosen_on_validation_or_as_the_paper_did_on_test(report, dataset, quick):
    out, comparison = report
    line = comparison.as_dict()["methods"][1]
    by_validation = max(line["candidates"], key=lambda c: c["selection_auc"]["ctcvr"]["mean"])
    assert line["label"] == by_validation["label"]
    paper = compare(METHODS, dataset, seeds=2, config=quick, out=out, select="paper", jobs=1)
    chosen = paper.as_dict()["methods"][1]
    best = max(chosen["candidates"], key=lambda c: c["selection_auc"]["ctcvr"]["mean"])
    assert chosen["label"] == best["label"]
    assert chosen["tasks"]["ctcvr"]["auc"]["mean"] == pytest.approx(best["selection_auc"]["ctcvr"]["mean"])
    assert "chosen on the TEST part" in str(paper)


def test_nothing_is_trained_twice_and_an_interrupted_comparison_is_resumed(report, dataset, quick, monkeypatch):
    out, comparison = report
    trained = []
    fit = runs_module.fit
    monkeypatch.setattr(runs_module, "fit", lambda method, *a, **k: trained.append(method) or fit(method, *a, **k))
    again = compare(METHODS, dataset, seeds=2, config=quick, out=out, jobs=1)
    assert trained == []
    assert json.loads(json.dumps(again.as_dict())) == json.loads(json.dumps(comparison.as_dict()))
    more = compare(METHODS, dataset, seeds=3, config=quick, out=out, jobs=1)
    assert trained == [BASE(), AMAN(rate=0.1), AMAN(rate=1.0), ESMM()]
    assert more.as_dict()["methods"][0]["auc"]["cvr"][:2] == comparison.as_dict()["methods"][0]["auc"]["cvr"]
    trained.clear()
    other = quick.model_copy(update={"training": quick.training.model_copy(update={"epochs": 1})})
    compare([BASE()], dataset, seeds=1, config=other, out=out, jobs=1)
    assert trained == [BASE()], "another configuration is another run"


def test_the_sampling_curve_trains_the_chosen_methods_on_shares_and_tests_on_all(report, dataset, quick):
    out, comparison = report
    about = compare(METHODS, dataset, seeds=2, config=quick, out=out, jobs=1, sampling_rates=(1.0, 0.2)).as_dict()
    small, whole = about["sampling_curve"]
    assert (small["share"], whole["share"]) == (0.2, 1.0)
    assert small["impressions"] == len(dataset.train.sampled(0.2)) < 0.25 * whole["impressions"]
    assert whole["impressions"] == len(dataset.train)
    for line in about["methods"]:
        assert whole["auc"][line["label"]]["cvr"]["mean"] == line["tasks"]["cvr"]["auc"]["mean"]  # the same runs
        assert small["auc"][line["label"]] != whole["auc"][line["label"]]
    assert [line["label"] for line in about["methods"]] == [line["label"] for line in comparison.as_dict()["methods"]]
    assert "| 20 % | 100 % |" in (out / "report.md").read_text()
    with pytest.raises(ConfigError, match="at most 1"):
        compare(METHODS, dataset, sampling_rates=(10,))


def test_one_seed_has_no_deviation(report, dataset, quick):
    out, _ = report
    about = compare(METHODS, dataset, seeds=[1], config=quick, out=out).as_dict()
    assert about["methods"][0]["tasks"]["cvr"]["auc"]["std"] is None
    assert "undefined" in about["methods"][2]["against"]["BASE"]["cvr"]["p_value"]


def test_jobs_give_the_same_table(report, dataset, quick, tmp_path):
    _, comparison = report
    parallel = compare(METHODS, dataset, seeds=2, config=quick, out=tmp_path, jobs=2).as_dict()
    assert json.loads(json.dumps(parallel)) == json.loads(json.dumps(comparison.as_dict()))


def test_a_small_log_is_trained_without_processes(report, dataset, quick, tmp_path, monkeypatch):
    def no_pool(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("entirespace.experiments.runs.Pool", no_pool)
    monkeypatch.setattr("entirespace.experiments.compare._jobs", lambda *_: 2)
    before = torch.get_num_threads(), threads()
    here = compare(METHODS, dataset, seeds=2, config=quick, out=tmp_path / "here").as_dict()
    assert (torch.get_num_threads(), threads()) == before
    assert json.loads(json.dumps(here)) == json.loads(json.dumps(report[1].as_dict()))
    monkeypatch.setattr("entirespace.experiments.runs.SMALL", 0)
    with pytest.raises(AssertionError, match="a process was started"):
        compare(METHODS, dataset, seeds=2, config=quick, out=tmp_path / "there")


def test_an_error_in_a_job_reaches_the_user(dataset, quick, tmp_path):
    wild = quick.model_copy(update={"optimizer": quick.optimizer.model_copy(update={"learning_rate": 1e30})})
    with pytest.raises(RunError, match="finite"):
        compare([BASE()], dataset, seeds=2, config=wild, out=tmp_path, jobs=2)


def test_bad_arguments(dataset):
    with pytest.raises(ConfigError, match="must have different names"):
        compare([BASE(), BASE()], dataset)
    with pytest.raises(ConfigError, match="at least one seed"):
        compare([BASE()], dataset, seeds=[])
    with pytest.raises(ConfigError, match="no seed twice"):
        compare([BASE()], dataset, seeds=[1, 1])
