"""Eq. (1), (2) and (3) compared with 120-digit results and results by hand, up to logits of ±80."""

from __future__ import annotations

from decimal import Decimal, getcontext
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entirespace.network.probability import Prob, bce

getcontext().prec = 120
LOGITS = (-80.0, -17.0, -8.5, -3.2, 0.0, 3.2, 17.0, 80.0)
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-14}
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def sigmoid(logit: float) -> Decimal:
    return 1 / (1 + (-Decimal(logit)).exp())


def close(came: torch.Tensor, exact: Decimal, dtype: torch.dtype) -> bool:
    """Equal to a relative error; what float32 cannot hold (below 1e-38) may be 0."""
    error = abs(Decimal(came.item()) - exact)
    return error <= Decimal(TOLERANCE[dtype]) * abs(exact) + Decimal(torch.finfo(dtype).tiny)


@dtypes
@pytest.mark.parametrize(("a", "b"), list(product(LOGITS, LOGITS)))
def test_product_is_exact_at_both_ends(a: float, b: float, dtype: torch.dtype) -> None:
    a, b = (torch.tensor(x, dtype=dtype).item() for x in (a, b))  # rounded to the type
    p = Prob.of_logit(torch.tensor(a, dtype=dtype)) * Prob.of_logit(torch.tensor(b, dtype=dtype))
    exact = sigmoid(a) * sigmoid(b)
    assert close(p.log, exact.ln(), dtype)
    assert close(p.log_not, (1 - exact).ln(), dtype)
    assert close(p.value, exact, dtype) or abs(a) + abs(b) > 20  # e^-97 is e^(-97 * (1 + 1e-7))


@dtypes
@pytest.mark.parametrize(("y", "z"), [(False, False), (True, False), (True, True), (False, True)])
@pytest.mark.parametrize(("a", "b"), list(product(LOGITS, LOGITS)))
def test_equation_3_has_exact_finite_gradients(a: float, b: float, y: bool, z: bool, dtype: torch.dtype) -> None:
    ctr, cvr = (torch.tensor([x], dtype=dtype, requires_grad=True) for x in (a, b))
    p, q = sigmoid(ctr.item()), sigmoid(cvr.item())
    pctr, pcvr = Prob.of_logit(ctr), Prob.of_logit(cvr)
    loss = bce(torch.tensor([y]), pctr) + bce(torch.tensor([y and z]), pctr * pcvr)
    loss.backward()
    both = p * q
    by_hand = -(p if y else 1 - p).ln() - (both if y and z else 1 - both).ln()
    assert close(loss, by_hand, dtype)
    # l(1, p) has the gradient -(1 - p), l(0, p) has p; l(0, pq): pq (1 - p) / (1 - pq), pq (1 - q) / (1 - pq)
    first = -(1 - p) if y else p
    by_ctr = -(1 - p) if y and z else both * (1 - p) / (1 - both)
    by_cvr = -(1 - q) if y and z else both * (1 - q) / (1 - both)
    assert ctr.grad is not None
    assert cvr.grad is not None
    cancelled = abs(first + by_ctr) < abs(first) / 1_000_000  # beyond what a float32 sum of the two can hold
    assert close(ctr.grad, first + by_ctr, dtype) or cancelled
    assert close(cvr.grad, by_cvr, dtype)


@dtypes
@pytest.mark.parametrize(("a", "b"), list(product((-80.0, 80.0), repeat=2)))
def test_equation_2_is_finite_with_finite_gradients(a: float, b: float, dtype: torch.dtype) -> None:
    ctr, ctcvr = (torch.tensor(x, dtype=dtype, requires_grad=True) for x in (a, b))
    pcvr = Prob.of_logit(ctcvr) / Prob.of_logit(ctr)
    pcvr.backward()
    assert pcvr.item() == pytest.approx(float(sigmoid(b) / sigmoid(a)), rel=1e-5)  # 5.5e34 where DIVISION errs
    assert ctr.grad is not None
    assert ctcvr.grad is not None
    assert torch.isfinite(ctr.grad)
    assert torch.isfinite(ctcvr.grad)


@given(st.floats(-100, 100, width=32), st.floats(-100, 100, width=32))
def test_products_stay_between_0_and_1(a: float, b: float) -> None:
    p = Prob.of_logit(torch.tensor(a)) * Prob.of_logit(torch.tensor(b))
    assert p.log <= 0
    assert p.log_not <= 0


def test_a_ctcvr_of_2e_4_is_not_halved() -> None:
    p = Prob.of_logit(torch.tensor(-3.1780539)) * Prob.of_logit(torch.tensor(-5.2933048))  # 0.04, 0.005
    assert p.value.item() == pytest.approx(2e-4, rel=1e-5)
    assert p.log_not.item() == pytest.approx(-2.0002e-4, rel=1e-5)


def test_products_are_associative() -> None:
    a, b, c = (Prob.of_logit(torch.tensor(x, dtype=torch.float64)) for x in (-1.0, 0.5, -4.0))
    left, right = (a * b) * c, a * (b * c)
    torch.testing.assert_close(left.log, right.log)
    torch.testing.assert_close(left.log_not, right.log_not)


def test_two_way_softmax() -> None:
    logits = torch.tensor([[0.3, -1.2], [-40.0, 40.0], [2.0, 2.0]], dtype=torch.float64)
    p = Prob.of_logits(logits)
    torch.testing.assert_close(p.log, torch.log_softmax(logits, 1)[:, 1])
    torch.testing.assert_close(p.log_not, torch.log_softmax(logits, 1)[:, 0])
    sure = Prob.of_logits(torch.tensor([[0.0, 20.0]]))
    assert sure.log.item() == pytest.approx(-2.0611537e-09)  # log_softmax: 0


def test_certain_and_impossible_stages() -> None:
    sure = Prob(torch.tensor([0.0]), torch.tensor([-torch.inf]))
    never = Prob(sure.log_not, sure.log)
    some = Prob.of_logit(torch.tensor([-2.0]))
    torch.testing.assert_close((sure * some).log_not, some.log_not)
    assert (never * some).value == 0
    assert (never * some).log_not == 0


def test_cross_entropy_by_hand() -> None:
    quarter = Prob.of_logit(torch.tensor([3.0, 3.0], dtype=torch.float64).log().neg())
    label = torch.tensor([True, False])
    # -(ln 1/4 + ln 3/4) / 2, and with weights 2 and 10: -(2 ln 1/4 + 10 ln 3/4) / 12
    assert bce(label, quarter).item() == pytest.approx((1.3862943611 + 0.2876820724) / 2)
    weight = torch.tensor([2.0, 10.0])
    assert bce(label, quarter, weight).item() == pytest.approx((2 * 1.3862943611 + 10 * 0.2876820724) / 12)


def test_the_unused_term_of_the_cross_entropy_may_be_infinite() -> None:
    log = torch.tensor([-torch.inf], requires_grad=True)
    loss = bce(torch.tensor([False]), Prob(log, torch.zeros(1)))
    loss.backward()
    assert loss == 0
    assert log.grad == torch.zeros(1)


def test_gradients_agree_with_finite_differences() -> None:
    def loss(ctr: torch.Tensor, cvr: torch.Tensor) -> torch.Tensor:
        y, yz = torch.tensor([True, True, False]), torch.tensor([True, False, False])
        return bce(y, Prob.of_logit(ctr)) + bce(yz, Prob.of_logit(ctr) * Prob.of_logit(cvr))

    ctr, cvr = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in ([0.1, -2.0, -3.0], [1.0, -4.0, 0.0]))
    assert torch.autograd.gradcheck(loss, (ctr, cvr))
