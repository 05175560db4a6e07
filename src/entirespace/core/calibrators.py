"""Calibrators: monotone maps from a predicted to a calibrated probability, as plain numbers in JSON.

They are in `core` because three rooms use them: a run stores them, metrics measure them and serving applies them
without torch. Labels are read only while a calibrator is fitted.
NOTE: pCTR and pCVR each have their own calibrator; pCTCVR is the product of the two calibrated values (Eq. 1).
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# (scipy has no types)
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import expit, logit

FittedKind = Literal["temperature", "platt", "isotonic"]
Kind = Literal["auto", "temperature", "platt", "isotonic", "none"]
"""What can be asked for. auto: temperature, Platt or none, whichever `core.choice` finds to help."""
ENOUGH: dict[FittedKind, int] = {"temperature": 10, "platt": 20, "isotonic": 100}
"""Kind -> the positives and the negatives that it needs, at least: it fits one number, two, or a step for each change.
In the order of these."""
ROWS = 1 << 16  # rows calibrated at a time, in float64
LEAST = 2.0**-149, 2.0**-25  # float32 rounds a smaller p to 0, and a smaller 1 - p to 0


class _Calibrator:
    kind: ClassVar[str]

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Calibrated probabilities. Shape: float (N,) -> float32 (N,); computed in float64."""
        out = np.empty(len(p), np.float32)
        for i in range(0, len(p), ROWS):
            out[i : i + ROWS] = self._apply(p[i : i + ROWS].astype(np.float64))
        return out

    def _apply(self, p: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": self.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}}


class _OnLogOdds(_Calibrator):
    def odds(self, x: np.ndarray) -> np.ndarray:
        """Calibrated log odds from log odds. Shape: float64 (N,)."""
        raise NotImplementedError

    def _apply(self, p: np.ndarray) -> np.ndarray:
        return expit(self.odds(log_odds(p)))


@dataclass(frozen=True)
class Temperature(_OnLogOdds):
    """p' = 1 / (1 + exp(-slope * logit p)): the slope is 1 / temperature (Guo et al. 2017). 1/2 stays where it is.

    >>> Temperature(slope=2.0)(np.array([0.25, 0.5], np.float32))  # odds of 1/3 become 1/9
    array([0.1, 0.5], dtype=float32)
    """

    kind: ClassVar = "temperature"
    slope: float

    def odds(self, x: np.ndarray) -> np.ndarray:
        return self.slope * x

    def __str__(self) -> str:
        return f"temperature (slope {self.slope:.3g})"


@dataclass(frozen=True)
class Platt(_OnLogOdds):
    """p' = 1 / (1 + exp(-(slope * logit p + intercept))) (Platt 1999, on log odds).

    >>> Platt(slope=1.0, intercept=0.0)(np.array([0.25, 0.5], np.float32))
    array([0.25, 0.5 ], dtype=float32)
    """

    kind: ClassVar = "platt"
    slope: float
    intercept: float

    def odds(self, x: np.ndarray) -> np.ndarray:
        return self.slope * x + self.intercept

    def __str__(self) -> str:
        return f"Platt scaling (slope {self.slope:.3g}, intercept {self.intercept:+.3g})"


@dataclass(frozen=True)
class Isotonic(_Calibrator):
    """The nondecreasing map with the least squared error to the labels: linear between knots, constant outside them.

    >>> Isotonic(p=(0.25, 0.75), value=(0.0, 0.5))(np.array([0.0, 0.5, 0.9], np.float32))
    array([0.  , 0.25, 0.5 ], dtype=float32)
    """

    kind: ClassVar = "isotonic"
    p: tuple[float, ...]  # knots, ascending
    value: tuple[float, ...]  # at each of them

    def _apply(self, p: np.ndarray) -> np.ndarray:
        return np.interp(p, self.p, self.value)

    def __str__(self) -> str:
        return f"isotonic regression ({len(self.p)} knots)"


@dataclass(frozen=True)
class Sampling(_Calibrator):
    """The exact correction of pCTR for a log that kept only a share r (`kept`) of its un-clicked impressions.

    The full space of N impressions with CTR q has N q clicked and N (1 - q) un-clicked ones; the log has N q and
    N (1 - q) r. A pCTR learned on the log is therefore p = q / (q + (1 - q) r), which gives

        q = r p / (r p + 1 - p)

    The log has every clicked impression, so p(z | y, x) is the same in both: pCVR needs no correction, and
    pCTCVR = q * pCVR.

    >>> Sampling(kept=0.1)(np.array([0.5], np.float32))  # 1 clicked and 0.1 * 10 un-clicked: 1 of 11
    array([0.09090909], dtype=float32)
    """

    kind: ClassVar = "sampling"
    kept: float

    def _apply(self, p: np.ndarray) -> np.ndarray:
        return self.kept * p / (self.kept * p + (1 - p))


Calibrator = Temperature | Platt | Isotonic


def from_dict(about: dict[str, Any]) -> Calibrator:
    """The calibrator that `as_dict` described.

    >>> from_dict(Platt(1.5, -0.5).as_dict())
    Platt(slope=1.5, intercept=-0.5)
    """
    if about["kind"] == "temperature":
        return Temperature(about["slope"])
    if about["kind"] == "platt":
        return Platt(about["slope"], about["intercept"])
    return Isotonic(tuple(about["p"]), tuple(about["value"]))


def fit_calibrator(kind: FittedKind, p: np.ndarray, label: np.ndarray) -> Calibrator:
    """Fit a calibrator on held-out impressions. Shape: p float (N,), label bool (N,) with both classes.

    All kinds smooth the labels as Platt does: with P positives and N negatives a positive counts as
    (P + 1) / (P + 2) and a negative as 1 / (N + 2). So no calibrated probability is 0 or 1, and separable labels
    have a finite slope. The sum of labels changes by less than 2.

    Raises: ValueError if a class is missing; and of temperature and Platt, if a prediction exceeds 1 (DIVISION's pCVR),
    or if the slope would be negative, which would reverse the order of the predictions.
    """
    positives = int(np.count_nonzero(label))
    negatives = len(label) - positives
    if not positives or not negatives:
        raise ValueError(f"both classes must occur, however: {positives:,} positives of {len(label):,}")
    low, high = 1 / (negatives + 2), (positives + 1) / (positives + 2)
    fit = {"temperature": fit_temperature, "platt": fit_platt, "isotonic": fit_isotonic}[kind]
    return fit(p, label, low, high)


def fit_temperature(p: np.ndarray, label: np.ndarray, low: float, high: float) -> Temperature:
    """The slope with the least cross entropy, by Newton's method, starting at the identity.

    Shape: p float (N,), label bool (N,). A negative counts as `low`, a positive as `high`.
    """
    x = _checked_odds(p)
    scale = float(np.sqrt(np.mean(x * x)))
    if scale == 0:  # every prediction is 1/2, and no slope changes it
        return Temperature(1.0)
    target = np.where(label, high, low)
    at = _least_loss((x / scale)[None], target, np.array([scale]))
    return Temperature(_positive(float(at[0] / scale)))


def fit_platt(p: np.ndarray, label: np.ndarray, low: float, high: float) -> Platt:
    """The slope and intercept with the least cross entropy, by Newton's method (IRLS), starting at the identity.

    Shape: p float (N,), label bool (N,). A negative counts as `low`, a positive as `high`.
    """
    x = _checked_odds(p)
    target = np.where(label, high, low)
    # standardised, the slope and the intercept are nearly uncorrelated, so Newton's method converges in few steps
    centre, scale = float(x.mean()), float(x.std())
    if np.ptp(x) == 0:  # all predictions are equal: only the intercept can be fitted
        rate = float(target.mean())
        return Platt(1.0, float(logit(rate)) - centre)
    columns = np.stack([(x - centre) / scale, np.ones_like(x)])
    at = _least_loss(columns, target, np.array([scale, centre]))
    return Platt(_positive(float(at[0] / scale)), float(at[1] - at[0] * centre / scale))


def fit_isotonic(p: np.ndarray, label: np.ndarray, low: float, high: float) -> Isotonic:
    """Pool adjacent violators; equal predictions are one point. Shape: p float (N,), label bool (N,)."""
    from scipy.optimize import isotonic_regression

    points, inverse = np.unique(p.astype(np.float64), return_inverse=True)
    count = np.bincount(inverse)
    mean = np.bincount(inverse, weights=label) / count
    value = isotonic_regression(mean, weights=count).x
    # the two ends of each constant stretch describe the whole map
    ends = np.ones(len(points), bool)
    ends[1:-1] = (value[1:-1] != value[:-2]) | (value[1:-1] != value[2:])
    # smoothing is a linear map of the labels, so the fit to smoothed labels is the same linear map of this fit
    return Isotonic(tuple(points[ends].tolist()), tuple((low + (high - low) * value[ends]).tolist()))


def log_odds(p: np.ndarray) -> np.ndarray:
    """log p - log(1 - p), finite: a p of 0 or 1 counts as the most extreme value that float32 does not round to it.

    Shape: float64 (N,), at most 1.

    >>> log_odds(np.array([0.0, 0.5, 1.0])).round(1).tolist()
    [-103.3, 0.0, 17.3]
    """
    return np.log(np.maximum(p, LEAST[0])) - np.log(np.maximum(1 - p, LEAST[1]))


def losses(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The cross entropy of each impression: log(1 + exp(x)) - t x. Shape: log odds and targets, float64 (N,).

    >>> losses(np.array([0.0, 0.0]), np.array([1.0, 0.0])).round(3).tolist()
    [0.693, 0.693]
    """
    return np.logaddexp(0, x) - target * x


def _checked_odds(p: np.ndarray) -> np.ndarray:
    """Log odds. Shape: float (N,) -> float64 (N,). Raises: ValueError if a prediction exceeds 1."""
    if np.any(p > 1):
        raise ValueError(f"log odds need probabilities, however: {int((p > 1).sum()):,} of {len(p):,} exceed 1")
    return log_odds(p.astype(np.float64))


def _positive(slope: float) -> float:
    """The slope. Raises: ValueError if it is not positive."""
    if slope <= 0:
        raise ValueError(
            f"a calibrator must keep the order of predictions, however: its slope is {slope:.3g}, because "
            "impressions with higher predictions have fewer positives"
        )
    return slope


def _least_loss(columns: np.ndarray, target: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The coefficients with the least cross entropy, by Newton's method (IRLS).

    Shape: columns float64 (K, N), target float64 (N,), at float64 (K,), where it starts.
    """
    loss = losses(at @ columns, target).sum()
    for _ in range(100):
        q = expit(at @ columns)
        gradient, curvature = columns @ (q - target), (columns * (q * (1 - q))) @ columns.T
        curvature += np.diag(1e-12 * np.diag(curvature) + 1e-300)
        step = np.linalg.solve(curvature, gradient)
        while not (found := losses((at - step) @ columns, target).sum()) <= loss and np.abs(step).max() > 1e-12:
            step /= 2  # Newton's step went too far
        done = np.abs(step).max() <= 1e-9 * (1 + np.abs(at).max())
        at, loss = at - step, found
        if done:
            break
    return at
