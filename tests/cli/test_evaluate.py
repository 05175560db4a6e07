"""entirespace evaluate: overall, by segment, and calibrated."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from entirespace.core.calibrators import ENOUGH
from entirespace.experiments.compare import compare
from entirespace.methods import BASE, ESMM, family
from entirespace.training import fit, reference_ctr


@pytest.fixture(scope="module")
def trained(dataset, quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated") / "run"
    reference = reference_ctr(dataset.train, config=quick, out=out / "reference")
    return fit(ESMM(), dataset.train, config=quick, reference=reference, out=out).folder


def test_overall_by_decile_and_by_field(run, trained, dataset) -> None:
    ran = run("evaluate", trained, dataset.path, "--by", "scenario", "--by", "age", "-q")
    assert ran.code == 0, ran.err
    for words in (
        "not calibrated",
        "normalised entropy",
        "95 % interval",
        "decile of pCTR",
        "scenario",
        "age",
        "un-clicked",
    ):
        assert words in ran.out
    ran = run("evaluate", trained, dataset.path, "--by", "scenario", "--json", "-q")
    report = json.loads(ran.out)
    assert {"brier", "normalised_entropy", "ece", "pcoc_low", "pcoc_high"} <= set(report["tasks"]["ctcvr"])
    for by in ("decile of pCTR", "scenario"):
        lines = report["segments"][by]
        assert sum(line["impressions"] for line in lines) == len(dataset.test)
        assert sum(line["clicks"] for line in lines) == dataset.test.counts["click"]
        assert sum(line["conversions"] for line in lines) == dataset.test.counts["conversion"]
        assert set(lines[0]["truth"]) == {"clicked", "un-clicked", "all"}
    assert report["calibration"] == {"kind": "none", "negatives_kept": 1.0}


CALIBRATED = "calibrated by isotonic regression, fitted on the validation part"
CORRECTED = "kept 0.5 of un-clicked impressions"


def test_calibration_is_of_this_evaluation_unless_it_is_saved(run, trained, dataset, monkeypatch) -> None:
    monkeypatch.setitem(ENOUGH, "isotonic", 20)  # the validation part is small

    def said(*options: str) -> tuple[bool, bool]:
        ran = run("evaluate", trained, dataset.path, *options, "-q")
        assert ran.code == 0, ran.err
        return CALIBRATED in ran.out, CORRECTED in ran.out

    assert said("--calibrate", "isotonic", "--negatives-kept", "0.5") == (True, True)
    assert said("--negatives-kept", "0.5") == (False, True)
    assert said() == (False, False)
    assert said("--calibrate", "isotonic", "--save") == (True, False)
    assert said() == (True, False)
    assert said("--negatives-kept", "0.5") == (True, True), "the stored calibrators stay"
    assert said("--calibrate", "none") == (False, False)
    assert said("--negatives-kept", "0.5", "--save") == (True, True)
    assert said("--calibrate", "none", "--save") == (False, True)
    assert said() == (False, True)
    assert said("--negatives-kept", "1", "--save") == (False, False)
    assert said() == (False, False)
    assert not (trained / "calibration.json").exists()


def test_runs_of_compare_evaluate_like_any_other(run, dataset, quick, tmp_path) -> None:
    """Also a copy of one run's folder alone; a reference that is gone or another is named, and can be replaced."""
    table = compare([BASE(), ESMM()], dataset, seeds=1, config=quick, out=tmp_path / "made", jobs=1).as_dict()
    runs = tmp_path / "made" / "runs"
    (base,), (esmm,), (ctr,) = (list(runs.glob(f"{name}-seed0-*")) for name in ("BASE", "ESMM", "CTR"))
    weights = (folder / "weights.safetensors" for folder in (ctr, base / "reference", esmm / "reference"))
    assert len({file.stat().st_ino for file in weights}) == 1  # hard links
    for folder, line in zip((base, esmm), table["methods"], strict=True):
        alone = tmp_path / folder.name
        shutil.copytree(folder, alone)
        for place in (folder, alone):
            ran = run("evaluate", place, dataset.path, "--json", "-q")
            assert ran.code == 0, ran.err
            assert json.loads(ran.out)["tasks"]["ctcvr"]["auc"] == line["tasks"]["ctcvr"]["auc"]["mean"]
    before, inside = run("evaluate", base, dataset.path, "-q").out, base / "reference"
    hidden = inside.rename(tmp_path / "hidden")
    ran = run("evaluate", base, dataset.path, "-q")
    assert ran.code == 1
    assert f"{inside} is missing" in ran.err
    assert "--reference RUN" in ran.err
    assert run("evaluate", base, dataset.path, "--reference", hidden, "-q").out == before
    other = reference_ctr(dataset.train, seed=7, config=quick, out=inside)
    ran = run("evaluate", base, dataset.path, "-q")
    assert ran.code == 1
    assert f"{inside} is not the run that it was trained with" in ran.err
    assert run("evaluate", base, dataset.path, "--reference", other.folder, "-q").code == 0
    ran = run("evaluate", esmm, dataset.path, "--reference", base, "-q")
    assert ran.code == 1
    assert "the reference must be a run of a CTR network" in ran.err


OWN = """
from pathlib import Path
from dataclasses import dataclass
from entirespace.methods import BASE, Method

Path(__file__).with_suffix(".imported").touch()

@dataclass(frozen=True)
class Mine(Method):
    alpha: float = 0.5
    heads = ("cvr",)
    def samples(self, labels, rng): return labels.click.astype(int)
    def loss(self, p, batch): return BASE().loss(p, batch) * self.alpha
    def base_rates(self, counts): return BASE().base_rates(counts)
    def predict(self, p): return {"pcvr": p.cvr}
"""


def test_a_run_of_ones_own_class_is_opened_by_the_class_that_was_typed(
    run, trained, dataset, quick, reference, tmp_path, monkeypatch
) -> None:
    (tmp_path / "evilmod.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    seen = tmp_path / "evilmod.imported"
    mine = family("evilmod:Mine(alpha=0.25)").candidates[0]
    folder = fit(mine, dataset.train, config=quick, reference=reference, out=tmp_path / "run").folder
    seen.unlink()
    sys.modules.pop("evilmod")
    ran = run("evaluate", folder, dataset.path, "-q")
    assert ran.code == 1
    assert "'evilmod:Mine' is another class" in ran.err
    assert "--method module:Class" in ran.err
    assert not seen.exists()
    ran = run("evaluate", folder, dataset.path, "--method", "evilmod:Mine", "-q")
    assert ran.code == 0, ran.err
    assert "Mine(alpha=0.25)" in ran.out
    assert seen.exists()
    ran = run("evaluate", folder, dataset.path, "--method", "evilmod:Mine(alpha=3.0)", "-q")
    assert ran.code == 1
    assert "the given method must be the method of the run" in ran.err
    assert run("evaluate", trained, dataset.path, "--method", "evilmod:Mine", "-q").code == 1
    assert run("evaluate", trained, dataset.path, "--method", "ESMM", "-q").code == 0
    sys.modules.pop("evilmod")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--by", "scenari"], "Did you mean 'scenario'?"),
        (["--by", "category_history"], "must have one value per impression"),
        (["--calibrate", "platt", "--negatives-kept", "2"], "must be in (0, 1]"),
        (["--save"], "--save needs --calibrate or --negatives-kept"),
        (["--calibrate", "beta"], "is not one of 'auto', 'temperature', 'isotonic', 'platt', 'none'"),
    ],
)
def test_a_bad_command_line(run, trained, dataset, options, said) -> None:
    ran = run("evaluate", trained, dataset.path, *options, "-q")
    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err
