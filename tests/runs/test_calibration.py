"""A run's calibrators: fitted on the validation part only, stored with a checksum, applied to its predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from entirespace.core.calibrators import ENOUGH, Sampling
from entirespace.dataset.dataset import Part
from entirespace.errors import ConfigError, RunError
from entirespace.experiments.protocol import evaluate
from entirespace.methods import BASE, ESMM
from entirespace.runs.calibration import CALIBRATION, Calibration, calibrate
from entirespace.runs.outputs import Outputs
from entirespace.training import Run, fit


@pytest.fixture
def esmm(dataset, quick, reference, tmp_path) -> Run:
    return fit(ESMM(), dataset.train, config=quick, reference=reference, out=tmp_path / "run")


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_a_calibration_is_stored_read_and_applied(kind, esmm, dataset, reference, monkeypatch) -> None:
    monkeypatch.setitem(ENOUGH, kind, 20)  # the validation part is small
    before = esmm.predict(dataset.validation)
    assert esmm.calibrate(dataset.validation, kind).calibration.kind == kind
    assert not (esmm.folder / CALIBRATION).exists(), "without save=True nothing is stored"
    run = esmm.calibrate(dataset.validation, kind, save=True)
    assert esmm.calibration == Calibration(), "a run is frozen: calibrating returns a new one"
    p = run.predict(dataset.validation)
    y, z = dataset.validation.column("click"), dataset.validation.column("conversion")
    assert p.pctr.sum(dtype=float) == pytest.approx(y.sum(), abs=2)
    assert p.pcvr[y].sum(dtype=float) == pytest.approx(z.sum(), abs=2)
    assert (p.pctcvr == p.pctr * p.pcvr).all()  # Eq. (1), as before
    assert not (p.pctr == before.pctr).all()
    again = Run.open(run.folder, reference=reference)
    assert again.calibration == run.calibration
    assert (again.predict(dataset.test).pctcvr == run.predict(dataset.test).pctcvr).all()
    corrected = again.calibrate(dataset.validation, negatives_kept=0.5)
    assert corrected.calibration.calibrators == run.calibration.calibrators, "calibrators that are not named are kept"
    assert again.calibrate(dataset.validation, "none", save=True).calibration == Calibration()
    assert not (run.folder / CALIBRATION).exists()


def test_the_reference_ctr_network_has_a_separate_calibrator(dataset, quick, reference, tmp_path) -> None:
    base = fit(BASE(), dataset.train, config=quick, reference=reference, out=tmp_path / "run")
    run = base.calibrate(dataset.validation, "platt")
    assert sorted(run.calibration.calibrators) == ["pctr_reference", "pcvr"]
    y = dataset.validation.column("click")
    assert run.predict(dataset.validation).pctr.sum(dtype=float) == pytest.approx(y.sum(), abs=2)
    assert reference.calibration == Calibration()
    tasks = evaluate(run, dataset.validation).tasks
    assert tasks["ctr_reference"].pcoc == pytest.approx(1, abs=2 / y.sum())


def test_calibrators_never_see_test_data(esmm, dataset, monkeypatch) -> None:
    """Only the validation part is read while they are fitted, and any other part is refused."""
    read: list[str] = []
    batches = Part.batches

    def watched(self, *args, **kwargs):
        read.append(self.name)
        return batches(self, *args, **kwargs)

    monkeypatch.setattr(Part, "batches", watched)
    monkeypatch.setitem(ENOUGH, "isotonic", 20)
    esmm.calibrate(dataset.validation, "isotonic")
    assert set(read) == {"validation"}
    for part in (dataset.test, dataset.train):
        with pytest.raises(ConfigError, match=f"on the validation part, however: the {part.name} part"):
            esmm.calibrate(part, "isotonic")


def test_a_log_without_some_negatives_is_corrected_to_the_entire_space(esmm, dataset) -> None:
    """pCTR is corrected after it is calibrated; each un-clicked impression then counts 1 / r times in the metrics."""
    calibrated = esmm.calibrate(dataset.validation, "platt")
    full = esmm.calibrate(dataset.validation, "platt", negatives_kept=0.1)
    p, q = calibrated.predict(dataset.test), full.predict(dataset.test)
    assert (q.pctr == Sampling(0.1)(p.pctr)).all()
    assert (q.pcvr == p.pcvr).all()
    assert (q.pctcvr == q.pctr * p.pcvr).all()
    y, z = dataset.test.column("click"), dataset.test.column("conversion")
    w = np.where(y, 1, 10)
    found = evaluate(full, dataset.test)
    assert found.tasks["ctr"].pcoc == pytest.approx((w * q.pctr.astype(float)).sum() / y.sum())
    assert found.tasks["ctcvr_own"].brier == pytest.approx((w * (q.pctcvr.astype(float) - z) ** 2).sum() / w.sum())
    assert found.tasks["cvr"] == evaluate(calibrated, dataset.test).tasks["cvr"]
    assert found.as_dict()["calibration"]["negatives_kept"] == 0.1
    validation = evaluate(full, dataset.validation)
    assert validation.tasks["ctr"].pcoc == pytest.approx(1, abs=0.05), "the entire space is calibrated, too"
    with pytest.raises(ConfigError, match="must be in"):
        esmm.calibrate(dataset.validation, "platt", negatives_kept=0.0)


def test_a_handful_of_positives_does_not_calibrate(esmm, dataset, monkeypatch) -> None:
    y, z = (dataset.validation.counts[stage] for stage in ("click", "conversion"))
    assert ENOUGH["platt"] <= z < y < ENOUGH["isotonic"]
    with pytest.raises(RunError, match=rf"pctr by isotonic .* 100 positives .*however: {y} pos.*--calibrate platt"):
        esmm.calibrate(dataset.validation, "isotonic")
    monkeypatch.setitem(ENOUGH, "platt", z + 1)
    with pytest.raises(RunError, match=rf"pcvr by Platt scaling.* {z} positives.*use --calibrate temperature"):
        esmm.calibrate(dataset.validation, "platt")
    monkeypatch.setitem(ENOUGH, "temperature", z + 1)
    with pytest.raises(RunError, match=rf"pcvr by Platt scaling.* {z} positives.*use the run uncalibrated"):
        esmm.calibrate(dataset.validation, "platt")


def test_a_calibrator_that_would_reverse_the_ranking_is_refused(esmm, dataset) -> None:
    def reversed_outputs() -> Outputs:
        own = esmm.outputs(dataset.validation).own
        z = dataset.validation.column("conversion")
        return Outputs({**own, "pcvr": np.where(z, 0.1, 0.2).astype(np.float32)})

    with pytest.raises(RunError, match=r"to calibrate pcvr.*must keep the order of predictions.*its slope is -"):
        calibrate(Calibration(), reversed_outputs, dataset.validation, "platt")


def test_a_damaged_calibration_or_one_of_other_weights_is_refused(esmm, dataset, reference) -> None:
    run = esmm.calibrate(dataset.validation, "platt", save=True)
    path = run.folder / CALIBRATION
    content = json.loads(path.read_text())
    for damage in ("{", "[]", "{}", "5", json.dumps({**content, "negatives_kept": 0.5})):
        path.write_text(damage)
        with pytest.raises(RunError, match="as it was written"):
            Run.open(run.folder, reference=reference)
    esmm.calibrate(dataset.validation, "platt", save=True)
    other = fit(ESMM(), dataset.train, config=run.config, seed=1, reference=reference)
    (other.folder / CALIBRATION).write_text(path.read_text())
    with pytest.raises(RunError, match="the run has other weights"):
        Run.open(other.folder, reference=reference)
