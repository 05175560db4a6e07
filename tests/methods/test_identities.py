"""Identities between methods that must always hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import support
import torch

from entirespace.batches.batch import Batch
from entirespace.config import MLPTowerConfig, NetworkConfig
from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, UNBIAS, Counts, Method
from entirespace.network import Heads, Network
from entirespace.network.probability import Prob, bce

RNG = np.random.default_rng(0)
Y = RNG.random(300) < 0.4
Z = Y & (RNG.random(300) < 0.3)
LOGITS = RNG.normal(-1, 2, 300).astype(np.float32)
LABELS = support.labels(Y, Z)
COUNTS = Counts.of(LABELS)


def learned(method: Method, pctr: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient of the CVR head over what the method samples of the 300 impressions."""
    times = method.samples(LABELS, np.random.default_rng(7))
    rows = np.repeat(np.arange(300), times)
    batch = support.labels_only(Y[rows].tolist(), Z[rows].tolist(), [pctr] * len(rows))
    logit = torch.from_numpy(LOGITS).requires_grad_()
    loss = method.loss(Heads(cvr=Prob.of_logit(logit[torch.from_numpy(rows)])), batch)
    loss.backward()
    assert logit.grad is not None
    return loss.detach(), logit.grad


@pytest.mark.parametrize("method", [OVERSAMPLING(copies=1), AMAN(rate=0.0)], ids=lambda m: m.label)
def test_one_copy_and_no_negatives_are_base(method: Method) -> None:
    for came, base in zip(learned(method), learned(BASE()), strict=True):
        assert torch.equal(came, base)
    assert method.base_rates(COUNTS) == BASE().base_rates(COUNTS)


def test_all_negatives_are_the_ctcvr_term_of_division() -> None:
    batch = support.labels_only(Y.tolist(), Z.tolist())
    p = Prob.of_logit(torch.from_numpy(LOGITS))
    other = Prob.of_logit(torch.zeros(300))
    loss, _ = learned(AMAN(rate=1.0))
    ctr_term = bce(batch.click, other)
    torch.testing.assert_close(loss, DIVISION().loss(Heads(ctr=other, ctcvr=p), batch) - ctr_term)
    same = np.random.default_rng(1)
    assert (AMAN(rate=1.0).samples(LABELS, same) == DIVISION().samples(LABELS, same)).all()
    assert AMAN(rate=1.0).base_rates(COUNTS)["cvr"] == DIVISION().base_rates(COUNTS)["ctcvr"]


@pytest.mark.parametrize("c", [0.04, 0.5, 1.0])
def test_unbias_under_a_constant_pctr_is_base_over_it(c: float) -> None:
    for came, base in zip(learned(UNBIAS(), c), learned(BASE()), strict=True):
        torch.testing.assert_close(came, base / c)


def test_esmm_where_every_pctr_is_1_is_base() -> None:
    z = Z[Y]
    batch = support.labels_only([True] * len(z), z.tolist())
    came = []
    for method, heads in (
        (ESMM(), {"ctr": Prob(torch.zeros(len(z)), torch.full((len(z),), -math.inf))}),
        (ESMM(), {"ctr": Prob.of_logit(torch.full((len(z),), 80.0))}),
        (BASE(), {}),
    ):
        logit = torch.from_numpy(LOGITS[Y]).requires_grad_()
        loss = method.loss(Heads(cvr=Prob.of_logit(logit), **heads), batch)
        loss.backward()
        came.append((loss.detach(), logit.grad))
    torch.testing.assert_close(came[0], came[2])
    torch.testing.assert_close(came[1], came[2])


def test_division_trains_its_ctr_network_as_if_alone_bit_for_bit() -> None:
    config = NetworkConfig(embedding_size=4, tower=MLPTowerConfig(hidden=(8, 6)), embedding_std=0.1)
    offsets, rows = (0, 20), 40
    user, item = RNG.integers(0, 20, (2, 300)).tolist()
    batch: Batch = support.make_batch([support.ids(user, item, fields=(0, 1))], offsets, Y.tolist(), Z.tolist())

    def gradients(method: Method) -> list[torch.Tensor]:
        network = Network(
            method.heads,
            offsets,
            rows,
            config,
            share_embedding=method.share_embedding,
            base_rates=method.base_rates(COUNTS),
            seed=5,
        )
        gathered = support.gather(network, batch)
        method.loss(network(batch, gathered), batch).backward()
        found = [gathered["shared" if method.share_embedding else "ctr"].grad]
        found += [parameter.grad for parameter in network.towers["ctr"].parameters()]
        assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in found)
        return [gradient for gradient in found if gradient is not None]

    alone = gradients(CTR())
    assert all(torch.equal(one, other) for one, other in zip(alone, gradients(DIVISION()), strict=True))
    for differs in (ESMM(share_embedding=False), ESMM()):  # these share parameters or losses during training
        assert not any(torch.equal(one, other) for one, other in zip(alone, gradients(differs), strict=True))
