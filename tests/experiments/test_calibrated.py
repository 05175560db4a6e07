"""`compare` with training.calibrate: test scores are calibrated, all rows alike; all else is chosen as without it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from entirespace.core import choice
from entirespace.experiments.compare import compare
from entirespace.experiments.keys import Keys
from entirespace.experiments.runs import Runs
from entirespace.methods import AMAN, BASE, CTR, ESMM, Family
from entirespace.reports.comparison import Comparison
from entirespace.rivals import BLEND
from entirespace.training import Run

METHODS = (BASE(), ESMM(), AMAN(rate=0.1), AMAN(rate=1.0))
BLENDED = BLEND(BASE(), ESMM())
ROWS = (BASE(), ESMM(), Family("AMAN", METHODS[2:]), BLENDED)


@pytest.fixture(scope="module")
def compared(dataset, quick, tmp_path_factory):
    """Without and with calibration, two seeds; every calibrator that can be fitted is used."""
    out = tmp_path_factory.mktemp("calibrated")
    auto = quick.model_copy(update={"training": quick.training.model_copy(update={"calibrate": "auto"})})
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "ERRORS", -1e9)
        for name, config in (("plain", quick), ("auto", auto)):
            made = compare(ROWS, dataset, seeds=2, config=config, out=out / name, jobs=1)
            runs = Runs(dataset, config, out / name / "runs", Keys.of(dataset, config, [CTR(), *METHODS]))
            found.append((out / name, made, runs))
    return found


def opened(folder, label: str, seed: int, reference: Run) -> Run:
    (place,) = folder.glob(f"runs/{label}-seed{seed}-*")
    return Run.open(place, reference=reference)


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_the_calibrated_run(seed, compared, dataset) -> None:
    folder, _, runs = compared[1]
    reference, _ = runs.reference(seed)
    assert [*reference.calibration.calibrators] == ["pctr"]
    pctr = reference.scores(dataset.test).pctr
    for method in (BASE(), ESMM()):
        run = opened(folder, method.label, seed, reference)
        p, scores = run.predict(dataset.test), runs.scores(method, seed)
        np.testing.assert_array_equal(scores["cvr"], p.pcvr)
        np.testing.assert_array_equal(scores["bid"], p.pctcvr)
        np.testing.assert_array_equal(scores["ctr"], pctr), "the same for every row, as the reference run itself has it"
        np.testing.assert_array_equal(scores["ctcvr"], pctr * p.pcvr)
        found = runs.there(method, seed)
        assert found is not None
        assert found["test"].calibration["choices"] == run.calibration.why()["choices"]
    np.testing.assert_array_equal(runs.scores(BLENDED, seed)["ctr"], pctr)


def test_what_is_chosen_is_chosen_by_uncalibrated_scores(compared) -> None:
    (_, plain, one), (_, auto, other) = compared
    for seed in (0, 1):
        assert other.weights(BLENDED, seed) == one.weights(BLENDED, seed)
        for entry in (*METHODS, BLENDED):
            before, after = one.there(entry, seed), other.there(entry, seed)
            assert before is not None
            assert after is not None
            assert after["validation"] == before["validation"]
            assert after["test"].tasks["cvr"].log_loss != before["test"].tasks["cvr"].log_loss
            assert after["test"].tasks["cvr"].auc == pytest.approx(before["test"].tasks["cvr"].auc, abs=1e-4)
    assert [line.label for line in auto.methods] == [line.label for line in plain.methods]


def test_the_report_says_it(compared, dataset, quick) -> None:
    (folder, plain, _), (out, auto, _) = compared
    assert not plain.calibrated
    assert "calibrated" not in json.loads((folder / "report.json").read_text())
    assert "Calibrators chosen" not in str(plain)
    assert auto.calibrated["reference CTR network"] == {"pctr": {"platt": 2}}
    assert auto.calibrated["BASE"] == {"pcvr": {"platt": 2}}
    assert auto.calibrated[BLENDED.label]["pctr"] == {"platt": 2}
    for told in (str(auto), (out / "report.md").read_text()):
        assert "Calibrators chosen" in told
        assert "Probabilities of every row are calibrated by temperature or Platt scaling" in told
    assert "Calibrators chosen" in (out / "report.html").read_text()
    assert Comparison.open(out / "report.json").as_dict() == auto.as_dict()
    again = compare(ROWS, dataset, seeds=2, config=compared[1][2].config, out=out, jobs=1)
    assert json.loads(json.dumps(again.as_dict())) == json.loads(json.dumps(auto.as_dict()))
