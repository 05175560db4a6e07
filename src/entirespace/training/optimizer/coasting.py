"""The sums behind `RowAdam`: how far dense Adam moves a row in the steps in which the row has no gradient.

Dense Adam (Kingma & Ba 2015, Algorithm 1; torch.optim.Adam) at step t, gradient g and learning rate lr_t:

    m <- b1 m + (1 - b1) g,    v <- b2 v + (1 - b2) g^2
    w <- w - c_t m / (sqrt(v) + e_t),    c_t = lr_t sqrt(1 - b2^t) / (1 - b1^t),    e_t = eps sqrt(1 - b2^t)

(torch's form, with numerator and denominator multiplied by sqrt(1 - b2^t)). A row last used at step l, with m and v
of that step, has g = 0 at the steps l+1 .. t. At the j-th of these, m has become b1^j m and sqrt(v) has become
b2^(j/2) sqrt(v). Dividing numerator and denominator by b2^(j/2) gives the j-th missed update

    a_j m / (sqrt(v) + h_j),    a_j = c_{l+j} (b1 / sqrt(b2))^j,    h_j = e_{l+j} b2^(-j/2).

Neither a_j nor h_j depends on the row. The missed updates sum to m S(sqrt(v)), where S(s) is the sum of
a_j / (s + h_j): the Stieltjes transform of masses a_j at points h_j. Two facts make it cheap:

1. a_j falls like 0.9^j, so the sum can stop after 374 steps (`Coasting.window`) for any gap, and the h_j that
   matter are close together. So S(s) is approximately A1 / (s + H1) + A2 / (s + H2). This is the Gauss rule with two
   nodes, whose first four moments equal those of the masses. Two divisions replace any number of missed steps; for one
   or two missed steps the result is exact. (With one node, at the mean of h, it is the better known G / (s + H/G).)
2. All masses are positive, so the moments can be kept as running sums for each start l (the step after which a gap
   begins), without cancellation or underflow at any t. Step t adds one mass to each of the starts t-374 .. t-1;
   earlier starts no longer change. A learning rate schedule is also covered, because c_t uses the lr of step t.

In two cases the h_j are further apart: early in training, while sqrt(1 - b2^t) still grows (`early`), and with unusual
betas (`late`). Then the first missed steps of a gap are replayed one by one, and the rule covers the later ones. With
betas (0.9, 0.999), the remaining error in the sum of the missed updates of a gap, in units of lr, over all gaps and
all sqrt(v)/eps, is at most 6e-6 if the gap begins before step 300, 7e-7 if it begins at step 300, and 5e-9 from step
5000 on. (One node after 16 replayed steps: 3e-3, 1e-4, 2e-5.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

C, E, A1, H1, A2, H2 = range(6)
"""Columns of `Coasting.history`: c_t and e_t of step t, then the two nodes of the gaps that begin after step t."""
ROOM = 1024  # initial rows of history; doubled when full
TOLERANCE = 1e-6  # largest error of the rule late in training, in units of lr; it determines `late`


class Coasting:
    """The step counter (clock) of one table's Adam, and the sums that apply missed steps to rows.

    now, base: the current step, and the step of the last `restart`.
    history: float64 (at least now - base + 1, 6), with the columns above; row i belongs to step base + i.
    sums: float64 (window, 5), row l % window for the start l: the sums of a, a x, a x^2, a x^3, and h0. x = h/h0 - 1
        is h relative to its first value; so the moments keep their precision.
    powers: float64 (window + 1, 4), row k for a gap of k steps: b1^k, b2^k, (b1/sqrt(b2))^k, b2^(-k/2).

    Raises: ValueError unless 0 <= b1 < sqrt(b2) < 1 and eps > 0; otherwise missed updates may not decay.
    """

    def __init__(self, betas: tuple[float, float], eps: float, device: torch.device | str = "cpu") -> None:
        b1, b2 = betas
        if not (0 <= b1 < math.sqrt(b2) < 1 and eps > 0):
            raise ValueError(f"Adam needs 0 <= b1 < sqrt(b2) < 1 and eps > 0, however: {b1=}, {b2=}, {eps=}")
        self.betas, self.eps = (float(b1), float(b2)), float(eps)
        ratio = b1 / math.sqrt(b2)
        # a mass below 1e-17 of the first one does not change a float64 sum
        self.window = math.ceil(math.log(1e-17) / math.log(ratio)) if b1 else 1
        self.early = round(12.8 / (1 - ratio)) if b1 else 0
        self.late = replays_late(self.betas, self.window)
        k = torch.arange(self.window + 1, dtype=torch.float64, device=device)
        self.powers = torch.stack([b1**k, b2**k, ratio**k, b2 ** (-k / 2)], 1)
        self.now = 0
        self.restart()

    def restart(self) -> None:
        """Discard all starts. Call it when every row is up to date: the next gaps begin at `now`."""
        self.base = self.now
        self.history = self.room(ROOM)
        self.sums = self.powers.new_zeros(self.window, 5)

    def room(self, steps: int) -> Tensor:
        """Empty rows of `history`, whose nodes have mass 0. Shape: float64 (steps, 6)."""
        history = self.powers.new_zeros(steps, 6)
        history[:, [H1, H2]] = self.eps
        return history

    def replays(self, begun: Tensor) -> Tensor:
        """How many missed steps after step `begun` are replayed one by one; the rule covers the later ones.

        Shape: int64 (n,) -> int64 (n,).
        """
        return self.late + (self.early - begun).clamp(min=0) // 4

    def coefficients(self, lr: float, step: int) -> tuple[float, float]:
        """c_t and e_t of a step t >= 1."""
        b1, b2 = self.betas
        root = math.sqrt(-math.expm1(step * math.log(b2)))
        return lr * root / (1 - b1**step), self.eps * root

    def tick(self) -> None:
        """Advance the clock by one step; `advance` then adds the masses of that step."""
        self.now += 1
        if self.now - self.base >= len(self.history):
            self.history = torch.cat([self.history, self.room(len(self.history))])

    def advance(self, lr: float) -> None:
        """Add the masses of step `now` to the recent starts. `adam_kernels.advance` does the same, compiled."""
        c, e = self.coefficients(lr, self.now)
        self.history[self.now - self.base, C] = c
        self.history[self.now - self.base, E] = e
        begun = torch.arange(max(self.base, self.now - self.window), self.now, device=self.powers.device)
        begun = begun[self.now - begun > self.replays(begun)]
        gap = self.now - begun
        a, h = c * self.powers[gap, 2], e * self.powers[gap, 3]
        fresh = torch.cat([h.new_zeros(len(h), 4), h[:, None]], 1)
        first = (gap == self.replays(begun) + 1)[:, None]
        sums = torch.where(first, fresh, self.sums[begun % self.window])
        x = h / sums[:, 4] - 1
        sums[:, :4] += a[:, None] * x[:, None] ** torch.arange(4, device=x.device)
        self.sums[begun % self.window] = sums
        self.history[begun - self.base, A1:] = two_nodes(sums)


def two_nodes(sums: Tensor) -> Tensor:
    """The Gauss rule with two nodes for given moments (`Coasting.sums`). Shape: (n, 5) -> (n, 4), A1 H1 A2 H2.

    With the mean of x, variance V, third central moment T and g = T / 2V, the nodes are at
    mean + g -+ sqrt(g^2 + V), with masses inversely proportional to their distances from the mean. If V is 0,
    there is one node, at the mean.
    """
    total, origin = sums[:, 0], sums[:, 4]
    mean, square, cube = (sums[:, i] / torch.where(total > 0, total, 1) for i in (1, 2, 3))
    variance = square - mean**2
    spread = variance > 1e-20
    variance = torch.where(spread, variance, 0)
    half = (cube - 3 * mean * square + 2 * mean**3) / (2 * torch.where(spread, variance, 1))
    half = torch.where(spread, half, 0)
    root = torch.sqrt(half**2 + variance)
    mass1 = torch.where(spread, total * (half + root) / (2 * torch.where(spread, root, 1)), total)
    return torch.stack([mass1, origin * (1 + mean + half - root), total - mass1, origin * (1 + mean + half + root)], 1)


def replays_late(betas: tuple[float, float], window: int) -> int:
    """How many missed steps to replay so that the rule's error late in training is below TOLERANCE * lr.

    The error is the worst over sqrt(v)/eps for the longest gap, for a row that moves about lr (1 - b1)/sqrt(1 - b2)
    per step.

    >>> replays_late((0.9, 0.999), 374), replays_late((0.9, 0.99), 391)
    (0, 33)
    """
    b1, b2 = betas
    j = torch.arange(1, window + 1, dtype=torch.float64)
    a, h = (b1 / math.sqrt(b2)) ** j, b2 ** (-j / 2)
    s = torch.logspace(-4, 4, 65, dtype=torch.float64)[:, None]
    replays = 0
    while replays < window:
        left, at = a[replays:], h[replays:]
        x = at / at[0] - 1
        moments = [(left * x**i).sum() for i in range(4)]
        mass1, node1, mass2, node2 = two_nodes(torch.stack([*moments, at[0]])[None])[0]
        error = mass1 / (s + node1) + mass2 / (s + node2) - (left / (s + at)).sum(1, keepdim=True)
        if (s * error).abs().max() * (1 - b1) / math.sqrt(1 - b2) < TOLERANCE:
            break
        replays = max(replays + 1, replays * 5 // 4)
    return replays
