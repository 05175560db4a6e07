"""Probabilities in log space. Eq. (1) of the paper is `*`, Eq. (2) is `/`, and l(.) of Eq. (3) is `bce`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True, eq=False)
class Prob:
    """A probability p, stored as log p and log(1 - p), so that it stays exact near 0 and near 1.

    Nothing is subtracted from 1, clamped, or given an epsilon: an epsilon of 1e-4 would be half of a CTCVR of 2e-4.
    Shape: both have the same shape, usually (B,); float32 or float64; natural logarithms.

    >>> pctr, pcvr = Prob.of_logit(torch.tensor([-3.0])), Prob.of_logit(torch.tensor([-5.0]))
    >>> pctcvr = pctr * pcvr                                  # Eq. (1)
    >>> torch.allclose(pctcvr / pctr, pcvr.value)             # Eq. (2)
    True
    """

    log: Tensor  # log p
    log_not: Tensor  # log(1 - p)

    @classmethod
    def of_logit(cls, logit: Tensor) -> Prob:
        """p = 1 / (1 + exp(-logit)). Shape: any.

        >>> Prob.of_logit(torch.tensor(80.0)).log_not         # 1 - p would be 0, and its logarithm -inf
        tensor(-80.)
        """
        return cls(logsigmoid(logit), logsigmoid(-logit))

    @classmethod
    def of_logits(cls, logits: Tensor) -> Prob:
        """The two-way softmax of section 3.1 (the last 2 of 360 x 200 x 80 x 2). Shape: (B, 2) -> (B,).

        Column 1 is the event. A two-way softmax equals the sigmoid of the difference of the logits. In float32,
        log_softmax would round log p to 0 at a difference of 17, where it is -4e-8.
        """
        return cls.of_logit(logits[..., 1] - logits[..., 0])

    @classmethod
    def average(cls, probs: Sequence[Prob]) -> Prob:
        """The probability whose log odds are the mean of the log odds of several. Shape: that of each.

        >>> nine, one = (Prob.of_logit(torch.tensor(p).logit()) for p in (0.9, 0.1))
        >>> Prob.average([nine, one]).value, Prob.average([nine]) is nine
        (tensor(0.5000), True)
        """
        if len(probs) == 1:
            return probs[0]
        # in float64, so that the order of the probabilities does not matter beyond the rounding of the result
        odds = torch.stack([p.log.double() - p.log_not.double() for p in probs]).mean(0)
        exact = cls.of_logit(odds)
        return cls(exact.log.to(probs[0].log.dtype), exact.log_not.to(probs[0].log.dtype))

    @property
    def value(self) -> Tensor:
        """p itself. Shape: that of `log`."""
        return self.log.exp()

    def __mul__(self, then: Prob) -> Prob:
        """Eq. (1): p(this and next) = p(this) * p(next | this). Shape: broadcasts.

        >>> half = Prob.of_logit(torch.tensor(0.0))
        >>> (half * half).value, (half * half).log_not.exp()
        (tensor(0.2500), tensor(0.7500))
        """
        log = self.log + then.log
        # p(not both) = p(not this) + p(this, but not next):
        log_not = torch.logaddexp(self.log_not, self.log + then.log_not)
        # At pCTR 0.04 and pCVR 0.005 this is log(0.96 + 0.0398) = -2e-4 with a rounding error of 1e-8; at a pCVR of
        # 1e-8 the error can make it positive. But the error hardly changes the log odds, log - log_not = -8.5.
        # Computed again from the log odds, log_not has an error of 2e-10, is never above 0, and has exact gradients.
        return Prob(log, logsigmoid(log_not - log))

    def __truediv__(self, given: Prob) -> Tensor:
        """Eq. (2): p(next | this) = p(this and next) / p(this), as a plain tensor, because it may exceed 1.

        Shape: broadcasts.

        >>> Prob.of_logit(torch.tensor(0.0)) / Prob.of_logit(torch.tensor(-1.0986123))      # 1/2 over 1/4
        tensor(2.)
        """
        return (self.log - given.log).exp()


def cross_entropy(label: Tensor, p: Prob) -> Tensor:
    """l(y, p) of Eq. (3) for each sample: -(y log p + (1 - y) log(1 - p)), in nats.

    Shape: label y bool (B,), p (B,) -> (B,).
    """
    # where() instead of label * log + ..., because the term that is not used may be -inf, and 0 * -inf is NaN.
    return -torch.where(label, p.log, p.log_not)


def mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """The weighted mean over the batch: sum_i w_i v_i / sum_i w_i. Shape: (B,) -> scalar. weight None: all are 1."""
    # NOTE[DIFF]: Eq. (3) sums over the N impressions. With a mean, the learning rate need not depend on the batch size.
    return values.mean() if weight is None else (weight * values).sum() / weight.sum()


def value_of(p: Prob | Tensor) -> Tensor:
    """The value of a `Prob`; a plain tensor, such as the result of Eq. (2), as it is. Shape: that of p.

    >>> value_of(Prob.of_logit(torch.tensor(0.0))), value_of(torch.tensor(2.0))
    (tensor(0.5000), tensor(2.))
    """
    return p.value if isinstance(p, Prob) else p


def bce(label: Tensor, p: Prob, weight: Tensor | None = None) -> Tensor:
    """The weighted mean of the cross entropy: sum_i w_i l(y_i, p_i) / sum_i w_i.

    Shape: label y bool (B,), p (B,), weight float (B,) or None for 1 -> scalar, in nats.
    Expected loss at step 0, where p is the base rate r of the label: the entropy of r (r = 0.5: 0.693, 0.04: 0.168).

    >>> even = Prob.of_logit(torch.zeros(2))
    >>> bce(torch.tensor([True, False]), even)
    tensor(0.6931)
    """
    return mean(cross_entropy(label, p), weight)


class Heads:
    """The output of a network: one probability per head, read as an attribute. Shape: each (B,).

    An unknown head raises an AttributeError that lists the known ones.

    >>> Heads(ctr=Prob.of_logit(torch.tensor(0.0))).ctr.value
    tensor(0.5000)
    """

    def __init__(self, **probs: Prob) -> None:
        self._probs = probs

    def __getattr__(self, name: str) -> Prob:
        if name.startswith("_") or name not in self._probs:  # "_": avoids endless recursion while _probs is not set
            known = ", ".join(self.__dict__.get("_probs", {}))
            raise AttributeError(f"a network's head must be one of {known}, however: '{name}'")
        return self._probs[name]

    def __iter__(self):
        return iter(self._probs)

    def __repr__(self) -> str:
        return f"Heads({', '.join(self._probs)})"
