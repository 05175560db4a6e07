"""Which impressions each method learns from, and where its intercepts start."""

from __future__ import annotations

import numpy as np
import pytest
import support

from entirespace.errors import ConfigError
from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, UNBIAS, Counts, Method

Y = np.array([1, 1, 0, 0, 1, 0], bool)
Z = np.array([0, 1, 0, 0, 0, 0], bool)
COUNTS = Counts(9_999, {"click": 399, "conversion": 19})


def times(method: Method, y: np.ndarray = Y, z: np.ndarray = Z, seed: int = 0) -> np.ndarray:
    return method.samples(support.labels(y, z), np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("method", "by_hand"),
    [
        (BASE(), [1, 1, 0, 0, 1, 0]),
        (UNBIAS(), [1, 1, 0, 0, 1, 0]),
        (AMAN(rate=0.0), [1, 1, 0, 0, 1, 0]),
        (AMAN(rate=1.0), [1, 1, 1, 1, 1, 1]),
        (OVERSAMPLING(copies=1), [1, 1, 0, 0, 1, 0]),
        (OVERSAMPLING(copies=5), [1, 5, 0, 0, 1, 0]),
        (DIVISION(), [1, 1, 1, 1, 1, 1]),
        (ESMM(share_embedding=False), [1, 1, 1, 1, 1, 1]),
        (ESMM(), [1, 1, 1, 1, 1, 1]),
        (CTR(), [1, 1, 1, 1, 1, 1]),
    ],
    ids=lambda value: value.label if isinstance(value, Method) else None,
)
def test_samples_by_hand(method: Method, by_hand: list[int]) -> None:
    for seed in range(20):
        came = times(method, seed=seed)
        assert came.tolist() == by_hand
        assert came.dtype.kind == "i"


def test_aman_samples_the_unclicked_at_its_rate_from_the_generator() -> None:
    y = np.arange(100_000) % 4 == 0
    z = np.zeros(len(y), bool)
    came = times(AMAN(rate=0.2), y, z)
    assert (came[y] == 1).all()
    assert set(came[~y].tolist()) == {0, 1}
    assert came[~y].mean() == pytest.approx(0.2, abs=0.006)  # 75,000 draws: 4 deviations
    assert (came == times(AMAN(rate=0.2), y, z)).all()
    assert (came != times(AMAN(rate=0.2), y, z, seed=1)).any()
    rng = np.random.default_rng(0)
    first, second = (AMAN(rate=0.2).samples(support.labels(y, z), rng) for _ in range(2))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("method", "by_hand"),
    [
        (BASE(), {"cvr": 19.5 / 400}),
        (UNBIAS(), {"cvr": 19.5 / 400}),
        (AMAN(rate=0.5), {"cvr": 19.5 / (399 + 4_800 + 1)}),
        (OVERSAMPLING(copies=3), {"cvr": 57.5 / (380 + 57 + 1)}),
        (DIVISION(), {"ctr": 399.5 / 10_000, "ctcvr": 19.5 / 10_000}),
        (ESMM(), {"ctr": 399.5 / 10_000, "cvr": 19.5 / 400}),
        (CTR(), {"ctr": 399.5 / 10_000}),
    ],
    ids=lambda value: value.label if isinstance(value, Method) else None,
)
def test_base_rates_by_hand(method: Method, by_hand: dict[str, float]) -> None:
    assert method.base_rates(COUNTS) == pytest.approx(by_hand)
    assert tuple(by_hand) == method.heads


@pytest.mark.parametrize("method", [BASE(), AMAN(), OVERSAMPLING(), UNBIAS(), DIVISION(), ESMM(), CTR()])
@pytest.mark.parametrize("counts", [(0, 0, 0), (10, 10, 10), (10, 0, 0)])
def test_base_rates_are_never_0_or_1(method: Method, counts: tuple[int, int, int]) -> None:
    impressions, clicks, conversions = counts
    rates = method.base_rates(Counts(impressions, {"click": clicks, "conversion": conversions}))
    assert all(0 < rate < 1 for rate in rates.values())


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), True, "half"])
def test_aman_refuses_an_invalid_rate(rate) -> None:
    with pytest.raises(ConfigError, match="AMAN's rate must be a share from 0 to 1"):
        AMAN(rate=rate)


@pytest.mark.parametrize("copies", [0, -1, 2.5, True, "two"])
def test_oversampling_refuses_invalid_copies(copies) -> None:
    with pytest.raises(ConfigError, match="OVERSAMPLING's copies must be a whole number of at least 1"):
        OVERSAMPLING(copies=copies)


@pytest.mark.parametrize("floor", [0.0, -1, 1.1, float("nan"), True, "low"])
def test_unbias_refuses_an_invalid_floor(floor) -> None:
    with pytest.raises(ConfigError, match="UNBIAS's floor must be a probability above 0"):
        UNBIAS(floor=floor)


def test_esmm_refuses_a_share_embedding_that_is_not_a_bool() -> None:
    with pytest.raises(ConfigError, match="must be true or false, however: 1"):
        ESMM(share_embedding=1)  # type: ignore[arg-type]
