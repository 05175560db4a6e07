"""`DenseAdam` is torch.optim.Adam, bit for bit."""

from __future__ import annotations

import pytest
import torch

from entirespace.training.optimizer.dense_adam import DenseAdam

OPTIONS = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6}


def made() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, requires_grad=True) for shape in ((7, 5), (5,), (3,), ())]


def give(parameters: list[torch.Tensor], step: int) -> None:
    """Gradients of a step; the third parameter has none at first, and the second one none in between."""
    generator = torch.Generator().manual_seed(step)
    for i, p in enumerate(parameters):
        grad = torch.randn(p.shape, generator=generator)
        p.grad = None if (i == 2 and step < 3) or (i == 1 and step == 4) else grad


def test_it_is_adam_of_torch_bit_for_bit() -> None:
    mine, theirs = made(), made()
    adam, torchs = DenseAdam(mine, **OPTIONS), torch.optim.Adam(theirs, **OPTIONS, fused=True)
    for step in range(8):
        give(mine, step)
        give(theirs, step)
        adam.step()
        torchs.step()
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    state = torchs.state_dict()["state"]
    assert adam.state().keys() == {f"{i}.{name}" for i, held in state.items() for name in held}
    assert all(torch.equal(adam.state()[f"{i}.{name}"], t) for i, held in state.items() for name, t in held.items())


def test_it_goes_on_from_its_state() -> None:
    mine, other = made(), made()
    adam = DenseAdam(mine, **OPTIONS)
    for step in range(4):
        give(mine, step)
        adam.step()
    for a, b in zip(mine, other, strict=True):
        b.data.copy_(a.data)
    resumed = DenseAdam(other, **OPTIONS)
    resumed.load(adam.state())
    for step in range(4, 7):
        for parameters, optimizer in ((mine, adam), (other, resumed)):
            give(parameters, step)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    adam.zero_grad()
    assert all(p.grad is None for p in mine)


def test_decay_shrinks_matrices_before_the_step_of_adam() -> None:
    weight, bias = torch.tensor([[2.0]], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    adam = DenseAdam([weight, bias], lr=0.1, betas=(0.9, 0.999), eps=0.0, weight_decay=0.5)
    weight.grad, bias.grad = torch.tensor([[3.0]]), torch.tensor([3.0])
    adam.step()  # the first step of Adam is lr times the sign of the gradient
    assert weight.item() == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1)
    assert bias.item() == pytest.approx(2 - 0.1)
    weight.grad, bias.grad = torch.tensor([[-1.0]]), None
    adam.step()
    mean, square = (0.9 * 0.3 - 0.1) / (1 - 0.9**2), (0.999 * 0.009 + 0.001) / (1 - 0.999**2)
    assert weight.item() == pytest.approx(1.8 * 0.95 - 0.1 * mean / square**0.5, rel=1e-5)


def test_decay_is_that_of_adamw_of_torch() -> None:
    mine, theirs = made()[:1], made()[:1]
    adam, torchs = DenseAdam(mine, **OPTIONS, weight_decay=0.3), torch.optim.AdamW(theirs, **OPTIONS, weight_decay=0.3)
    for step in range(8):
        give(mine, step)
        give(theirs, step)
        adam.step()
        torchs.step()
    torch.testing.assert_close(mine, theirs)
