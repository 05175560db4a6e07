"""Draws a simulated log chunk by chunk: chunk k depends on the world and on k, not on earlier chunks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from entirespace.simulation.build import PROFILE
from entirespace.simulation.history import mix
from entirespace.simulation.world import SCENARIO_CDF, Sizes, World, stream

CHUNK = 1 << 18  # impressions
START_MS = 1_704_067_200_000  # 2024-01-01, UTC
SPAN_MS = 14 * 24 * 3_600_000  # a log is two weeks long
NO_USER_ID = 0.0032  # share of Ali-CCP's common lines without 101

ALICCP_FIELDS = {
    "user_id": "101", "category_history": "109_14", "shop_history": "110_14", "brand_history": "127_14",
    "intention_history": "150_14", "profile": "121", "group": "122", "gender": "124", "age": "125",
    "grade": "126", "level": "127", "occupation": "128", "geography": "129",
    "item_id": "205", "category": "206", "shop": "207", "intentions": "210", "brand": "216",
    "category_affinity": "508", "shop_affinity": "509", "brand_affinity": "702",
    "intention_affinity": "853", "scenario": "301",
}  # fmt: skip
"""The 23 fields, by readable name, with Ali-CCP's names: first 13 common features, then 10 of the skeleton."""

COMMON_FIELDS, SKELETON_FIELDS = tuple(ALICCP_FIELDS)[:13], tuple(ALICCP_FIELDS)[13:]
WEIGHTED_FIELDS = tuple(name for name in ALICCP_FIELDS if name.endswith(("_history", "_affinity")))


def id_bases(sizes: Sizes) -> dict[str, int]:
    """The first id of each field. All fields share one range of ids from 1 on, in the order of Ali-CCP."""
    u, i, c, s, b, n = sizes
    p = {name: values for name, (values, _) in PROFILE.items()}
    counts = {
        "user_id": u, "category_history": c, "shop_history": s, "profile": p["profile"],
        "group": p["group"], "gender": p["gender"], "age": p["age"], "grade": p["grade"],
        "level": p["level"], "brand_history": b, "occupation": p["occupation"],
        "geography": p["geography"], "intention_history": n, "item_id": i, "category": c, "shop": s,
        "intentions": n, "brand": b,
        "scenario": len(SCENARIO_CDF), "category_affinity": c, "shop_affinity": s, "brand_affinity": b,
        "intention_affinity": n,
    }  # fmt: skip
    ends = np.cumsum(list(counts.values())).tolist()
    return {name: 1 + end - count for (name, count), end in zip(counts.items(), ends, strict=True)}


@dataclass(frozen=True)
class Column:
    """One field of consecutive rows.

    `ids` int32: with `offsets` (int64, rows + 1) one bag per row, else one id per row and -1 for none. `counts`
    int32: the weight of an id is log(1 + count); None: every weight is 1.
    """

    ids: np.ndarray
    offsets: np.ndarray | None = None
    counts: np.ndarray | None = None

    def bags(self) -> Column:
        """The same column with offsets: a row without an id becomes an empty bag."""
        if self.offsets is not None:
            return self
        here = self.ids >= 0
        return Column(self.ids[here], _offsets(here), None if self.counts is None else self.counts[here])


@dataclass(frozen=True)
class Chunk:
    """Consecutive impressions in order of time, and their sessions, each of which is wholly in this chunk."""

    first: int  # number of impressions before this chunk
    time_ms: np.ndarray  # int64 (B,), increasing
    click: np.ndarray  # bool (B,)
    conversion: np.ndarray  # bool (B,)
    pctr: np.ndarray  # float64 (B,)
    pcvr: np.ndarray  # float64 (B,)
    user: np.ndarray  # int64 (sessions,)
    session: np.ndarray  # int64 (B,): the impression's session, counted from 0 in this chunk
    keys: np.ndarray  # uint64 (sessions,), all different
    common: dict[str, Column]
    skeleton: dict[str, Column]

    def __len__(self) -> int:
        return len(self.click)


def chunk(world: World, k: int, impressions: int, session: float, orphans: float) -> Chunk:
    """Chunk k of a log of `impressions`, in sessions of `session` impressions on average.

    No session crosses the middle of the log, where training ends and testing starts.
    """
    rng = stream(world.seed, 2, k)
    first = k * CHUNK
    n = min(CHUNK, impressions - first)
    bounds = _sessions(rng, n, session, impressions // 2 - first)
    which = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    t = (first + np.arange(n)) / impressions
    people = world.draw_user(rng, len(bounds) - 1)
    place = np.searchsorted(SCENARIO_CDF, rng.random(len(people)), side="right")
    user, scenario = people[which], place[which]
    item = world.draw_item(rng, user, t)
    click_logit, conversion_logit = world.logits(world.scores(user, item, scenario, t), t)
    pctr, pcvr = expit(click_logit), expit(conversion_logit)
    click = rng.random(n) < pctr
    conversion = click & (rng.random(n) < pcvr)
    step = max(2, SPAN_MS // impressions)
    time_ms = START_MS + (first + np.arange(n)) * step + rng.integers(0, step, n)
    nameless = rng.random(len(people)) < NO_USER_ID
    if orphans > 0:  # drawn from a separate stream, so that nothing else in the log changes
        conversion |= ~click & (stream(world.seed, 5, k).random(n) < orphans)
    common, skeleton = _fields(world, people, t[bounds[:-1]], bounds, item, scenario, nameless)
    keys = mix(np.uint64(k * CHUNK) + np.arange(len(people), dtype=np.uint64))  # `mix` is one to one: all differ
    return Chunk(first, time_ms, click, conversion, pctr, pcvr, people, which, keys, common, skeleton)


def _sessions(rng: np.random.Generator, n: int, mean: float, cut: int) -> np.ndarray:
    """The starts of sessions of geometric length, then n; one starts at `cut`. Shape: int64 (sessions + 1,)."""
    starts = np.zeros(1, np.int64)
    while starts[-1] < n:
        more = rng.geometric(1 / mean, int(1.1 * n / mean) + 10)
        starts = np.concatenate([starts, starts[-1] + np.cumsum(more)])
    starts = starts[starts < n]
    return np.unique(np.concatenate([starts, [cut] if 0 < cut < n else [], [n]]).astype(np.int64))


def _fields(
    world: World, people: np.ndarray, t: np.ndarray, bounds: np.ndarray, item: np.ndarray,
    scenario: np.ndarray, nameless: np.ndarray,
) -> tuple[dict[str, Column], dict[str, Column]]:  # fmt: skip
    """The 13 common fields (a row per session) and the 10 skeleton fields (a row per impression), by name."""
    base, c = id_bases(world.sizes), world.catalogue
    past = world.past(people, t, bounds, item)

    def single(name: str, value: np.ndarray, there: np.ndarray | None = None) -> Column:
        there = value >= 0 if there is None else there
        return Column(np.where(there, value + base[name], -1).astype(np.int32))

    def affinity(name: str, value: np.ndarray, count: np.ndarray) -> Column:
        there = count > 0
        return Column((value[there] + base[name]).astype(np.int32), _offsets(there), count[there])

    common = {"user_id": single("user_id", people, ~nameless)}
    for i, name in enumerate(["category_history", "shop_history", "brand_history", "intention_history"]):
        end = past.offsets[i, -1]
        common[name] = Column(past.ids[i, :end] + np.int32(base[name]), past.offsets[i], past.counts[i, :end])
    for name, value in world.profile.items():
        common[name] = single(name, value[people])
    category, shop, brand, intentions = c.category[item], c.shop[item], c.brand[item], c.intentions[item]
    seen = past.affinity
    several = intentions >= 0
    skeleton = {
        "item_id": single("item_id", item),
        "category": single("category", category),
        "shop": single("shop", shop),
        "intentions": Column((intentions[several] + base["intentions"]).astype(np.int32), _offsets(several)),
        "brand": single("brand", brand),
        "category_affinity": affinity("category_affinity", category, seen[:, 0]),
        "shop_affinity": affinity("shop_affinity", shop, seen[:, 1]),
        "brand_affinity": affinity("brand_affinity", brand, seen[:, 2]),
        "intention_affinity": affinity("intention_affinity", intentions, seen[:, 3:]),
        "scenario": single("scenario", scenario),
    }
    return common, skeleton


def _offsets(there: np.ndarray) -> np.ndarray:
    """Offsets of bags that hold the entries that are there. Shape: bool (rows,) or (rows, n) -> int64 (rows + 1,)."""
    number = there if there.ndim == 1 else there.sum(axis=1)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(number, dtype=np.int64)])
