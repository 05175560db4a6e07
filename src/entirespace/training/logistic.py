"""Logistic regression with an L2 penalty over standardised numbers, solved by Newton's method in passes over the rows.

    minimise  sum_i w_i l(y_i, p_i) + ||b||^2 / (2 C),      log odds of p_i = a + sum_j b_j (x_ij - mean_j) / scale_j

as scikit-learn's LogisticRegression(C=C) does after a StandardScaler; the intercept a has no penalty. The objective is
convex, and has one minimum. Rows are float32, sums are float64. Rows that fit into `MEMORY` are read once; more are
read again in each pass, of which there are about ten.

The products are torch's, so that they run on as many threads as the rest of a training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor
from torch.nn.functional import softplus

from ..methods._method import Penalty

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The values of C among which cross-validation chooses."""
FOLDS = 5
MEMORY = 1 << 30
"""Hold rows of up to this many bytes in memory."""
BLOCK = 2048  # rows that are multiplied at a time, as float64: they stay in the cache of the processor
STEP = 1e-6  # the largest change of a coefficient by a Newton step after which no other is made
ROUNDING = 1e-12  # the relative error of the objective, of which a step may be worse
MOST = 100  # Newton steps


class Samples(NamedTuple):
    """n samples to learn from."""

    x: np.ndarray  # float32 (n, R)
    y: np.ndarray  # bool (n,)
    weight: np.ndarray | None = None  # float32 (n,); None: every sample weighs 1
    fold: np.ndarray | None = None  # int (n,), from 0 to FOLDS - 1: for cross-validation


Read = Callable[[], Iterable[Samples]]
"""Reads all samples from the start, chunk by chunk, in the same order each time."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A fitted regression."""

    mean: np.ndarray  # float64 (R,), over the samples that it learned from
    scale: np.ndarray  # float64 (R,): the standard deviation, or `least`; 0 for a constant column
    weight: np.ndarray  # float64 (R,), per unit of the scale; 0 for a constant column
    intercept: float  # the log odds at the mean
    c: float
    steps: int  # of Newton's method

    def log_odds(self, x: np.ndarray) -> np.ndarray:
        """The log odds of samples. Shape: (n, R) -> float64 (n,)."""
        z = _standardised(x, torch.from_numpy(self.mean), torch.from_numpy(self.scale))
        return (z @ torch.from_numpy(self.weight)).numpy() + self.intercept


class NotFinite(ValueError):
    """A number is NaN or infinite."""

    def __init__(self, column: int) -> None:
        super().__init__(f"column {column} has a number that is not finite")
        self.column = column


def solve(read: Read, columns: int, c: Penalty = 0.01, least: float = 0.0) -> Solution:
    """Fit the regression. Every number of the solution is finite.

    Args:
        columns: R.
        c: the larger, the weaker is the penalty.
        least: the smallest scale of a column that is not constant, even if its standard deviation is smaller.

    A sample of weight 0 counts as if it were absent. If all samples have the same label, or there is none, no finite
    intercept is the best: then the weights are 0, and the intercept is the logit of (positives + 1/2) / (samples + 1).

    Raises: NotFinite with the index of the column.
    """
    read = _held(read)
    about = _summary(read, columns, least)
    mean, scale = about.mean, about.scale
    if not 0 < about.positives < about.total:
        intercept = float(logit((about.positives + 0.5) / (about.total + 1)))
        fixed = c if isinstance(c, float) else GRID[len(GRID) // 2]
        return Solution(mean, scale, np.zeros_like(mean), intercept, fixed, 0)
    start = torch.zeros(len(mean) + 1, dtype=torch.float64)
    start[-1] = logit(about.positives / about.total)
    if c == "cv":
        c = _chosen(read, about, start)
    found, steps = _newton(_Objective(read, about, c), start)
    weight = np.where(scale > 0, found[:-1].numpy(), 0.0)
    return Solution(mean, scale, weight, found[-1].item(), c, steps)


def _held(read: Read) -> Read:
    """The same samples, from memory if they fit into `MEMORY`."""
    held: list[Samples] = []
    size = 0
    for samples in read():
        size += sum(a.nbytes for a in samples if a is not None)
        if size > MEMORY:
            return read
        held.append(samples)
    return lambda: held


class _Summary(NamedTuple):
    mean: np.ndarray
    scale: np.ndarray
    total: float  # the sum of the weights
    positives: float  # the sum of the weights of positive samples


def _blocks(read: Read) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]]:
    """Up to `BLOCK` samples at a time."""
    for x, y, weight, fold in read():
        for start in range(0, len(x), BLOCK):
            here = slice(start, start + BLOCK)
            yield x[here], y[here], None if weight is None else weight[here], None if fold is None else fold[here]


def _summary(read: Read, columns: int, least: float) -> _Summary:
    """Weighted means and scales, block by block as by Chan, Golub and LeVeque (1979)."""
    total = positives = 0.0
    mean, squares = np.zeros(columns), np.zeros(columns)
    low, high = np.full(columns, np.inf), np.full(columns, -np.inf)
    for x, y, weight, _ in _blocks(read):
        w = np.ones(len(x)) if weight is None else weight.astype(np.float64)
        x, y, w = x[w > 0].astype(np.float64), y[w > 0], w[w > 0]
        if not len(x):
            continue
        for column in np.flatnonzero(~np.isfinite(x).all(axis=0)):
            raise NotFinite(int(column))
        mass = w.sum()
        here = w @ x / mass
        gap = here - mean
        squares += w @ (x - here) ** 2 + gap**2 * total * mass / (total + mass)
        mean += gap * mass / (total + mass)
        total += mass
        positives += w[y].sum()
        low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
    # a column is constant if its ends are equal: the sum of its squares may be just above 0 by rounding
    scale = np.where(high > low, np.maximum(np.sqrt(squares / max(total, 1e-300)), least), 0.0)
    return _Summary(mean, scale, float(total), float(positives))


def _standardised(x: np.ndarray, mean: Tensor, scale: Tensor, beside: int = 0) -> Tensor:
    """(x - mean) / scale, 0 for a constant column; then `beside` columns of ones.

    Shape: float32 (n, R) -> float64 (n, R + beside).
    """
    z = torch.ones((len(x), x.shape[1] + beside), dtype=torch.float64)
    here = z[:, : x.shape[1]]
    here.copy_(torch.from_numpy(x)).sub_(mean).mul_(torch.where(scale > 0, 1 / scale, 0.0))
    return z


class _Objective:
    """The objective at a point (b, a), with its gradient and its Hessian, in one pass over the samples.

    Args:
        but: leave this fold out.
    """

    def __init__(self, read: Read, about: _Summary, c: float, but: int | None = None) -> None:
        self._read, self._c, self._but = read, c, but
        self._mean, self._scale = torch.from_numpy(about.mean), torch.from_numpy(about.scale)

    def __call__(self, at: Tensor) -> tuple[float, Tensor, Tensor]:
        b = at[:-1]
        value = (b @ b).item() / (2 * self._c)
        gradient = torch.cat([b / self._c, b.new_zeros(1)])
        hessian = torch.diag(torch.cat([torch.full_like(b, 1 / self._c), b.new_zeros(1)]))
        for z, sign, weight in self._samples(held_out=False):
            odds = sign * (z @ at)  # the log odds of the label that came
            wrong = torch.sigmoid(-odds)
            curve = weight * wrong * torch.sigmoid(odds)
            value += (weight * softplus(-odds)).sum().item()
            gradient.addmv_(z.T, sign * weight * wrong, alpha=-1)
            z *= curve.sqrt().unsqueeze(1)
            hessian.addmm_(z.T, z)
        return value, gradient, hessian

    def held_out(self, at: Tensor) -> float:
        """The sum of the losses of the fold that is left out, without the penalty."""
        found = self._samples(held_out=True)
        return sum((weight * softplus(-sign * (z @ at))).sum().item() for z, sign, weight in found)

    def _samples(self, held_out: bool) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """A block of samples: standardised, with a column of ones; 1 or -1 by label; the weights."""
        for x, y, weight, fold in _blocks(self._read):
            if self._but is not None:
                assert fold is not None
                kept = (fold == self._but) == held_out
                x, y, weight = x[kept], y[kept], None if weight is None else weight[kept]
            z = _standardised(x, self._mean, self._scale, beside=1)
            w = torch.ones(len(x)) if weight is None else torch.from_numpy(weight)
            yield z, torch.from_numpy(np.where(y, 1.0, -1.0)), w.double()


def _newton(objective: _Objective, start: Tensor, smallest: float = STEP) -> tuple[Tensor, int]:
    """The minimum by Newton's method, and how many steps it took. A step that does not help enough is halved.

    It ends when a step changes no coefficient by more than `smallest`. Convergence is quadratic, so the next step would
    be about the square of that.
    """
    at = start
    value, gradient, hessian = objective(at)
    for steps in range(1, MOST + 1):
        step = _newton_step(hessian, gradient)
        if step.abs().max() <= smallest:
            return at - step, steps
        decrease, share = (gradient @ step).item(), 1.0  # a small share of the step lowers the objective by this rate
        while True:
            moved = at - share * step
            found = objective(moved)
            if found[0] <= value - share * decrease / 4 + ROUNDING * abs(value) or share < 1e-6:
                break
            share /= 2
        at, (value, gradient, hessian) = moved, found
    return at, MOST


def _newton_step(hessian: Tensor, gradient: Tensor) -> Tensor:
    """hessian^-1 gradient. A little is added to the diagonal, and more if the matrix is singular by rounding."""
    eye, largest = torch.eye(len(hessian), dtype=hessian.dtype), hessian.diagonal().max()
    for part in (1e-14, 1e-10, 1e-6, 1.0):
        factor, wrong = torch.linalg.cholesky_ex(hessian + part * largest * eye)
        if not wrong:
            return torch.cholesky_solve(gradient.unsqueeze(1), factor).squeeze(1)
    return torch.zeros_like(gradient)  # every curvature is 0


def _chosen(read: Read, about: _Summary, start: Tensor) -> float:
    """The C of `GRID` with the lowest loss on the folds that were left out; of equal ones the strongest penalty."""
    losses = np.zeros(len(GRID))
    for fold in range(FOLDS):
        at = start
        for i, c in enumerate(GRID):  # from the strongest penalty to the weakest; each starts where the last one ended
            objective = _Objective(read, about, c, but=fold)
            at, _ = _newton(objective, at, smallest=1e-4)
            losses[i] += objective.held_out(at)
    return GRID[int(np.argmin(losses))]
