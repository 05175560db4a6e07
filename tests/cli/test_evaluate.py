"""entirespace evaluate: overall, by segment, and calibrated."""

from __future__ import annotations

import json

import pytest

from entirespace.methods import ESMM
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


def test_calibrated_and_left_so_and_taken_away(run, trained, dataset) -> None:
    ran = run("evaluate", trained, dataset.path, "--calibrate", "isotonic", "--negatives-kept", "0.5", "-q")
    assert "calibrated by isotonic regression, fitted on the validation part" in ran.out
    assert "kept 0.5 of un-clicked impressions" in ran.out
    assert run("evaluate", trained, dataset.path, "-q").out == ran.out
    assert "not calibrated" in run("evaluate", trained, dataset.path, "--calibrate", "none", "-q").out
    assert "not calibrated" in run("evaluate", trained, dataset.path, "-q").out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--by", "scenari"], "Did you mean 'scenario'?"),
        (["--by", "category_history"], "must have one value an impression"),
        (["--calibrate", "platt", "--negatives-kept", "2"], "must be in (0, 1]"),
        (["--calibrate", "beta"], "is not one of 'isotonic', 'platt', 'none'"),
    ],
)
def test_a_bad_command_line(run, trained, dataset, options, said) -> None:
    ran = run("evaluate", trained, dataset.path, *options, "-q")
    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err
