"""Base rates that moved between the training and the validation part, which calibrators follow."""

from __future__ import annotations

import math

from ..core.labels import Counts

LEAST = 0.05
"""A smaller change, relative to the rate of the training part, is not named."""
LEVEL = 0.01
"""Of the two-sided test that both parts have one rate. Impressions of one user are alike, so the level is small."""


def moved_rates(train: Counts, validation: Counts) -> tuple[str, ...]:
    """A warning if the CTR, or the CVR of clicked impressions, of the validation part is not that of the training part.

    It has moved if it differs by more than LEAST of itself and by more than chance.

    >>> moved_rates(Counts(1000, {"click": 100, "conversion": 10}), Counts(100, {"click": 9, "conversion": 1}))
    ()
    """
    rates = {
        "CTR": ((train["click"], train.impressions), (validation["click"], validation.impressions)),
        "CVR of clicks": ((train["conversion"], train["click"]), (validation["conversion"], validation["click"])),
    }
    moved = [
        f"the {name} is {percent(*before)} in the training part and {percent(*now)} in the validation part"
        for name, (before, now) in rates.items()
        if differ(*before, *now, least=LEAST)
    ]
    if not moved:
        return ()
    return (
        f"A base rate moved: {', and '.join(moved)}. Calibrators follow the validation part, so predictions are right "
        "only as long as that rate stays: calibrate again when later outcomes are known.",
    )


def differ(events: int, trials: int, others: int, other_trials: int, *, least: float) -> bool:
    """Whether two rates differ by more than `least` of the first, and by more than chance.

    Chance: the two-proportion z test, two-sided, at LEVEL.
    """
    if not trials or not other_trials:
        return False
    a, b = events / trials, others / other_trials
    pooled = (events + others) / (trials + other_trials)
    error = math.sqrt(pooled * (1 - pooled) * (1 / trials + 1 / other_trials))
    return abs(b - a) > least * a and math.erfc(abs(b - a) / (error * math.sqrt(2))) < LEVEL


def percent(events: int, trials: int) -> str:
    """A rate as text.

    >>> percent(3, 400)
    '0.75 %'
    """
    return f"{100 * events / trials:.3g} %"
