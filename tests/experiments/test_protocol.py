"""Which predictions are measured against which labels on which impressions, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from entirespace.experiments.protocol import evaluate, evaluated
from entirespace.methods import BASE, ESMM
from entirespace.metrics.evaluation import Truths
from entirespace.metrics.values import Undefined
from entirespace.runs.outputs import Outputs
from entirespace.training import fit

Y = np.array([1, 1, 1, 0, 0, 0], bool)
Z = np.array([1, 0, 1, 0, 0, 0], bool)
USER = np.array([0, 0, 1, 1, 2, 2], np.int32)
PCVR = np.array([0.5, 0.2, 0.4, 0.9, 0.8, 0.1], np.float32)
REFERENCE = np.array([0.5, 0.5, 0.5, 0.1, 0.1, 0.5], np.float32)


def test_cvr_is_measured_on_clicked_impressions_and_ctcvr_multiplies_by_the_reference():
    found = evaluated(Outputs({"pcvr": PCVR}, REFERENCE), Truths(Y, Z, USER, None), "test").tasks
    assert list(found) == ["ctr_reference", "cvr", "ctcvr"]
    assert found["cvr"].impressions == 3
    assert found["cvr"].auc == 1.0  # 0.5 and 0.4 over 0.2; over all impressions 0.9 and 0.8 would spoil it
    assert found["ctcvr"].impressions == 6
    assert found["ctcvr"].auc == roc_auc_score(Z, REFERENCE * PCVR) == 1.0  # 0.25, 0.2 over 0.1, 0.09, 0.08, 0.05
    assert roc_auc_score(Z, PCVR) < 1, "without pCTR it would not be 1"
    assert found["cvr"].pcoc == pytest.approx((0.5 + 0.2 + 0.4) / 2)
    assert found["cvr"].log_loss == pytest.approx(-(np.log(0.5) + np.log(0.8) + np.log(0.4)) / 3, rel=1e-6)
    assert found["cvr"].grouped_auc == 1.0  # only user 0 has positives and negatives among the clicks
    assert found["cvr"].grouped_auc_share == pytest.approx(2 / 3)


def test_the_methods_own_ctr_and_ctcvr_are_measured_beside_the_reference():
    own = Outputs({"pctr": 1 - REFERENCE, "pcvr": PCVR, "pctcvr": (1 - REFERENCE) * PCVR}, REFERENCE)
    found = evaluated(own, Truths(Y, Z, USER, None), "test").tasks
    assert list(found) == ["ctr", "ctr_reference", "cvr", "ctcvr", "ctcvr_own"]
    assert found["ctr"].auc == pytest.approx(1 - found["ctr_reference"].auc)
    assert found["ctcvr_own"].auc == roc_auc_score(Z, (1 - REFERENCE) * PCVR)


def test_truth_is_compared_on_clicked_unclicked_and_all():
    true = np.array([0.5, 0.2, 0.4, 0.1, 0.2, 0.3], np.float32)
    found = evaluated(Outputs({"pcvr": PCVR}, REFERENCE), Truths(Y, Z, None, true), "test").truth
    assert list(found) == ["clicked", "un-clicked", "all"]
    assert found["clicked"].rank_correlation == pytest.approx(1)
    assert found["clicked"].log_loss == pytest.approx(found["clicked"].log_loss_of_truth)
    assert found["un-clicked"].rank_correlation == pytest.approx(-1)
    assert found["un-clicked"].mean == pytest.approx(0.6)
    assert found["un-clicked"].true_mean == pytest.approx(0.2)
    assert found["un-clicked"].log_loss > found["un-clicked"].log_loss_of_truth


def test_one_class_is_undefined_with_the_reason():
    none = np.zeros(6, bool)
    found = evaluated(Outputs({"pcvr": PCVR}, REFERENCE), Truths(Y, none, None, None), "test")
    assert found.tasks["cvr"].auc == Undefined("no positives among 3 impressions")
    assert found.as_dict()["tasks"]["cvr"]["pcoc"] == {"undefined": "no positives among 3 impressions"}
    assert isinstance(found.tasks["cvr"].grouped_auc, Undefined)
    assert "undefined" in str(found)
    assert "no positives among 3 impressions" in str(found)
    nobody = evaluated(Outputs({"pcvr": PCVR}, REFERENCE), Truths(none, none, None, None), "test").tasks
    assert isinstance(nobody["cvr"].auc, Undefined)


def test_a_run_is_evaluated_by_its_predictions(dataset, quick, reference):
    run = fit(BASE(), dataset.train, config=quick, reference=reference)
    tasks = evaluate(run, dataset.test).tasks
    p = run.predict(dataset.test)
    y, z = dataset.test.column("click"), dataset.test.column("conversion")
    assert tasks["cvr"].auc == pytest.approx(roc_auc_score(z[y], p.pcvr[y]))
    assert tasks["ctcvr"].auc == pytest.approx(roc_auc_score(z, p.pctcvr))
    assert tasks["ctr_reference"].auc == pytest.approx(roc_auc_score(y, p.pctr))
    assert "ctcvr_own" not in tasks
    own = evaluate(fit(ESMM(), dataset.train, config=quick, reference=reference), dataset.test)
    assert own.tasks["ctcvr_own"].auc != own.tasks["ctcvr"].auc
    assert own.truth["all"].impressions == len(dataset.test)
    assert "CTCVR on all impressions" in str(own)
