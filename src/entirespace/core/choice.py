"""Which calibrator to use, if any: the simplest one that lowers the log loss of impressions that it was not fitted on.

Candidates are, the simplest first: none, temperature (one number), Platt (two). The impressions are cut into five
folds, and each candidate is fitted five times, on all but one fold, and measured on that fold. A candidate takes the
place of a simpler one only if its mean log loss is lower by more than one standard error of the paired difference.

Why a standard error, and not just lower: if the predictions are right, a fit still finds something. It lowers the log
loss of n impressions that it sees by c / 2 in all, where c is chi-square with k degrees of freedom, k being the numbers
that it fits; of impressions that it does not see, by about c / 2 - k, with a standard error of about sqrt(c). "Lower"
alone would choose temperature where c > 2, for 16 of 100 right models. One standard error needs c > 7.5 (k = 1) or
c > 10.5 (k = 2), which chance gives to about one in a hundred. What is given up is a gain of c / 2, or five nats in
all. Impressions of one user are alike, so chance is larger than this on a log: if it doubles c, temperature is chosen
for 5 of 100 right models.

Folds follow a hash of the position, so they depend on no label, also in a log that is sorted by its labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from .calibrators import ENOUGH, Platt, Temperature, fit_calibrator, log_odds, losses

Candidate = Literal["none", "temperature", "platt"]
CANDIDATES: tuple[Literal["temperature", "platt"], ...] = ("temperature", "platt")
"""After "none", the simplest first."""
NAMES = {"temperature": "temperature", "platt": "Platt scaling", "isotonic": "isotonic regression"}
FOLDS = 5
ERRORS = 1.0
"""The margin, in standard errors of the paired difference."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for one probability, and why.

    Attributes:
        chosen: the kind.
        impressions, positives: that it was chosen on.
        log_loss: the mean log loss over folds, by candidate; of those that could be fitted.
        refused: candidate -> why it could not be fitted.
    """

    chosen: Candidate
    impressions: int
    positives: int
    log_loss: Mapping[str, float] = field(default_factory=dict[str, float])
    refused: Mapping[str, str] = field(default_factory=dict[str, str])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the fields."""
        return asdict(self)

    def __str__(self) -> str:
        """The reason, without the name of the probability."""
        n = f"{self.positives:,} positives of {self.impressions:,}"
        tried = {NAMES[name]: loss for name, loss in self.log_loss.items() if name != "none"}
        numbers = ", ".join(f"{name} {loss:.6f}" for name, loss in tried.items())
        of = f"log loss over {FOLDS} folds of the validation part, {n}"
        reasons = "; ".join(f"{NAMES[name]}: {why}" for name, why in self.refused.items())
        also = f" ({reasons})" if tried and reasons else ""
        if self.chosen != "none":
            return f"it lowers the {of}: as it is {self.log_loss['none']:.6f}, {numbers}{also}"
        if tried:
            return f"nothing lowers the {of}, beyond chance: as it is {self.log_loss['none']:.6f}, {numbers}{also}"
        return f"{n}: {reasons}" if len({*self.refused.values()}) > 1 else f"{n}: {next(iter(self.refused.values()))}"


def choose(p: np.ndarray, label: np.ndarray, fold: np.ndarray) -> tuple[Temperature | Platt | None, Choice]:
    """The calibrator to use, or None; and why.

    Shape: p float (N,), label bool (N,), fold int (N,), as of `folds`. It raises nothing: what cannot be fitted, such
    as a pCVR above 1, is not used.
    """
    n, positives = len(label), int(np.count_nonzero(label))
    refused: dict[str, str] = {}
    if np.any(p > 1):
        why = f"{int((p > 1).sum()):,} of the predictions exceed 1, so they are no probabilities and have no log odds"
        return None, Choice("none", n, positives, refused=dict.fromkeys(CANDIDATES, why))
    fitted: dict[str, Temperature | Platt] = {}
    x = log_odds(p.astype(np.float64))
    target = label.astype(np.float64)
    of = {"none": losses(x, target)}
    best: Candidate = "none"
    for kind in CANDIDATES:
        least = ENOUGH[kind]
        if min(positives, n - positives) < least:
            refused[kind] = f"it needs {least} positives and {least} negatives"
            continue
        try:
            fitted[kind] = _fit(kind, p, label)
            of[kind] = _losses_over_folds(kind, p, x, label, fold)
        except ValueError as error:
            refused[kind] = str(error)
            continue
        if _is_lower(of[kind], of[best]):
            best = kind
    chosen = Choice(best, n, positives, {name: float(loss.mean()) for name, loss in of.items() if n}, refused)
    return fitted.get(best), chosen


def folds(n: int) -> np.ndarray:
    """The fold of each of n impressions, 0 to 4: a hash of its position (splitmix64). Shape: -> int8 (n,).

    >>> np.bincount(folds(100_000)).tolist()
    [20115, 19759, 20022, 19967, 20137]
    """
    h = (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((h ^ (h >> np.uint64(31))) % np.uint64(FOLDS)).astype(np.int8)


def _losses_over_folds(
    kind: Literal["temperature", "platt"], p: np.ndarray, x: np.ndarray, label: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """The cross entropy of each impression under the calibrator of the other folds. Shape: (N,) each.

    Raises: ValueError if one of them cannot be fitted.
    """
    out = np.empty(len(x))
    for i in range(FOLDS):
        held = fold == i
        if held.any():
            found = _fit(kind, p[~held], label[~held])
            out[held] = losses(found.odds(x[held]), label[held])
    return out


def _fit(kind: Literal["temperature", "platt"], p: np.ndarray, label: np.ndarray) -> Temperature | Platt:
    found = fit_calibrator(kind, p, label)
    assert isinstance(found, Temperature | Platt)
    return found


def _is_lower(candidate: np.ndarray, than: np.ndarray) -> bool:
    """Whether losses are lower than others of the same impressions by more than the margin. Shape: float64 (N,)."""
    gain = than - candidate
    return bool(gain.mean() > ERRORS * gain.std(ddof=1) / np.sqrt(len(gain)))
