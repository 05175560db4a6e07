"""`DenseAdam` is torch.optim.Adam, bit for bit."""

from __future__ import annotations

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
