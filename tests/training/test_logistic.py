"""The logistic regression equals scikit-learn's, and gives finite numbers for any samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from entirespace.methods._method import Penalty
from entirespace.training import logistic
from entirespace.training.logistic import FOLDS, NotFinite, Samples, Solution


def made(n: int = 3000, columns: int = 5, seed: int = 0, base: float = -2.0) -> Samples:
    """Samples whose label depends on some of their numbers, which have different means and scales."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, columns))
    z[:, 1] = 0.95 * z[:, 0] + 0.3 * z[:, 1]
    odds = base + z @ np.linspace(1.0, -0.5, columns)
    x = (z * np.linspace(0.1, 8, columns) + np.linspace(-50, 3, columns)).astype(np.float32)
    return Samples(x, rng.random(n) < expit(odds), rng.integers(0, 4, n).astype(np.float32))


def solve(samples: Samples, c: Penalty = 0.01, size: int = 700) -> Solution:
    """The solution for chunks of samples."""

    def read():
        for start in range(0, len(samples.x), size):
            yield Samples(*(None if a is None else a[start : start + size] for a in samples))

    return logistic.solve(read, samples.x.shape[1], c)


def by_scikit_learn(samples: Samples, c: float) -> tuple[np.ndarray, float]:
    model = pytest.importorskip("sklearn.linear_model")
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler
    x, weight = samples.x.astype(np.float64), samples.weight
    z = scaler().fit(x, sample_weight=weight).transform(x)
    found = model.LogisticRegression(C=c, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    found.fit(z, samples.y, sample_weight=weight)
    return found.coef_[0], found.intercept_[0]


@pytest.mark.parametrize("c", [0.01, 10.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_equals_scikit_learns(c: float, weighted: bool) -> None:
    samples = made() if weighted else made()._replace(weight=None)
    found = solve(samples, c)
    weight, intercept = by_scikit_learn(samples, c)
    np.testing.assert_allclose(found.weight, weight, atol=1e-8)
    assert found.intercept == pytest.approx(intercept, abs=1e-8)


def gradient(found: Solution, samples: Samples) -> np.ndarray:
    """Of the objective, in numpy, one sum over all samples: the weights, then the intercept."""
    weight = np.ones(len(samples.x)) if samples.weight is None else samples.weight.astype(np.float64)
    scale = np.where(found.scale > 0, found.scale, np.inf)
    z = (samples.x.astype(np.float64) - found.mean) / scale
    wrong = weight * (expit(z @ found.weight + found.intercept) - samples.y)
    return np.append(z.T @ wrong + found.weight / found.c, wrong.sum())


def test_the_gradient_is_zero_also_if_the_samples_are_read_again(monkeypatch) -> None:
    samples = made()
    found = solve(samples)
    assert np.abs(gradient(found, samples)).max() < 1e-6
    monkeypatch.setattr(logistic, "MEMORY", 0)  # read again in each pass
    streamed = solve(samples, size=300)
    np.testing.assert_allclose(streamed.weight, found.weight, atol=1e-10)
    np.testing.assert_array_equal(found.log_odds(samples.x), solve(samples).log_odds(samples.x))


def test_a_weight_counts_as_copies() -> None:
    samples = made()
    copies = np.repeat(np.arange(len(samples.x)), samples.weight.astype(int))
    copied = Samples(samples.x[copies], samples.y[copies])
    found, expected = solve(samples), solve(copied)
    np.testing.assert_allclose(found.weight, expected.weight, atol=1e-9)
    np.testing.assert_allclose([found.mean, found.scale], [expected.mean, expected.scale], rtol=1e-9)


X = np.arange(40, dtype=np.float32).reshape(20, 2)
ODD = np.arange(20) % 2 == 1


@pytest.mark.parametrize(
    ("x", "y", "intercept"),
    [
        (X, np.zeros(20, bool), np.log(0.5 / 20.5)),
        (X, np.ones(20, bool), np.log(20.5 / 0.5)),
        (X[:0], ODD[:0], 0.0),
        (X[:1], ODD[:1], np.log(0.5 / 1.5)),
        (X[:, :0], np.arange(20) < 5, np.log(5 / 15)),  # no numbers
        (np.full_like(X, 0.1), np.arange(20) < 5, np.log(5 / 15)),  # constant numbers
    ],
    ids=["no positives", "all positive", "no samples", "one sample", "no numbers", "constant numbers"],
)
def test_without_anything_to_learn_the_weights_are_zero(x, y, intercept) -> None:
    found = solve(Samples(x, y))
    assert not found.weight.any()
    assert found.intercept == pytest.approx(intercept, abs=1e-9)
    assert np.isfinite(found.log_odds(X[:, : x.shape[1]])).all()


@pytest.mark.parametrize("c", [1e-4, 0.01, 1e6])
def test_separable_and_collinear_numbers_have_finite_weights(c: float) -> None:
    y = np.arange(20) >= 10  # the numbers tell the label
    x = np.concatenate([X, X, np.full((20, 1), 3.3, np.float32)], axis=1)  # the same columns twice, and a constant
    found = solve(Samples(x, y), c)
    assert np.isfinite(found.weight).all()
    assert np.isfinite(found.intercept)
    np.testing.assert_allclose(found.weight[:2], found.weight[2:4], rtol=1e-3)
    assert found.weight[0] > 0
    assert found.weight[4] == 0.0
    if c <= 0.01:
        np.testing.assert_allclose(found.weight[:4], by_scikit_learn(Samples(x, y), c)[0][:4], atol=1e-8)


def test_samples_of_weight_zero_are_absent() -> None:
    samples = made(500)
    wild = Samples(np.full((9, 5), 1e6, np.float32), np.ones(9, bool), np.zeros(9, np.float32))
    both = Samples(*(np.concatenate([a, b]) for a, b in zip(samples[:3], wild[:3], strict=True)))
    np.testing.assert_allclose(solve(both).weight, solve(samples).weight, atol=1e-9)


def test_a_number_that_is_not_finite_is_an_error() -> None:
    for value in (np.nan, np.inf):
        samples = made(50)
        samples.x[7, 3] = value
        samples.weight[7] = 1
        with pytest.raises(NotFinite) as error:
            solve(samples)
        assert error.value.column == 3


def test_cross_validation_finds_a_weak_penalty_for_much_signal_and_a_strong_one_for_none() -> None:
    n = 4000
    folds = np.arange(n) % FOLDS
    signal = made(n)._replace(weight=None, fold=folds)
    assert solve(signal, "cv").c >= 0.1
    rng = np.random.default_rng(3)
    noise = Samples(rng.standard_normal((n, 30)).astype(np.float32), rng.random(n) < 0.05, None, folds)
    found = solve(noise, "cv")
    assert found.c <= 0.001
    np.testing.assert_array_equal(found.weight, solve(noise, found.c).weight)


def test_a_column_that_hardly_varies_is_not_blown_up() -> None:
    """With `least` it is divided by that, as in a regression on numbers that were divided by hand."""
    rng = np.random.default_rng(4)
    x = (rng.standard_normal((500, 3)) * [1.0, 1e-4, 0.0]).astype(np.float32)
    samples = Samples(x, rng.random(500) < 0.3)
    found = logistic.solve(lambda: [samples], 3, 0.01, least=0.3)
    deviation = x.astype(np.float64).std(axis=0)
    np.testing.assert_allclose(found.scale, [deviation[0], 0.3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(gradient(found, samples), 0, atol=1e-9)
    assert abs(found.weight[1]) < 1e-3 < abs(logistic.solve(lambda: [samples], 3, 0.01).weight[1])
