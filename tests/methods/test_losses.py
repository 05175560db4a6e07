"""Losses and predictions of each method compared with results by hand."""

from __future__ import annotations

import math

import pytest
import support
import torch

from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, UNBIAS, Method
from entirespace.network import Heads
from entirespace.network.probability import Prob, value_of

# Three impressions, clicked and converting, clicked, un-clicked; the same odds for each.
CLICK, CONVERSION = [True, True, False], [True, False, False]


def prob(p: float, size: int = 3) -> Prob:
    return Prob.of_logit(torch.full((size,), math.log(p / (1 - p)), dtype=torch.float64))


LN = {k: math.log(k) for k in (0.2, 0.8, 0.25, 0.75, 0.95, 0.05)}
CTR_TERM = -(2 * LN[0.2] + LN[0.8]) / 3  # pCTR 0.2
CTCVR_TERM = -(LN[0.05] + 2 * LN[0.95]) / 3  # 0.2 * 0.25


@pytest.mark.parametrize(
    ("method", "heads", "by_hand"),
    [
        (BASE(), {"cvr": 0.25}, -(LN[0.25] + 2 * LN[0.75]) / 3),
        (AMAN(rate=0.3), {"cvr": 0.25}, -(LN[0.25] + 2 * LN[0.75]) / 3),
        (OVERSAMPLING(copies=3), {"cvr": 0.25}, -(LN[0.25] + 2 * LN[0.75]) / 3),
        # reference pCTR 0.5, 0.1 and 0.001, floored at 0.01
        (UNBIAS(), {"cvr": 0.25}, -(2 * LN[0.25] + 10 * LN[0.75] + 100 * LN[0.75]) / 3),
        (DIVISION(), {"ctr": 0.2, "ctcvr": 0.05}, CTR_TERM + CTCVR_TERM),
        (ESMM(share_embedding=False), {"ctr": 0.2, "cvr": 0.25}, CTR_TERM + CTCVR_TERM),
        (ESMM(), {"ctr": 0.2, "cvr": 0.25}, CTR_TERM + CTCVR_TERM),
        (CTR(), {"ctr": 0.2}, CTR_TERM),
    ],
    ids=lambda value: value.label if isinstance(value, Method) else None,
)
def test_losses_by_hand(method: Method, heads: dict[str, float], by_hand: float) -> None:
    batch = support.labels_only(CLICK, CONVERSION, [0.5, 0.1, 0.001])
    p = Heads(**{name: prob(value) for name, value in heads.items()})
    assert tuple(heads) == method.heads
    assert method.loss(p, batch).item() == pytest.approx(by_hand, rel=1e-7)


@pytest.mark.parametrize(
    ("method", "heads", "pctr", "pcvr", "pctcvr"),
    [
        (BASE(), {"cvr": 0.25}, None, 0.25, None),
        (AMAN(), {"cvr": 0.25}, None, 0.25, None),
        (OVERSAMPLING(), {"cvr": 0.25}, None, 0.25, None),
        (UNBIAS(), {"cvr": 0.25}, None, 0.25, None),
        (DIVISION(), {"ctr": 0.2, "ctcvr": 0.3}, 0.2, 1.5, 0.3),  # Eq. (2) may exceed 1
        (ESMM(), {"ctr": 0.2, "cvr": 0.25}, 0.2, 0.25, 0.05),
        (CTR(), {"ctr": 0.2}, 0.2, None, None),
    ],
    ids=lambda value: value.label if isinstance(value, Method) else None,
)
def test_predictions_by_hand(method: Method, heads: dict, pctr: float, pcvr: float, pctcvr: float) -> None:
    p = Heads(**{name: prob(value, 1) for name, value in heads.items()})
    by_hand = {"pctr": pctr, "pcvr": pcvr, "pctcvr": pctcvr}
    known = {name: value for name, value in by_hand.items() if value is not None}
    assert {name: value_of(came).item() for name, came in method.predict(p).items()} == pytest.approx(known)
    assert method.predicts == known.keys()


def test_unbias_logs_its_effective_sample_size() -> None:
    p = Heads(cvr=prob(0.25))
    batch = support.labels_only(CLICK, CONVERSION, [0.5, 0.5, 0.001])
    # weights 2, 2, 100: 104^2 / (3 * 10008)
    assert UNBIAS().log(p, batch)["effective_sample_share"] == pytest.approx(10816 / 30024)
    even = support.labels_only(CLICK, CONVERSION, [0.3, 0.3, 0.3])
    assert UNBIAS().log(p, even)["effective_sample_share"] == pytest.approx(1.0)
    assert BASE().log(p, even) == {}


@pytest.mark.parametrize("method", [BASE(), DIVISION(), ESMM(), CTR()])
def test_the_expected_loss_at_step_0_is_the_entropy_of_the_docstring(method: Method) -> None:
    """A batch with CTR 0.25 and CVR 0.2 at its own base rates: each docstring's entropy."""
    y = torch.arange(400) % 4 == 0
    z = y & (torch.arange(400) % 5 == 0)
    if isinstance(method, BASE):
        y, z = y[y], z[y]
    rates = {"ctr": 0.25, "cvr": 0.2, "ctcvr": 0.05}
    heads = Heads(**{head: prob(rates[head], len(y)) for head in method.heads})

    def entropy(r: float) -> float:
        return -r * math.log(r) - (1 - r) * math.log(1 - r)

    learns = {"BASE": (0.2,), "DIVISION": (0.25, 0.05), "ESMM": (0.25, 0.05), "CTR": (0.25,)}[method.name]
    loss = method.loss(heads, support.labels_only(y.tolist(), z.tolist())).item()
    assert loss == pytest.approx(sum(map(entropy, learns)))
