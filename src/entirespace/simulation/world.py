"""The simulated world: users, items and scenarios, and the pCTR and pCVR of an impression.

An impression x has three independent scores: S (shared), C (clicks only) and V (conversions only). Each is the sum
of main effects of user, item and scenario, a low-rank match of user taste and item factors, and a season:

    score_f(x) = a_f(user) + b_f(item) + c_f(scenario) + <u_f, v_f> + drift * slope_f(category) * (2t - 1)

where t, from 0 to 1, is the position in the log. The scores are standardised together on a pilot sample of
impressions (mean 0, variance 1, no correlation). With share = bias / (1 + bias)

    logit pCTR = alpha + 0.95 (sqrt(share) S + sqrt(1 - share) C) + drift * (1/2 - t)
    logit pCVR = beta  + 1.05 (sqrt(share) S + sqrt(1 - share) V)

so `share` is the correlation of the two logits, apart from the slow fall of pCTR over the log, which pCVR does not
have. `build` makes a world and finds alpha and beta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from entirespace.simulation.history import Catalogue, Past, histories, match, revisited

SCORES, FACTORS = 3, 4  # shared, clicks only, conversions only; factors of each score
TASTES, SLOTS = 32, 3  # number of interests in the world, and of each user
SLOT_CDF = np.array([0.55, 0.85, 1.0])  # cumulative shares of a user's actions that follow each of its interests
EXPLORE = 0.25  # share of actions that follow overall popularity instead of the user's interests
REVISIT = 0.2  # share of impressions that show an item of the user's own past
ITEM_SKEW = 1 / (1 - 0.6)  # Zipf: P(rank < r) = (r / n) ** 0.4 within a category, so P(r) ~ r ** -0.6
USER_SKEW = 1 / (1 - 0.5)  # the same for the activity of users
SD_CLICK, SD_CONVERSION = 0.95, 1.05  # the true probabilities have an AUC of about Phi(sd / sqrt 2) = 0.75 and 0.77
SCENARIO_CDF = np.array([0.6, 0.9, 1.0])
HABITS = (SLOT_CDF, EXPLORE, ITEM_SKEW)
RENEWAL = 0.5  # share of a user's history that is new by the end of the log


class Sizes(NamedTuple):
    """How many users, items, ... the world has."""

    users: int
    items: int
    categories: int
    shops: int
    brands: int
    intentions: int


@dataclass(frozen=True)
class World:
    """Everything that is fixed for a log. Memory: about 100 bytes per item and 100 per user."""

    seed: int
    sizes: Sizes
    catalogue: Catalogue
    item_latent: np.ndarray  # float32 (items, 3, 2 + FACTORS): 1, main effect, factors
    user_latent: np.ndarray  # float32 (users, 3, 2 + FACTORS): main effect, 1, factors
    slope: np.ndarray  # float32 (categories, 3)
    scenario: np.ndarray  # float32 (scenarios, 3)
    interests: np.ndarray  # int16 (users, SLOTS)
    profile: dict[str, np.ndarray]  # int32 (users,), -1: unknown
    appetite: np.ndarray  # float64 (users,): size of a user's history, mean 1
    drift: float
    share: float
    actions: float = 0.0  # mean number of past actions of a user
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    unmix: np.ndarray | None = None  # float64 (3, 3): standardised scores = (scores - mean) @ unmix
    alpha: float = 0.0
    beta: float = 0.0

    def draw_user(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Random users; active users are drawn more often. Shape: int64 (n,)."""
        return (self.sizes.users * rng.random(n) ** USER_SKEW).astype(np.int64)

    def draw_item(self, rng: np.random.Generator, user: np.ndarray, t: np.ndarray) -> np.ndarray:
        """A random item for each user: one of its past, or by an interest, then a category, then an item of it.

        At time t a share drift * t of the draws takes the popularity order of each category in reverse.
        Shape: int64 (n,).
        """
        n, c = len(user), self.catalogue
        slot = np.searchsorted(SLOT_CDF, rng.random(n), side="right")
        taste = np.where(rng.random(n) < EXPLORE, TASTES, self.interests[user, slot].astype(np.int64))
        category = np.searchsorted(c.cdf, taste + rng.random(n), side="right") - taste * self.sizes.categories
        category = np.minimum(category, self.sizes.categories - 1)
        start = c.start[category]
        size = c.start[category + 1] - start
        rank = (size * rng.random(n) ** ITEM_SKEW).astype(np.int64)
        late = rng.random(n) < self.drift * t
        item = start + np.where(late, size - 1 - rank, rank)
        first, number = self._window(user, t)
        again = np.flatnonzero((rng.random(n) < REVISIT) & (number > 0))
        action = first[again] + (number[again] * rng.random(len(again))).astype(np.int64)
        item[again] = revisited(c, self.interests, HABITS, self._key, user[again], action)
        return item

    def scores(self, user: np.ndarray, item: np.ndarray, scenario: np.ndarray, t: np.ndarray) -> np.ndarray:
        """S, C and V (standardised once `unmix` is known). Shape: float64 (n, 3)."""
        season = (self.drift * (2 * t - 1))[:, None] * self.slope[self.catalogue.category[item]]
        raw = match(self.user_latent, self.item_latent, user, item)
        raw += self.scenario[scenario] + season
        if self.unmix is None:
            return raw
        raw -= self.mean
        out = raw[:, :1] * self.unmix[0]  # written out, since BLAS may sum in another order on another machine
        out += raw[:, 1:2] * self.unmix[1]
        out += raw[:, 2:] * self.unmix[2]
        return out

    def logits(self, scores: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """logit pCTR and logit pCVR. Shape: scores (n, 3) -> float64 (n,), (n,)."""
        shared, own = self.share**0.5, (1 - self.share) ** 0.5
        click = SD_CLICK * (shared * scores[:, 0] + own * scores[:, 1]) + self.drift * (0.5 - t)
        conversion = SD_CONVERSION * (shared * scores[:, 0] + own * scores[:, 2])
        return self.alpha + click, self.beta + conversion

    def past(self, user: np.ndarray, t: np.ndarray, bounds: np.ndarray, item: np.ndarray) -> Past:
        """The histories of each session's user at time t, and how often they contain the items shown.

        Shape: user int64 and t float64 (sessions,); bounds int64 (sessions + 1,); item int64 (impressions,).
        """
        first, number = self._window(user, t)
        s = self.sizes
        return Past(*histories(
            self.catalogue, (s.categories, s.shops, s.brands, s.intentions), self.interests, HABITS,
            self._key, user, first, number, bounds, item,
        ))  # fmt: skip

    def _window(self, user: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The past actions in a user's history at time t: the first, and how many. int64 (n,), (n,)."""
        number = np.floor(self.actions * self.appetite[user]).astype(np.int64)
        return np.floor(RENEWAL * t * number).astype(np.int64), number

    @property
    def _key(self) -> np.uint64:
        """The seed of the hash that makes past actions."""
        return np.random.SeedSequence(self.seed, spawn_key=(4,)).generate_state(1, np.uint64)[0]


def stream(seed: int, *key: int) -> np.random.Generator:
    """An independent random generator for each key."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))
