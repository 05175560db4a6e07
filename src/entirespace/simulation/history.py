"""What users did before the log: four histories per session, and how often they contain each shown item.

A user's j-th past action is a pure function of (key, user, j). So two sessions of a user share most of their past
and nothing is stored between sessions. It is compiled, because it counts distinct ids session by session.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np


class Catalogue(NamedTuple):
    """The items, numbered category by category, and in each category from the most popular to the least."""

    cdf: np.ndarray  # float64 ((tastes + 1) * categories,): taste + P(category <= c | taste); last taste: all users
    start: np.ndarray  # int64 (categories + 1,): first item of each category
    category: np.ndarray  # int32 (items,)
    shop: np.ndarray  # int32 (items,)
    brand: np.ndarray  # int32 (items,), -1: none
    intentions: np.ndarray  # int32 (items, 4), padded with -1


class Past(NamedTuple):
    """The four bags of each session, and the affinities of each impression.

    `ids[k, offsets[k, s]:offsets[k, s + 1]]` is session s's bag; k is 0 category, 1 shop, 2 brand, 3 intention.
    `affinity[i]` says how often impression i's category, shop, brand and (four) intentions occur in these bags.
    """

    ids: np.ndarray  # int32 (4, capacity): entries from offsets[k, -1] on are unused
    counts: np.ndarray  # int32 (4, capacity), 1 to MAX_COUNT
    offsets: np.ndarray  # int64 (4, sessions + 1)
    affinity: np.ndarray  # int32 (impressions, 7)


MAX_COUNT = 4095

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@numba.njit(cache=True, nogil=True)
def mix(x):
    """SplitMix64's finaliser: it maps uint64 to uint64 one to one, so distinct numbers stay distinct."""
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@numba.njit(cache=True, nogil=True)
def _uniform(x):
    return (mix(x) >> _S11) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True, nogil=True)
def _action(catalogue, interests, habits, key, user, j):
    """Action j of a user, a pure function of both: its item, and the start of its further random numbers."""
    slot_cdf, explore, skew = habits
    x = mix(key ^ mix(np.uint64(user))) + np.uint64(j) * (_STEP * np.uint64(6))
    categories = len(catalogue.start) - 1
    taste = np.int64(len(catalogue.cdf) // categories - 1)
    if _uniform(x) >= explore:
        u, slot = _uniform(x + _STEP), 0
        while u >= slot_cdf[slot]:
            slot += 1
        taste = np.int64(interests[user, slot])
    row = catalogue.cdf[taste * categories : (taste + 1) * categories]
    u = taste + _uniform(x + _STEP * np.uint64(2))
    category = min(np.searchsorted(row, u, side="right"), categories - 1)
    start, stop = catalogue.start[category], catalogue.start[category + 1]
    return start + np.int64((stop - start) * _uniform(x + _STEP * np.uint64(3)) ** skew), x


@numba.njit(cache=True, nogil=True)
def revisited(catalogue, interests, habits, key, user, j):
    """The items of action j[i] of user[i]. Shape: int64 (n,), (n,) -> int64 (n,)."""
    items = np.empty(len(user), np.int64)
    for i in range(len(user)):
        items[i] = _action(catalogue, interests, habits, key, user[i], j[i])[0]
    return items


@numba.njit(cache=True, nogil=True)
def histories(catalogue, sizes, interests, habits, key, user, first, number, bounds, item):
    """Build the four bags of each session from its window of past actions; repeated ids are counted.

    Shape: sizes 4 ints (categories, shops, brands, intentions); user, first, number int64 (sessions,): the
    window is first <= j < first + number; bounds int64 (sessions + 1,): the impressions of each session;
    item int64 (impressions,).
    """
    sessions, room = len(user), number.sum()
    # these two have one entry for every category, shop, brand and intention: `base` of its kind + its number
    base = np.array([0, sizes[0], sizes[0] + sizes[1], sizes[0] + sizes[1] + sizes[2]])
    stamp = np.full(base[3] + sizes[3], -1, np.int32)  # the last session that contained it
    place = np.empty(len(stamp), np.int64)  # its position in that session's bag
    ids, counts = np.empty((4, room), np.int32), np.empty((4, room), np.int32)
    offsets = np.zeros((4, sessions + 1), np.int64)
    affinity = np.zeros((len(item), 7), np.int32)
    end, what = np.zeros(4, np.int64), np.empty(7, np.int64)
    of_category, of_shop, of_brand, of_intentions = catalogue[2:]
    for s in range(sessions):
        for j in range(first[s], first[s] + number[s]):
            it, x = _action(catalogue, interests, habits, key, user[s], j)
            pick = np.int64(4 * _uniform(x + _STEP * np.uint64(4)))
            while pick > 0 and of_intentions[it, pick] < 0:
                pick -= 1
            what[0], what[1], what[2] = of_category[it], of_shop[it], of_brand[it]
            what[3] = of_intentions[it, pick]
            # how many times the action was done: P(amount >= n) = n ** -1.25, up to 251
            amount = np.int32(max(_uniform(x + _STEP * np.uint64(5)), 1e-3) ** -0.8)
            for k in range(4):
                if what[k] < 0:
                    continue
                entry = base[k] + what[k]
                if stamp[entry] == s:
                    counts[k, place[entry]] = min(counts[k, place[entry]] + amount, MAX_COUNT)
                else:
                    stamp[entry], place[entry] = s, end[k]
                    ids[k, end[k]], counts[k, end[k]] = what[k], amount
                    end[k] += 1
        for k in range(4):
            offsets[k, s + 1] = end[k]
        for i in range(bounds[s], bounds[s + 1]):
            it = item[i]
            what[0], what[1], what[2] = of_category[it], of_shop[it], of_brand[it]
            for m in range(4):
                what[3 + m] = of_intentions[it, m]
            for m in range(7):
                k = min(m, 3)
                entry = base[k] + what[m]
                if what[m] >= 0 and stamp[entry] == s:
                    affinity[i, m] = counts[k, place[entry]]
    return ids, counts, offsets, affinity


@numba.njit(cache=True, nogil=True)
def match(users, items, user, item):
    """<users[user[i]], items[item[i]]> for each score. Shape: (users, 3, D), (items, 3, D) -> (n, 3)."""
    out = np.empty((len(user), users.shape[1]))
    for i in range(len(user)):
        u, v = user[i], item[i]
        for f in range(users.shape[1]):
            total = 0.0
            for d in range(users.shape[2]):
                total += np.float64(users[u, f, d]) * np.float64(items[v, f, d])
            out[i, f] = total
    return out
