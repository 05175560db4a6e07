"""The counts of a log by key, and the log odds of the rates of an impression.

Whose outcomes an impression may know is its *variant*: a training impression of fold v knows the training part without
its own fold (variants 0 .. K - 1); a validation impression knows the training part (K); a test impression knows both
(K + 1); a later one knows everything (K + 2). All know what was counted before this log. Means and strengths are fitted
for each variant from the counts that it knows, so nothing of an impression's rates depends on its own outcome.

With cross_fit = "time", folds are consecutive in time, each twice as long as all before it together. A training
impression knows strictly earlier ones, whose counts are stored with it; its means and strengths come from the folds
before its own.

    rate = (hits + s * rate of the parent) / (trials + s)     the last parent leans on the mean of all impressions

The log odds of a rate are relative to those of the variant's mean. Otherwise the rate of a little-known id would show
the mean of the other folds, which is the higher, the fewer outcomes its own fold has.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# (numba has no types)
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from ...core.rows import Field, Ragged
from ...kernels.tally import from_table, lean, none_known, pooled
from ...kernels.threads import each
from ..codes import hash_buckets
from ..idtable import IdTable
from ..values import text
from .keys import HistoryKey, HistorySpec
from .strength import MOST, fit_strength

_NONE = np.zeros(0, np.uint64)
BLOCK = 4096  # impressions whose rates are made at once
TABLE = 1 << 21  # ids x variants whose rates are held in a table, at most
SEPARATOR = "\x1f"
"""Between the two ids of a pair."""
Chain = tuple[str, ...]
"""A key and its parents, the nearest first."""
Strengths = Mapping[Chain, np.ndarray]
"""Chain -> how strongly its first key leans on the second, or on the mean. Shape: float64 (V, R)."""


@dataclass(frozen=True, eq=False)
class History:
    """Counts, and how to make rates of them."""

    spec: HistorySpec
    ids: Mapping[str, pl.Series]  # key -> text (C,): the raw id of each code; (0,) for a hashed field
    counts: Mapping[str, np.ndarray]  # key -> (C, G, W); groups: earlier, the folds, validation, test, now
    overall: np.ndarray  # (G, W): the counts of all impressions
    strengths: Strengths
    at: int | None = None  # the time at which an outcome has weight 1 in the groups of the log; None: no decay
    until: int | None = None  # the same in the group "now": the time of the last impression
    counted: Callable[[], np.ndarray] = lambda: _NONE
    """Reads what identifies each counted impression. Shape: uint64 (N,), ascending."""
    log: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The description of the log, by which `update` reads more of it; see `dataset.prepare.open_log`."""

    @property
    def variants(self) -> int:
        """V."""
        return self.spec.folds + 3

    @cached_property
    def means(self) -> np.ndarray:
        """The rates of all impressions for each variant, and 1 - these. Shape: float64 (2, V, R), in (0, 1)."""
        variants = np.arange(self.variants, dtype=np.uint8)
        known = self._known(Ragged(np.zeros(self.variants, np.int32)), variants, self.overall[None])
        hits, trials = (known[:, columns] for columns in self._columns)
        return np.stack([hits + 0.5, trials - hits + 0.5]) / (trials + 1)

    @cached_property
    def _mean_odds(self) -> np.ndarray:
        """The log odds of `means`. Shape: float64 (V, R)."""
        return np.log(self.means[0] / self.means[1])

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        hits, trials = np.array(self.spec.columns, np.int64).T
        return np.ascontiguousarray(hits), np.ascontiguousarray(trials)

    def numbers(
        self,
        codes: Mapping[str, Ragged],
        variant: np.ndarray,
        earlier: Mapping[str, np.ndarray] | None = None,
        weight: np.ndarray | None = None,
    ) -> np.ndarray:
        """The log odds of the rates of n impressions less those of the means, in the order of `spec.names`.

        Args:
            codes: key -> the codes of the impressions' ids; -1: an id that was never counted. Shape: n rows each.
            variant: what each impression knows. Shape: uint8 (n,).
            earlier: key -> what was counted strictly earlier in the impressions' own part. With cross_fit = "time", a
                training impression knows it in place of the other folds; a validation or test impression may know it
                beside what its variant knows. Shape: (n, W) each.
            weight: with `earlier`: the weight of what the variant knows; None: 1. Shape: float64 (n,).

        Returns: float32 (n, R of all keys).
        """
        out = np.empty((len(variant), len(self.spec.names)), np.float32)

        def fill(block: int) -> None:
            here = slice(block * BLOCK, (block + 1) * BLOCK)
            some = None if earlier is None else {name: counts[here] for name, counts in earlier.items()}
            mine = None if weight is None else weight[here]
            self._fill({name: _rows(bags, here) for name, bags in codes.items()}, variant[here], some, mine, out[here])

        each(fill, -(-len(variant) // BLOCK))
        return out

    def _fill(
        self,
        codes: Mapping[str, Ragged],
        variant: np.ndarray,
        earlier: Mapping[str, np.ndarray] | None,
        weight: np.ndarray | None,
        out: np.ndarray,
    ) -> None:
        """Write the numbers of a block of impressions, few enough to stay in the cache from key to key."""
        width = len(self.spec.rates) + self.spec.counts
        tables = self._tables if earlier is None else {}
        needed = {name for key in self.spec.rated if key.name not in tables for name in key.chain}
        counted = {name: self._counted(name, codes, variant, earlier, weight) for name in needed}
        for place, key in enumerate(self.spec.rated):
            here = out[:, place * width : (place + 1) * width]
            if key.name in tables:
                from_table(codes[key.name].values, variant, tables[key.name], here)
            else:
                here[...] = self._of_key(key, counted, variant)

    @cached_property
    def _tables(self) -> dict[str, np.ndarray]:
        """Key -> its rates for each id and variant, if it has few ids and no parents; the last row is for code -1.

        Shape: float32 (C + 1, V, rates of the key).
        """
        tables: dict[str, np.ndarray] = {}
        for key in self.spec.rated:
            rows = len(self.counts[key.name]) + 1
            if key.parents or rows * self.variants > TABLE or any(f.kind == "ids" for f in key.fields):
                continue
            ids = Ragged(np.repeat(np.append(np.arange(rows - 1), -1), self.variants).astype(np.int32))
            variant = np.tile(np.arange(self.variants, dtype=np.uint8), rows)
            counted = {key.name: self._known(ids, variant, self.counts[key.name])}
            tables[key.name] = self._of_key(key, counted, variant).reshape(rows, self.variants, -1)
        return tables

    def _of_key(self, key: HistoryKey, counted: Mapping[str, np.ndarray], variant: np.ndarray) -> np.ndarray:
        """The log odds of a key's rates, and the log of its count. Shape: float32 (n, rates of the key)."""
        rates, others = self._rates(key.chain, counted, variant)
        odds = (np.log(rates / others) - self._mean_odds[variant]).astype(np.float32)
        if not self.spec.counts:
            return odds
        return np.concatenate([odds, np.log1p(counted[key.name][:, :1]).astype(np.float32)], axis=1)

    def without_history(
        self, codes: Mapping[str, Ragged], variant: np.ndarray, earlier: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Key -> the impressions of whose ids nothing is counted. Shape: as `numbers` -> bool (n,) each."""
        missing: dict[str, np.ndarray] = {}
        for key in self.spec.rated:
            missing[key.name] = np.empty(len(variant), bool)
            same = variant if earlier is None else self._beside(variant)
            none_known(*self._of_bags(codes[key.name]), same, *self._knowing, self.counts[key.name], missing[key.name])
            if earlier is not None:
                missing[key.name] &= earlier[key.name][:, 0] == 0
        return missing

    @property
    def _knowing(self) -> tuple[int, bool]:
        """The number of folds, and whether a fold knows only those before it."""
        return self.spec.folds, self.spec.cross_fit == "time"

    @staticmethod
    def _of_bags(bags: Ragged) -> tuple[np.ndarray, np.ndarray]:
        return bags.values, bags.starts

    def _counted(
        self,
        name: str,
        codes: Mapping[str, Ragged],
        variant: np.ndarray,
        earlier: Mapping[str, np.ndarray] | None,
        weight: np.ndarray | None = None,
    ) -> np.ndarray:
        """What is counted for the ids of a key, as each impression may know it. Shape: -> float64 (n, W)."""
        if earlier is None:
            return self._known(codes[name], variant, self.counts[name])
        known = self._known(codes[name], self._beside(variant), self.counts[name])
        if weight is not None:
            known *= weight[:, None]
        return known + earlier[name]

    def _beside(self, variant: np.ndarray) -> np.ndarray:
        """What impressions know beside the earlier ones of their part: of the training part only what was counted
        before this log, which is what the first fold in time knows. Shape: uint8 (n,) -> uint8 (n,)."""
        return np.where(variant < self.spec.folds, 0, variant).astype(np.uint8)

    def _rates(self, chain: Chain, counted: Mapping[str, np.ndarray], variant: np.ndarray) -> np.ndarray:
        """The rates of the chain's first key, or the means for an empty chain, and 1 - these.

        Shape: -> float64 (2, n, R).
        """
        both = self.means[:, variant]
        for level in range(len(chain) - 1, -1, -1):
            lean(counted[chain[level]], *self._columns, variant, self.strengths[chain[level:]], both[0], both[1])
        return both

    def _known(self, codes: Ragged, variant: np.ndarray, counts: np.ndarray) -> np.ndarray:
        known = np.empty((len(variant), counts.shape[2]))
        pooled(*self._of_bags(codes), variant, *self._knowing, counts, known)
        return known

    def weights(self, time: np.ndarray) -> np.ndarray | None:
        """The weight at each time of an outcome that has weight 1 in the groups of the log; None: no decay.

        Shape: int64 (n,) -> float64 (n,).
        """
        if self.at is None or self.spec.half_life is None:
            return None
        return np.exp2((self.at - time) / self.spec.half_life)

    def updated(self, by: History) -> History:
        """This history with what is counted now from another one, which was made of a later log on top of this one.

        The other groups stay as they are, so the impressions of its own log do not know the later ones.
        """

        def joined(before: np.ndarray, now: np.ndarray) -> np.ndarray:
            found = np.zeros_like(now)
            found[: len(before)] = before
            found[:, -1] = now[:, -1]
            return found

        return replace(
            by,
            counts={name: joined(self.counts[name], now) for name, now in by.counts.items()},
            overall=joined(self.overall[None], by.overall[None])[0],
            strengths=self.strengths,
            at=self.at,
            log=self.log,
        )

    def digest_of_its_log(self) -> str:
        """SHA-256 of all counts that the impressions of its own log may know. It stays the same after `updated`."""
        found = hashlib.sha256()
        for counts in (*self.counts.values(), self.overall[None]):
            known = counts[:, :-1]
            ids = np.flatnonzero(known.any(axis=(1, 2)))  # later outcomes add ids, whose counts here are 0
            found.update(known[: ids[-1] + 1 if len(ids) else 0].tobytes())
        for chain, strength in self.strengths.items():
            found.update(repr((chain, strength.tolist())).encode())
        found.update(repr(self.at).encode())
        return found.hexdigest()

    def with_strengths(self, sample: Mapping[str, Ragged], rows: int) -> History:
        """This history with strengths for its counts: the prior of the schema, or fitted.

        Args:
            sample: key -> codes of impressions that were chosen whatever their outcomes, by whose ids strengths are
                fitted. Shape: n rows each.
            rows: n.
        """
        strengths: dict[Chain, np.ndarray] = {}
        found = replace(self, strengths=strengths)
        for chain in chains(self.spec):
            if self.spec.prior is not None:
                strengths[chain] = np.full((self.variants, len(self.spec.rates)), float(self.spec.prior))
            else:
                strengths[chain] = found._fitted(chain, sample, rows)
        return found

    def _fitted(self, chain: Chain, sample: Mapping[str, Ragged], rows: int) -> np.ndarray:
        """The strengths of the first key of a chain; those of the shorter chains are known. Shape: float64 (V, R)."""
        bags = sample[chain[0]]
        owner = np.arange(rows) if bags.offsets is None else np.repeat(np.arange(rows), np.diff(bags.offsets))
        first = np.full(len(self.counts[chain[0]]), -1)
        first[bags.values[::-1]] = np.arange(len(bags.values))[::-1]  # of several places the first is written last
        ids = np.flatnonzero(first >= 0)
        ids = np.random.default_rng(0).permutation(ids[np.argsort(first[ids])])[:MOST].astype(np.int32)
        row = owner[first[ids]]
        tail = {name: sample[name].take(row) for name in chain[1:]}
        hits, trials = self._columns
        found = np.empty((self.variants, len(hits)))

        def fit(variant: int) -> None:
            same = np.full(len(ids), variant, np.uint8)
            counted = {name: self._known(codes, same, self.counts[name]) for name, codes in tail.items()}
            rates = self._rates(chain[1:], counted, same)[0]
            mine = self._known(Ragged(ids), same, self.counts[chain[0]])
            for r in range(len(hits)):
                found[variant, r] = fit_strength(mine[:, hits[r]], mine[:, trials[r]], rates[:, r])

        each(fit, self.variants)
        return found

    @cached_property
    def tables(self) -> Mapping[str, IdTable]:
        """Key -> finds its ids; keys of a hashed field have none."""
        return {name: IdTable.of(ids) for name, ids in self.ids.items() if len(ids)}

    def find(self, key: HistoryKey, ids: pl.Series) -> np.ndarray:
        """The codes of the raw ids of a key of one field; -1 for an id that was never counted.

        Shape: as `values.raw_ids` gives them (n,) -> int32 (n,).
        """
        if key.fields[0].hash is not None:
            return hash_buckets(ids, key.fields[0].hash)
        return self.find_text(key, text(ids))

    def find_text(self, key: HistoryKey, ids: pl.Series) -> np.ndarray:
        """The codes of ids as they are stored; -1 for an id that was never counted. Shape: text (n,) -> int32 (n,)."""
        if key.name not in self.tables:
            return np.full(len(ids), -1, np.int32)
        return self.tables[key.name].find(ids)


def _rows(bags: Ragged, here: slice) -> Ragged:
    """Consecutive rows, without copying their values."""
    if bags.offsets is None:
        return Ragged(bags.values[here])
    return Ragged(bags.values, bags.offsets[here.start : here.stop + 1])


def part_text(field: Field, ids: pl.Series) -> pl.Series:
    """The ids of one field of a key as text: raw ids, or the buckets of a hashed field. Shape: (n,) -> text (n,)."""
    return text(ids) if field.hash is None else pl.Series(hash_buckets(ids, field.hash)).cast(pl.String)


def pair_text(one: pl.Series, other: pl.Series) -> pl.Series:
    """The ids of a pair as text. Shape: text (n,) each -> text (n,)."""
    return one + SEPARATOR + other


def chains(spec: HistorySpec) -> Iterator[Chain]:
    """Every chain whose strengths are needed, each after the shorter chains that it ends with."""
    seen: set[Chain] = set()
    for key in spec.rated:
        whole = key.chain
        for level in range(len(whole) - 1, -1, -1):
            if whole[level:] not in seen:
                seen.add(whole[level:])
                yield whole[level:]


def groups(spec: HistorySpec) -> int:
    """G: what was counted before this log, the folds of its training part, its validation and its test part; and all
    that is counted now."""
    return 1 + spec.folds + 3
