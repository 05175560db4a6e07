"""With unlimited data and one free parameter per cell of x: the pCVR that minimises each method's loss."""

from __future__ import annotations

import numpy as np
import pytest
import support
import torch

from entirespace.methods import AMAN, BASE, DIVISION, ESMM, OVERSAMPLING, UNBIAS, Method
from entirespace.network import Heads
from entirespace.network.probability import Prob, value_of

# Impressions, clicks and conversions of each cell: CTR 0.1, 0.5, 0.02, 0.9; CVR 0.2, 0.1, 0.75, 1/9. The
# un-clicked come in tens, so that AMAN's rates are met exactly.
CELLS = ((400, 40, 8), (200, 100, 10), (1000, 20, 15), (100, 90, 10))
CELL = np.repeat(np.arange(4), [n for n, _, _ in CELLS])
Y = np.concatenate([np.arange(n) < clicks for n, clicks, _ in CELLS])
Z = np.concatenate([np.arange(n) < conversions for n, _, conversions in CELLS])
PCTR = np.array([clicks / n for n, clicks, _ in CELLS])
PCVR = np.array([conversions / clicks for _, clicks, conversions in CELLS])


class Even:
    """Evenly spaced instead of random numbers, so that every share of a cell is exact."""

    def random(self, n: int) -> np.ndarray:
        return (np.arange(n) % 10 + 0.5) / 10


def minimiser(method: Method) -> np.ndarray:
    """pCVR of each cell at the minimum of the loss. Shape: (4,)."""
    times = method.samples(support.labels(Y, Z), Even())  # type: ignore[arg-type]
    rows = np.repeat(np.arange(len(Y)), times)
    cell = torch.from_numpy(CELL[rows])
    batch = support.labels_only(Y[rows].tolist(), Z[rows].tolist(), PCTR[CELL[rows]].tolist())
    logits = torch.zeros(len(method.heads), 4, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [logits], max_iter=500, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def heads(by_cell: torch.Tensor) -> Heads:
        return Heads(**{h: Prob.of_logit(x[by_cell]) for h, x in zip(method.heads, logits, strict=True)})

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = method.loss(heads(cell), batch)
        value.backward()
        return value

    solver.step(loss)  # type: ignore[arg-type]
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-8
    return value_of(method.predict(heads(torch.arange(4)))["pcvr"]).detach().numpy()


@pytest.mark.parametrize(
    "method",
    [BASE(), UNBIAS(), UNBIAS(floor=0.3), DIVISION(), ESMM(share_embedding=False), ESMM()],
    ids=lambda method: method.label,
)
def test_pcvr_is_learned(method: Method) -> None:
    np.testing.assert_allclose(minimiser(method), PCVR, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.5, 1.0])
def test_aman_underestimates_by_its_negatives(rate: float) -> None:
    came = minimiser(AMAN(rate=rate))
    np.testing.assert_allclose(came, PCTR * PCVR / (PCTR + rate * (1 - PCTR)), rtol=1e-5)
    assert rate == 0 or (came < PCVR).all()


@pytest.mark.parametrize("copies", [1, 2, 10])
def test_oversampling_multiplies_the_odds(copies: int) -> None:
    odds = copies * PCVR / (1 - PCVR)
    np.testing.assert_allclose(minimiser(OVERSAMPLING(copies=copies)), odds / (1 + odds), rtol=1e-5)
