"""LightGBM and blends as rows of `compare`: beside methods, cached, several at a time, and in reports."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.errors import ConfigError
from entirespace.experiments.compare import compare
from entirespace.experiments.keys import Keys
from entirespace.experiments.runs import Runs
from entirespace.methods import AMAN, BASE, CTR, ESMM, Family
from entirespace.reports.comparison import Comparison
from entirespace.rivals import BLEND, LightGBM
from entirespace.rivals.blend import mixed
from entirespace.rivals.typed import Row

BLENDED = BLEND(ESMM(), LightGBM())
ROWS = (BASE(), ESMM(), LightGBM(), BLENDED, BLEND(ESMM(), ESMM()))


@pytest.fixture(scope="module")
def report(quick_rival, dataset, quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("rivals") / "report"
    return out, compare(ROWS, dataset, seeds=2, config=quick, out=out, jobs=1)


def test_rivals_and_blends_stand_like_methods_in_the_table(report):
    out, comparison = report
    assert [(line.label, line.kind) for line in comparison.methods] == [
        ("BASE", "method"),
        ("ESMM", "method"),
        ("LightGBM", "rival"),
        ("BLEND(ESMM, LightGBM)", "blend"),
        ("BLEND(ESMM, ESMM)", "blend"),
    ]
    lines = {line.name: line for line in comparison.methods}
    assert lines["BASE"].auc["bid"] == lines["BASE"].auc["ctcvr"], "it bids with the pCTR of the reference CTR network"
    assert np.mean(lines["ESMM"].auc["bid"]) == pytest.approx(lines["ESMM"].tasks["ctcvr_own"].auc.mean)
    for line in comparison.methods[1:]:
        assert set(line.tasks) == {"ctr", "ctr_reference", "cvr", "ctcvr", "ctcvr_own"}
        assert len(line.auc["ctcvr"]) == 2
        others = {"BASE", "ESMM", "LightGBM"} - {line.name}
        assert set(line.against) == others
        assert set(line.against["BASE"]) == {"cvr", "ctcvr"}
        for other in others & {"LightGBM"}:
            bid = line.against[other]["bid"]
            assert bid.seeds.difference == pytest.approx(np.subtract(line.auc["bid"], lines[other].auc["bid"]).mean())
            assert bid.users.difference == pytest.approx(bid.seeds.difference)
    assert [*comparison.learning] == ["BASE", "ESMM"]
    assert set(comparison.diagnosis.methods) == {line.label for line in comparison.methods}
    for told in (str(comparison), (out / "report.md").read_text()):
        assert "The line to beat is LightGBM, boosted trees on the same columns." in told
        assert "Difference to LightGBM" in told
        assert "Weights of blends" in told
        assert "copies, settings of LightGBM and weights of blends were chosen on the validation part" in told
        assert "With the pCTCVR for bids, " in told
    assert "BLEND(ESMM, LightGBM)" in (out / "report.html").read_text()
    assert Comparison.open(out / "report.json").as_dict() == comparison.as_dict()


def test_a_blend_of_a_row_with_itself_is_that_row(report):
    lines = {line.label: line for line in report[1].methods}
    assert lines["BLEND(ESMM, ESMM)"].auc["cvr"] == lines["ESMM"].auc["cvr"]
    mine, own = (lines[label].tasks for label in ("BLEND(ESMM, ESMM)", "ESMM"))
    for task in ("ctr", "cvr", "ctcvr"):
        assert mine[task] == own[task]
    assert mine["ctcvr_own"].log_loss.mean == pytest.approx(own["ctcvr_own"].log_loss.mean, rel=1e-7)
    assert lines["BLEND(ESMM, ESMM)"].weights["cvr"].mean == 0.5


def test_the_scores_of_a_blend_are_those_of_its_parts_with_the_weights_of_the_table(report, dataset, quick):
    out, comparison = report
    runs = Runs(dataset, quick, out / "runs", Keys.of(dataset, quick, [CTR(), BASE(), ESMM()]))
    weights = [runs.weights(BLENDED, seed) for seed in (0, 1)]
    line = next(line for line in comparison.methods if line.label == BLENDED.label)
    for head in ("ctr", "cvr"):
        assert line.weights[head].mean == pytest.approx(np.mean([one[head] for one in weights]))
        assert 0 <= line.weights[head].mean <= 1
    parts = [runs.scores(part, 0) for part in (ESMM(), LightGBM(), BLENDED)]
    np.testing.assert_array_equal(parts[2]["cvr"], mixed(parts[0]["cvr"], parts[1]["cvr"], weights[0]["cvr"]))
    np.testing.assert_array_equal(parts[2]["ctr"], parts[0]["ctr"])


def test_a_rival_is_trained_once_and_again_if_what_it_depends_on_changes(report, dataset, quick, monkeypatch):
    out, comparison = report
    trained: list[int] = []
    fit = LightGBM.fit
    monkeypatch.setattr(LightGBM, "fit", lambda self, *a, **k: trained.append(k["seed"]) or fit(self, *a, **k))
    again = compare(ROWS, dataset, seeds=2, config=quick, out=out, jobs=1)
    assert not trained
    assert json.loads(json.dumps(again.as_dict())) == json.loads(json.dumps(comparison.as_dict()))
    for path in out.glob("runs/LightGBM-seed0-*/evaluation.json"):
        path.unlink()
    compare([LightGBM()], dataset, seeds=1, config=quick, out=out, jobs=1)
    assert not trained, "its scores are there, only their evaluation is not"
    compare([LightGBM()], dataset, seeds=3, config=quick, out=out, jobs=1)
    assert trained == [2]
    trained.clear()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    compare([LightGBM()], dataset, seeds=1, config=quick, out=out, jobs=1)
    assert trained == [0], "another version of lightgbm may give other trees"


def test_several_at_a_time_give_the_same_table(dataset, quick, tmp_path):
    """Blends wait for their parts. The other processes have the package's own grid, so this one trains no LightGBM."""
    rows = (BASE(), BLEND(BASE(), ESMM()))
    one, several = (
        compare(rows, dataset, seeds=1, config=quick, out=tmp_path / str(jobs), jobs=jobs).as_dict() for jobs in (1, 2)
    )
    assert json.loads(json.dumps(one)) == json.loads(json.dumps(several))
    assert [line["label"] for line in one["methods"]] == ["BASE", "BLEND(BASE, ESMM)"]


def test_a_blend_of_a_family_is_the_best_of_its_candidates_and_has_a_sampling_curve(quick_rival, dataset, quick):
    family = Family("AMAN", (AMAN(rate=0.1), AMAN(rate=1.0)))
    rates = tuple(BLEND(method, LightGBM()) for method in family.candidates)
    row = Row("BLEND(AMAN, LightGBM)", rates)
    found = compare([family, row], dataset, seeds=1, config=quick, sampling_rates=(0.5,), jobs=1)
    line = found.methods[1]
    assert line.name == "BLEND(AMAN, LightGBM)"
    assert [candidate.label for candidate in line.candidates] == [blend.label for blend in rates]
    assert set(found.sampling_curve[0].auc) == {line.label for line in found.methods}


def test_a_blend_needs_a_validation_part(quick):
    frame = pl.DataFrame({"y": [i % 2 for i in range(80)], "z": [i % 4 == 1 for i in range(80)], "x": range(80)})
    data = es.from_frame(frame, click="y", conversion="z", fields={"x": "id"}, validation=0.0)
    with pytest.raises(ConfigError, match=r"weights of BLEND\(BASE, ESMM\) must be fitted on the validation part"):
        compare([BLEND(BASE(), ESMM())], data, config=quick)
