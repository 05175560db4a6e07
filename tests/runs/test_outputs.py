"""Which pCTR is multiplied by which pCVR: one rule for all methods, with expected values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from entirespace.core.calibrators import Sampling
from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, UNBIAS, Method
from entirespace.network import Heads
from entirespace.network.probability import Prob, value_of
from entirespace.runs.calibration import Calibration
from entirespace.runs.outputs import Outputs

REFERENCE = 0.5
CVR, CTR_AND_CVR, CTR_AND_CTCVR = {"cvr": 0.25}, {"ctr": 0.2, "cvr": 0.25}, {"ctr": 0.2, "ctcvr": 0.3}


def outputs(method: Method, heads: dict[str, float], reference: float | None = REFERENCE) -> Outputs:
    """The outputs of a method for one impression whose heads have these probabilities."""
    p = Heads(**{name: Prob.of_logit(torch.tensor([math.log(v / (1 - v))])) for name, v in heads.items()})
    own = Outputs({name: value_of(values).numpy() for name, values in method.predict(p).items()})
    return own if reference is None else own.beside(np.array([reference], np.float32))


def numbers(p: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: values.item() for name, values in p.items()}


BORROWED = {"ctr": 0.5, "cvr": 0.25, "ctcvr": 0.125}  # a bid with the reference's pCTR
PAPERS = {"ctr_reference": 0.5, "cvr": 0.25, "ctcvr": 0.125}


@pytest.mark.parametrize(
    ("method", "heads", "bid", "tasks"),
    [
        (BASE(), CVR, BORROWED, PAPERS),
        (AMAN(), CVR, BORROWED, PAPERS),
        (OVERSAMPLING(), CVR, BORROWED, PAPERS),
        (UNBIAS(), CVR, BORROWED, PAPERS),
        # Eq. (2): pCVR is 1.5; the bid keeps the 0.3 that the network says, the paper's task has 0.5 x 1.5
        (
            DIVISION(),
            CTR_AND_CTCVR,
            {"ctr": 0.2, "cvr": 1.5, "ctcvr": 0.3},
            {"ctr": 0.2, "ctr_reference": 0.5, "cvr": 1.5, "ctcvr": 0.75, "ctcvr_own": 0.3},
        ),
        *(
            (
                method,
                CTR_AND_CVR,
                {"ctr": 0.2, "cvr": 0.25, "ctcvr": 0.05},
                {"ctr": 0.2, "ctr_reference": 0.5, "cvr": 0.25, "ctcvr": 0.125, "ctcvr_own": 0.05},
            )
            for method in (ESMM(share_embedding=False), ESMM())
        ),
    ],
    ids=lambda value: value.label if isinstance(value, Method) else None,
)
def test_the_one_rule(method: Method, heads: dict, bid: dict, tasks: dict) -> None:
    found = outputs(method, heads)
    assert numbers(found.bid()) == pytest.approx(bid)
    assert numbers(found.tasks) == pytest.approx(tasks)


def test_without_the_reference_a_bid_has_what_the_method_knows() -> None:
    assert numbers(outputs(BASE(), CVR, None).bid()) == pytest.approx({"cvr": 0.25})
    assert numbers(outputs(ESMM(), CTR_AND_CVR, None).bid()) == pytest.approx({"ctr": 0.2, "cvr": 0.25, "ctcvr": 0.05})
    assert "ctcvr" not in outputs(ESMM(), CTR_AND_CVR, None).tasks, "the paper's task needs the reference"
    only = outputs(CTR(), {"ctr": 0.2}, None)
    assert numbers(only.bid()) == numbers(only.tasks) == pytest.approx({"ctr": 0.2})


def test_a_method_that_leaves_pctcvr_out_gets_the_product_of_its_own_factors() -> None:
    own = Outputs({"pctr": np.array([0.2], np.float32), "pcvr": np.array([0.5], np.float32)})
    found = own.beside(np.array([0.5], np.float32))
    assert found.bid()["ctcvr"] == found.tasks["ctcvr_own"] == pytest.approx(0.1)
    assert found.tasks["ctcvr"] == pytest.approx(0.25)


def test_a_calibrated_pctcvr_is_the_product_of_calibrated_factors() -> None:
    kept = Calibration(negatives_kept=0.1)
    division, base = (outputs(method, heads) for method, heads in ((DIVISION(), CTR_AND_CTCVR), (BASE(), CVR)))
    found = kept.apply(division)
    pctr, reference = (Sampling(0.1)(p) for p in (division.own["pctr"], np.array([REFERENCE], np.float32)))
    assert found.bid()["ctcvr"] == pctr * division.own["pcvr"] != division.own["pctcvr"]
    assert found.tasks["ctcvr"] == reference * division.own["pcvr"]
    assert kept.apply(base).bid()["ctr"] == reference
    assert Calibration().apply(division) is division
