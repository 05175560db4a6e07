"""The strength of the back-off has the largest beta-binomial likelihood, as scipy gives it."""

from __future__ import annotations

import numpy as np
import pytest
from history_logs import ids_of, prepared, random_log, read
from scipy.special import betaln
from scipy.stats import betabinom

from entirespace.features.history.strength import STRONGEST, WEAKEST, fit_strength
from entirespace.kernels.tally import beta_binomial

GRID = np.geomspace(WEAKEST, STRONGEST, 400)


def drawn(strength: float, n: int, trials: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    parent, tried = rng.uniform(0.02, 0.5, n), rng.integers(0, trials, n).astype(float)
    rates = rng.beta(strength * parent, strength * (1 - parent))
    return rng.binomial(tried.astype(int), rates).astype(float), tried, parent


@pytest.mark.parametrize("trials", [4, 12, 13, 300])
@pytest.mark.parametrize("strength", [1.0, 3.7, 250.0, 1e6])
def test_the_likelihood_is_that_of_scipy(trials, strength):
    hits, tried, parent = drawn(5, 500, trials, 0)
    a, b = strength * parent, strength * (1 - parent)
    expected = float((betaln(a + hits, b + tried - hits) - betaln(a, b)).sum())
    assert beta_binomial(hits, tried, parent, strength) == pytest.approx(expected, rel=1e-7, abs=1e-5)
    full = betabinom.logpmf(hits, tried, a, b).sum() - betabinom.logpmf(hits, tried, *(x * 3 for x in (a, b))).sum()
    mine = beta_binomial(hits, tried, parent, strength) - beta_binomial(hits, tried, parent, 3 * strength)
    assert mine == pytest.approx(float(full), rel=1e-6, abs=1e-4)
    half = beta_binomial(hits / 2, tried / 2, parent, strength)  # counts that decayed are not whole
    assert half == pytest.approx(float((betaln(a + hits / 2, b + (tried - hits) / 2) - betaln(a, b)).sum()), rel=1e-7)


@pytest.mark.parametrize(("strength", "trials"), [(2, 6), (20, 40), (20, 400), (300, 1000)])
def test_the_fitted_strength_is_the_best_of_a_grid_and_near_to_the_true_one(strength, trials):
    hits, tried, parent = drawn(strength, 4000, trials, 1)
    found = fit_strength(hits, tried, parent)
    best = max(beta_binomial(hits, tried, parent, s) for s in GRID)
    assert beta_binomial(hits, tried, parent, found) > best - 0.02
    assert found == pytest.approx(strength, rel=0.2)


def test_ids_that_do_not_differ_or_were_not_tried_say_nothing():
    tried = np.full(3000, 50.0)
    assert fit_strength(np.full(3000, 10.0), tried, np.full(3000, 0.2)) == pytest.approx(STRONGEST, rel=0.02)
    assert fit_strength(np.zeros(5), np.zeros(5), np.full(5, 0.2)) == STRONGEST
    assert fit_strength(np.zeros(0), np.zeros(0), np.zeros(0)) == STRONGEST


def test_a_log_has_the_best_strengths_for_what_each_variant_knows(tmp_path):
    rows = random_log(400, seed=3)
    data = prepared(tmp_path, rows)
    history, got, ids = data.encoders.history, read(data), [ids_of(row) for row in rows]
    assert history is not None
    parts = {row["t"]: got[row["t"]][:2] for row in rows}
    last = history.variants - 1
    for variant in (0, 3, history.spec.folds, last):
        known = [
            i
            for i, (part, fold) in enumerate(parts.values())
            if variant == last or (part == "train" and fold != variant)
        ]
        for name in ("page", "slot"):
            tried = {of_row[name][0]: 0.0 for of_row in ids}
            hits = dict(tried)
            for i in known:
                tried[ids[i][name][0]] += 1
                hits[ids[i][name][0]] += rows[i]["y"]
            mean = np.full(len(tried), (sum(hits.values()) + 0.5) / (sum(tried.values()) + 1))
            counts = np.array(list(hits.values())), np.array(list(tried.values())), mean
            likelihoods = [beta_binomial(*counts, s) for s in GRID]
            found = history.strengths[(name,)][variant, 0]
            assert beta_binomial(*counts, found) > max(likelihoods) - 0.02
    assert any(1.5 < s[-1, 0] < 1e5 for s in history.strengths.values())
