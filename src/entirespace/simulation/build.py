"""Makes a simulated world from a seed; its constants are fitted on a pilot sample of its impressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import expit

from entirespace.errors import ConfigError
from entirespace.simulation.history import Catalogue
from entirespace.simulation.world import (
    FACTORS,
    SCENARIO_CDF,
    SCORES,
    SLOT_CDF,
    SLOTS,
    TASTES,
    Sizes,
    World,
    stream,
)

PILOT = 1 << 17  # impressions to fit the intercepts on: a rate of 4 % is met to about 0.3 % of itself
PILOT_SESSIONS = 1000  # at most, to fit the length of histories on: it is met to about 3 % of itself

# For each profile field of a user: how many values it has, as in Ali-CCP, and the deviation of their effects.
PROFILE = {
    "profile": (97, 0.35), "group": (13, 0.25), "gender": (2, 0.25), "age": (7, 0.3),
    "grade": (3, 0.2), "level": (3, 0.2), "occupation": (2, 0.15), "geography": (4, 0.15),
}  # fmt: skip
TOGETHER = ("profile", "group", "gender", "age", "level", "occupation")  # all known or all missing
UNKNOWN, NO_GRADE, NO_GEOGRAPHY = 0.134, 0.588, 0.372  # shares of Ali-CCP's common lines without them
NO_BRAND = 0.274  # share of Ali-CCP's impressions without a brand


def build(
    seed: int, users: int, items: int, click_rate: float, conversion_rate: float, bias: float,
    drift: float, history: float,
) -> World:  # fmt: skip
    """Make the world that `simulate` draws from: first users and items, then the fitted constants.

    Raises:
        ConfigError: this world cannot have such rates or such a mean history length.
    """
    rng = stream(seed, 0)
    categories = min(items // 4, max(20, items // 100, int(4 * history)))
    tastes = rng.standard_normal((TASTES, SCORES, FACTORS))
    of_category = rng.standard_normal((categories, SCORES, 1 + FACTORS))
    catalogue, sizes = _catalogue(rng, users, items, tastes, of_category[:, :, 1:])
    interests, profile, user_latent = _people(rng, users, tastes)
    world = World(
        seed=seed, sizes=sizes, catalogue=catalogue,
        item_latent=_item_latent(rng, catalogue, sizes, of_category), user_latent=user_latent,
        slope=(0.5 * rng.standard_normal((categories, SCORES))).astype(np.float32),
        scenario=(0.25 * rng.standard_normal((len(SCENARIO_CDF), SCORES))).astype(np.float32),
        interests=interests, profile=profile, appetite=rng.gamma(2.0, 0.5, users),
        drift=drift, share=bias / (1 + bias),
    )  # fmt: skip
    return _with_intercepts(_with_actions(world, history), click_rate, conversion_rate)


def _zipf(n: int) -> np.ndarray:
    """Popularity 1 / (rank + 3), summing to 1; the 3 keeps the first item from dominating. float64 (n,)."""
    p = 1.0 / np.arange(3, n + 3)
    return p / p.sum()


def _catalogue(
    rng: np.random.Generator, users: int, items: int, tastes: np.ndarray, factors: np.ndarray
) -> tuple[Catalogue, Sizes]:
    """Items in categories; each shop and brand belongs to one category; an item has up to four intentions."""
    n = len(factors)
    number = 1 + np.floor((items - n) * _zipf(n) ** 0.8 / (_zipf(n) ** 0.8).sum()).astype(np.int64)
    number[0] += items - number.sum()
    category = np.repeat(np.arange(n), number)

    def within(size: np.ndarray) -> np.ndarray:
        """For each item one of the `size` shops (brands, intentions) of its category, a few of them popular."""
        first = np.cumsum(size) - size
        return (first[category] + np.floor(size[category] * rng.random(items) ** 2)).astype(np.int32)

    shops, brands, intentions = np.maximum(number // 8, 1), np.maximum(number // 20, 1), 4 + number // 40
    shop = within(shops)
    brand = np.where(rng.random(items) < NO_BRAND, np.int32(-1), within(brands))
    # one to four intentions, distinct because a category has at least four
    first = np.cumsum(intentions) - intentions
    several = within(intentions)[:, None] - first[category, None] + np.arange(4)
    several = (first[category, None] + several % intentions[category, None]).astype(np.int32)
    several[np.arange(4) >= rng.integers(1, 5, items)[:, None]] = -1
    several[rng.random(items) < 0.0003] = -1  # in Ali-CCP 266 in a million have none
    # users see more of what they like: P(category | taste) is popularity, weighted by the match of the factors
    match = np.einsum("tfk,cfk->tc", tastes, factors) / (SCORES * FACTORS) ** 0.5
    tilted = np.concatenate([_zipf(n) * np.exp(1.5 * match), _zipf(n)[None]])
    cdf = np.cumsum(tilted, axis=1)
    cdf = cdf / cdf[:, -1:] + np.arange(TASTES + 1)[:, None]
    catalogue = Catalogue(
        cdf.ravel(), np.concatenate([[0], np.cumsum(number)]), category.astype(np.int32), shop, brand, several
    )
    return catalogue, Sizes(users, items, n, int(shops.sum()), int(brands.sum()), int(intentions.sum()))


def _item_latent(rng: np.random.Generator, catalogue: Catalogue, sizes: Sizes, of_category: np.ndarray) -> np.ndarray:
    """Main effects and factors of items: mostly from the category, then from shop, brand, intention and item."""

    def effect(n: int, sd: float) -> np.ndarray:
        """Effects of n values, followed by zeros for "none"."""
        drawn = rng.standard_normal((n + 1, SCORES, 1 + FACTORS), dtype=np.float32) * np.float32(sd)
        drawn[-1] = 0
        return drawn

    own = rng.standard_normal((sizes.items, SCORES, 1 + FACTORS), dtype=np.float32) * np.float32(0.4)
    own += (0.7 * of_category).astype(np.float32)[catalogue.category]
    own += effect(sizes.shops, 0.35)[catalogue.shop]
    own += effect(sizes.brands, 0.4)[catalogue.brand]
    own += effect(sizes.intentions, 0.25)[catalogue.intentions[:, 0]]
    latent = np.ones((sizes.items, SCORES, 2 + FACTORS), np.float32)
    latent[:, :, 1] = 0.65 * own[:, :, 0]
    latent[:, :, 2:] = 0.5 / FACTORS**0.5 * own[:, :, 1:]
    return latent


def _people(
    rng: np.random.Generator, users: int, tastes: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Interests, visible profiles and latent factors of users; interests and profile explain most of the factors."""
    interests = rng.choice(TASTES, (users, SLOTS), p=_zipf(TASTES)).astype(np.int16)
    weight = np.diff(SLOT_CDF, prepend=0)
    weight /= (weight**2).sum() ** 0.5
    latent = rng.standard_normal((users, SCORES, 1 + FACTORS)) * 0.4
    for slot in range(SLOTS):
        latent[:, :, 1:] += 0.7 * weight[slot] * tastes[interests[:, slot]]
    profile = {}
    for name, (n, sd) in PROFILE.items():
        value = rng.choice(n, users, p=_zipf(n))
        latent += sd * rng.standard_normal((n, SCORES, 1 + FACTORS))[value]
        profile[name] = value.astype(np.int32)
    unknown, no_grade, no_geography = rng.random((3, users)) < [[UNKNOWN], [NO_GRADE], [NO_GEOGRAPHY]]
    for name in PROFILE:
        hidden = unknown if name in TOGETHER else no_grade if name == "grade" else no_geography
        profile[name][hidden] = -1
    out = np.ones((users, SCORES, 2 + FACTORS), np.float32)
    out[:, :, 0] = 0.6 * latent[:, :, 0]
    out[:, :, 2:] = latent[:, :, 1:]
    return interests, profile, out


def _with_intercepts(world: World, click_rate: float, conversion_rate: float) -> World:
    """Standardise the three scores, and find alpha and beta, on a pilot sample of impressions."""
    rng = stream(world.seed, 1)
    t = rng.random(PILOT)
    user = world.draw_user(rng, PILOT)
    item = world.draw_item(rng, user, t)
    scenario = np.searchsorted(SCENARIO_CDF, rng.random(PILOT), side="right")
    raw = world.scores(user, item, scenario, t)
    unmix = np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    world = replace(world, mean=tuple(raw.mean(axis=0).tolist()), unmix=unmix)
    click, conversion = world.logits(world.scores(user, item, scenario, t), t)
    alpha = _solve(lambda a: expit(a + click).mean(), click_rate, "click_rate")
    pctr = expit(alpha + click)
    pctr /= pctr.sum()
    beta = _solve(lambda b: (pctr * expit(b + conversion)).sum(), conversion_rate, "conversion_rate")
    return replace(world, alpha=alpha, beta=beta)


def _solve(mean_at: Callable[[float], float], rate: float, name: str) -> float:
    """The intercept at which the increasing function `mean_at` equals `rate`, by bisection.

    Raises:
        ConfigError: no intercept within +-30 gives this rate.
    """
    low, high = -30.0, 30.0
    if not mean_at(low) < rate < mean_at(high):
        raise ConfigError(f"{name} must be between 1e-12 and 1 - 1e-12", repr(rate), where="simulate")
    for _ in range(26):  # the intercept to 1e-6, so the rate to a millionth of itself
        middle = (low + high) / 2
        low, high = (middle, high) if mean_at(middle) < rate else (low, middle)
    return (low + high) / 2


def _with_actions(world: World, history: float) -> World:
    """Find the mean number of past actions that gives `history` distinct ids per bag, averaged over the four bags."""
    n = int(min(PILOT_SESSIONS, max(100, 20_000 / history)))
    rng = stream(world.seed, 3)
    t = rng.random(n)
    user = world.draw_user(rng, n)
    nothing, bounds = np.zeros(0, np.int64), np.zeros(n + 1, np.int64)
    world = replace(world, actions=history)
    most = 30 * history if history < sum(world.sizes[2:]) / 4 else 0  # a bag cannot hold more ids than exist
    for _ in range(60):  # each further action adds fewer new ids, so this approaches the solution from below
        if world.actions > most:
            raise ConfigError(
                "history must be small enough for the number of items",
                f"{history:g} ids per bag, {world.sizes.items} items in {world.sizes.categories} categories",
                where="simulate",
                do="ask for more items or a shorter history",
            )
        ids = world.past(user, t, bounds, nothing).offsets[:, -1].mean() / n
        if abs(ids / history - 1) < 0.005:
            break
        world = replace(world, actions=world.actions * history / max(ids, 0.1 * history))
    return world  # after 60 rounds: there are so few users that the mean changes in steps of more than 0.5 %
