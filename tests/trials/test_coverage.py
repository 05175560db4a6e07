"""Slow trials: 95 % intervals hold the truth in 93 to 97 of 100 draws.

Of 500 draws, the share is known to +- 1 point (one deviation).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import norm

from entirespace.metrics.auc import auc
from entirespace.metrics.bootstrap import Replicates, bootstrap
from entirespace.metrics.delong import Areas, delong
from entirespace.metrics.significance import Difference, Interval

pytestmark = [pytest.mark.trial, pytest.mark.timeout(1200)]
DRAWS = 500


def holds(found: object, truth: float) -> bool:
    """No interval is one that does not hold it."""
    return isinstance(found, Interval | Difference) and found.low <= truth <= found.high


def shown(title: str, held: Counter[str]) -> None:
    print(f"{title}: " + ", ".join(f"{name} {100 * count / DRAWS:.1f} %" for name, count in held.items()))


# AUC 0.64, as the paper's, and 0.76. Near 1 the intervals are too narrow: seen and told, not asked for.
@pytest.mark.parametrize("positives", [10, 20, 30, 200])
@pytest.mark.parametrize("shift", [0.5, 1.0, 2.5])
def test_independent_impressions(positives: int, shift: float) -> None:
    """Scores N(shift, 1) of positives and N(0, 1) of negatives: AUC is Phi(shift / sqrt 2)."""
    truth = float(norm.cdf(shift / 2**0.5))
    rng, held = np.random.default_rng(20_000 + positives), Counter[str]()
    label = np.arange(5000) < positives
    for _ in range(DRAWS):
        a = rng.normal(size=5000) + shift * label
        b = rng.normal(size=5000) + shift * label  # as good: their difference is 0
        found = delong([a, b], label)
        assert isinstance(found, Areas)
        held["logit"] += holds(found.interval(), truth)
        held["plain"] += holds(found.interval(scale="plain"), truth)
        held["difference"] += holds(found.difference(), 0)
    shown(f"{positives} positives, AUC {truth:.3f}", held)
    if shift <= 1:
        assert 0.93 <= held["logit"] / DRAWS <= 0.97
        assert 0.93 <= held["difference"] / DRAWS <= 0.97


def users(rng: np.random.Generator, count: int, base: float) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """20 impressions of each user, whose own mood is in labels and scores alike."""
    mood, seen = rng.normal(size=(count, 1)), rng.normal(size=(count, 20))
    label = rng.random((count, 20)) < 1 / (1 + np.exp(-base - 1.5 * mood - seen))
    a = seen + mood + rng.normal(size=(count, 20))
    b = 0.6 * seen + 0.3 * mood + rng.normal(size=(count, 20))
    return [a.ravel(), b.ravel()], label.ravel(), np.repeat(np.arange(count), 20)


@pytest.mark.parametrize("base", [-4.0, -6.5])
def test_impressions_of_300_users(base: float) -> None:
    """About 300 positives, or about 40: of users with a positive about 130, or 30."""
    scores, label, _ = users(np.random.default_rng(1), 300_000, base)
    truth = [float(auc(column, label)) for column in scores]  # pyright: ignore
    rng, held, positives, owners = np.random.default_rng(2), Counter[str](), 0, 0
    for _ in range(DRAWS):
        scores, label, user = users(rng, 300, base)
        naive, formula = delong(scores, label), delong(scores, label, user)
        again = bootstrap(scores, label, user, replicates=500, rng=rng)
        assert isinstance(naive, Areas)
        assert isinstance(formula, Areas)
        assert isinstance(again, Replicates)
        positives, owners = positives + formula.sample.positives, owners + formula.sample.with_positives
        for name, found in ("DeLong without users", naive), ("DeLong", formula), ("bootstrap", again):
            held[name] += holds(found.interval(), truth[0])
            held[f"{name}, difference"] += holds(found.difference(), truth[0] - truth[1])
        low, high = np.quantile(again.replicates[0], [0.025, 0.975])
        held["bootstrap's quantiles"] += bool(low <= truth[0] <= high)
    shown(f"{positives / DRAWS:.0f} positives of {owners / DRAWS:.0f} users, AUC {truth[0]:.3f}, {truth[1]:.3f}", held)
    for name in ("DeLong", "DeLong, difference", "bootstrap", "bootstrap, difference"):
        assert 0.93 <= held[name] / DRAWS <= 0.97, name
