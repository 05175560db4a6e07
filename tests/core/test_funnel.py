"""A funnel of two stages is ESMM; of three, Eq. (1) and (3) once more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from entirespace.batches.batch import Batch
from entirespace.core.funnel import Funnel
from entirespace.errors import ConfigError
from entirespace.methods import ESMM
from entirespace.network import Heads
from entirespace.network.probability import Prob, bce


def test_two_stages_are_esmm() -> None:
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.random(200) < 0.4)
    z = y & torch.from_numpy(rng.random(200) < 0.3)
    batch = Batch(200, torch.empty(0, dtype=torch.int64), (), {"click": y, "conversion": z})
    gradients = []
    for by_funnel in (True, False):
        ctr = torch.linspace(-5, 5, 200, requires_grad=True)
        cvr = torch.linspace(3, -6, 200, requires_grad=True)
        p = Heads(ctr=Prob.of_logit(ctr), cvr=Prob.of_logit(cvr))
        if by_funnel:
            loss = sum(bce(label, prob) for label, prob in Funnel().terms([y, z], [p.ctr, p.cvr]))
            assert isinstance(loss, torch.Tensor)
        else:
            loss = ESMM().loss(p, batch)
        loss.backward()
        gradients.append((loss.detach(), ctr.grad, cvr.grad))
    (loss, *by_funnel), (same, *by_esmm) = gradients
    assert torch.equal(loss, same)
    torch.testing.assert_close(by_funnel, by_esmm)  # the same sums, in another order


def test_three_stages() -> None:
    funnel = Funnel(("impression", "click", "conversion"))  # request -> impression -> click -> conversion
    labels = [torch.tensor([True, True, True, False]), torch.tensor([True, True, False, True])]
    labels.append(torch.tensor([True, False, True, True]))
    half, tenth = Prob.of_logit(torch.zeros(4)), Prob.of_logit(torch.full((4,), -2.1972246))
    terms = funnel.terms(labels, [half, half, tenth])
    assert [label.tolist() for label, _ in terms] == [
        [True, True, True, False],
        [True, True, False, False],
        [True, False, False, False],
    ]
    for (_, p), value in zip(terms, (0.5, 0.25, 0.025), strict=True):
        torch.testing.assert_close(p.value, torch.full((4,), value))
    # -(ln .5), -(2 ln .25 + 2 ln .75) / 4, -(ln .025 + 3 ln .975) / 4
    loss = torch.stack([bce(label, p) for label, p in terms])
    torch.testing.assert_close(loss, torch.tensor([0.6931472, 0.8369882, 0.9412082]))


def test_orphans_are_counted_at_the_stage_that_lacks_its_own() -> None:
    shown, click, buy = (np.array(x, bool) for x in ([1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1]))
    assert Funnel(("shown", "click", "buy")).orphans([shown, click, buy]) == {"click": 1, "buy": 2}


@pytest.mark.parametrize("stages", [(), ("click", "click")])
def test_stages_must_differ(stages: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="at least one stage, and each its own name"):
        Funnel(stages)


def test_one_label_a_stage() -> None:
    with pytest.raises(ConfigError, match="one value for each of click, conversion, however: 3 values"):
        Funnel().reached([True, True, False])
