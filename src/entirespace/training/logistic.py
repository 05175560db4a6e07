"""Logistic regression with an L2 penalty over standardised numbers, solved by Newton's method in passes over the rows.

    minimise  sum_i w_i l(y_i, p_i) + ||b||^2 / (2 C),      log odds of p_i = a + sum_j b_j (x_ij - mean_j) / scale_j

as scikit-learn's LogisticRegression(C=C) does after a StandardScaler; the intercept a has no penalty. The objective is
convex, and has one minimum. Rows are float32, sums are float64. Rows that fit into `MEMORY` are read once; more are
read again in each pass, of which there are about ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit, logit

Penalty = float | Literal["cv"]
"""C, or "cv": the C of `GRID` with the lowest loss in five-fold cross-validation."""

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 5
MEMORY = 1 << 30
"""Hold rows of up to this many bytes in memory."""
BLOCK = 4096  # rows that are multiplied at a time: they stay in the processor's cache as float64
STEP = 1e-9  # the largest change of a coefficient, per standard deviation, at which Newton's method ends
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
    scale: np.ndarray  # float64 (R,): the standard deviation; 0 for a constant column
    weight: np.ndarray  # float64 (R,), per standard deviation; 0 for a constant column
    intercept: float  # the log odds at the mean
    c: float
    steps: int  # of Newton's method

    def log_odds(self, x: np.ndarray) -> np.ndarray:
        """The log odds of samples. Shape: (n, R) -> float64 (n,)."""
        return _standardised(x, self.mean, self.scale) @ self.weight + self.intercept


def solve(read: Read, c: Penalty = 0.01) -> Solution:
    """Fit the regression. Every number of the solution is finite.

    A sample of weight 0 counts as if it were absent. If all samples have the same label, or there is none, no finite
    intercept is the best: then the weights are 0, and the intercept is the logit of (positives + 1/2) / (samples + 1).

    Raises: ValueError if a number is not finite; its argument is the index of the column.
    """
    read = _held(read)
    about = _summary(read)
    mean, scale = about.mean, about.scale
    if not 0 < about.positives < about.total:
        intercept = float(logit((about.positives + 0.5) / (about.total + 1)))
        fixed = c if isinstance(c, float) else GRID[len(GRID) // 2]
        return Solution(mean, scale, np.zeros_like(mean), intercept, fixed, 0)
    start = np.append(np.zeros_like(mean), logit(about.positives / about.total))
    if c == "cv":
        c = _chosen(read, about, start)
    found, steps = _newton(_Objective(read, about, c), start)
    found[:-1][scale == 0] = 0.0
    return Solution(mean, scale, found[:-1], float(found[-1]), c, steps)


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


def _summary(read: Read) -> _Summary:
    """Weighted means and standard deviations, block by block as by Chan, Golub and LeVeque (1979)."""
    total = positives = 0.0
    mean = squares = low = high = np.zeros(0)
    for x, y, weight, _ in _blocks(read):
        w = np.ones(len(x)) if weight is None else weight.astype(np.float64)
        x, y, w = x[w > 0].astype(np.float64), y[w > 0], w[w > 0]
        if not total:
            mean, squares = np.zeros(x.shape[1]), np.zeros(x.shape[1])
            low, high = np.full(x.shape[1], np.inf), np.full(x.shape[1], -np.inf)
        if not len(x):
            continue
        mass = w.sum()
        here = w @ x / mass
        gap = here - mean
        squares = squares + w @ (x - here) ** 2 + gap**2 * total * mass / (total + mass)
        mean = mean + gap * mass / (total + mass)
        total += mass
        positives += w[y].sum()
        low, high = np.minimum(low, x.min(axis=0)), np.maximum(high, x.max(axis=0))
    wrong = np.flatnonzero(~np.isfinite(mean + squares))
    if len(wrong):
        raise ValueError(int(wrong[0]))
    # a column is constant if its ends are equal: the sum of its squares may be just above 0 by rounding
    scale = np.where(high > low, np.sqrt(squares / max(total, 1e-300)), 0.0)
    return _Summary(mean, scale, float(total), float(positives))


def _standardised(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(x - mean) / scale; 0 for a constant column. Shape: (n, R) -> float64 (n, R)."""
    z = x.astype(np.float64)
    z -= mean
    z *= np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return z


class _Objective:
    """The objective at a point (b, a), with its gradient and its Hessian, in one pass over the samples.

    Args:
        but: leave this fold out.
    """

    def __init__(self, read: Read, about: _Summary, c: float, but: int | None = None) -> None:
        self.read, self.about, self.c, self.but = read, about, c, but

    def __call__(self, at: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        size = len(at)
        value, gradient, hessian = 0.0, np.zeros(size), np.zeros((size, size))
        for x, y, weight, fold in _blocks(self.read):
            if self.but is not None and fold is not None:
                kept = fold != self.but
                x, y, weight = x[kept], y[kept], None if weight is None else weight[kept]
            z = np.ones((len(x), size))
            z[:, :-1] = _standardised(x, self.about.mean, self.about.scale)
            eta = z @ at
            p, not_p = expit(eta), expit(-eta)
            loss, residual, curve = np.logaddexp(0.0, np.where(y, -eta, eta)), np.where(y, -not_p, p), p * not_p
            if weight is not None:
                loss, residual, curve = weight * loss, weight * residual, weight * curve
            value += loss.sum()
            gradient += z.T @ residual
            z *= np.sqrt(curve)[:, None]
            hessian += z.T @ z
        b = at[:-1]
        value += b @ b / (2 * self.c)
        gradient[:-1] += b / self.c
        hessian[range(size - 1), range(size - 1)] += 1 / self.c
        return float(value), gradient, hessian

    def held_out(self, at: np.ndarray) -> float:
        """The sum of the losses of the fold that is left out, without the penalty."""
        total = 0.0
        for x, y, weight, fold in _blocks(self.read):
            assert fold is not None
            out = fold == self.but
            eta = _standardised(x[out], self.about.mean, self.about.scale) @ at[:-1] + at[-1]
            loss = np.logaddexp(0.0, np.where(y[out], -eta, eta))
            total += float((loss if weight is None else weight[out] * loss).sum())
        return total


def _newton(objective: _Objective, start: np.ndarray, smallest: float = STEP) -> tuple[np.ndarray, int]:
    """The minimum by Newton's method, and how many steps it took. A step that does not help enough is halved.

    It ends when a step changes no coefficient by more than `smallest`. Convergence is quadratic, so the next step would
    be near the square of that.
    """
    at = start
    value, gradient, hessian = objective(at)
    for steps in range(1, MOST + 1):
        step = _newton_step(hessian, gradient)
        if np.abs(step).max() <= smallest:
            return at - step, steps
        decrease, share = gradient @ step, 1.0  # the linear model loses `share * decrease`
        while True:
            moved = at - share * step
            found = objective(moved)
            if found[0] <= value - share * decrease / 4 + ROUNDING * abs(value) or share < 1e-6:
                break
            share /= 2
        at, (value, gradient, hessian) = moved, found
    return at, MOST


def _newton_step(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """hessian^-1 gradient, with a little added to the diagonal, more if the matrix is singular by rounding."""
    size = len(hessian)
    for part in (1e-14, 1e-10, 1e-6):
        try:
            return cho_solve(cho_factor(hessian + part * hessian.max() * np.eye(size)), gradient)
        except LinAlgError:
            continue
    return gradient / np.maximum(np.diag(hessian), 1e-300)


def _chosen(read: Read, about: _Summary, start: np.ndarray) -> float:
    """The C of `GRID` with the lowest loss on the folds that were left out; of equal ones the strongest penalty."""
    losses = np.zeros(len(GRID))
    for fold in range(FOLDS):
        at = start
        for i, c in enumerate(GRID):  # from the strongest penalty to the weakest; each starts where the last one ended
            objective = _Objective(read, about, c, but=fold)
            at, _ = _newton(objective, at, smallest=1e-4)
            losses[i] += objective.held_out(at)
    return GRID[int(np.argmin(losses))]
