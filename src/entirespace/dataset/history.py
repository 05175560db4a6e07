"""Counts staged impressions by the keys of a history, and gives each impression the codes of its ids and its fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.rows import IMPRESSIONS, ONE_EACH, Ragged
from ..errors import ConfigError
from ..features.encoders import Encoder, fit_knots
from ..features.history.history import History, groups
from ..kernels.hashing import mix_numbers
from ..kernels.tally import tally
from ..kernels.threads import each
from ..logs.source import Source
from .assign import TESTING, TRAINING, VALIDATING
from .copies import DROPPED, copy_numbers
from .earlier import counted_earlier
from .keycodes import KeyCodes
from .manifest import ORDER
from .stage import Stage

SAMPLE = 50_000  # impressions by whose ids strengths are fitted
KNOTS = 20_000  # training impressions of whose rates quantile knots are fitted
_EVEN = np.zeros(0)


class StagedHistory:
    """The history of a staged log.

    Args:
        source: the reader; it was read to the end.
        stages: the staged tables, including the impressions.
        parts: the part of each impression, an index into PARTS or DROPPED. Shape: uint8 (n,).
        folder: for temporary files.
        known: the history of an earlier layout, on whose counts this one builds.
        log: the schema of the log; see `History.log`.

    Attributes:
        history: the counts.
        folds: the fold of each impression. Shape: uint8 (n,).
        added: how many impressions were counted.
        repeated: how many were not, because the earlier history has counted them.
        early: how many were not, because their outcomes were not known yet.
    """

    def __init__(
        self,
        source: Source,
        stages: Mapping[str, Stage],
        parts: np.ndarray,
        folder: Path,
        known: History | None = None,
        log: Mapping[str, Any] | None = None,
    ) -> None:
        spec = source.history if known is None else known.spec
        assert spec is not None
        self._spec, self._source, self._stages, self._parts, self._before = spec, source, stages, parts, known
        self._impressions = stages[IMPRESSIONS]
        self._labelled = source.stages[0] in self._impressions.columns
        if (spec.delay or spec.half_life is not None) and ORDER not in self._impressions.columns:
            must = "half_life and delay in [history] need the times of the impressions"
            raise ConfigError(must, "the schema has no `order`", do="Set order in [impressions]")
        self._codes, self._log = KeyCodes(source, stages, spec), log or {}
        self._identity = self._identified(folder)
        self._counted_before = np.zeros(0, np.uint64) if known is None else known.counted()
        self.added = self.repeated = self.early = 0
        self.folds = self._drawn() if spec.cross_fit == "folds" else self._in_time()
        self._earlier = self._counted_in_time(folder) if spec.cross_fit == "time" else None
        self.history = self._counted(known)
        if known is None:
            self.history = self.history.with_strengths(*self._sample())
        else:  # all impressions know at least what the later ones of the earlier log do
            last = {chain: np.broadcast_to(s[-1], s.shape) for chain, s in known.strengths.items()}
            self.history = replace(self.history, strengths=last)

    # Counting

    def _identified(self, folder: Path) -> np.ndarray:
        """What identifies each impression: a hash of its content, without outcomes, and its number among equal rows.

        If the reader gives no content, the place of the row in the log. Shape: uint64 (n,), memory-mapped.
        """
        stage = self._impressions
        found = np.memmap(folder / "identity", np.uint64, "w+", shape=(stage.rows,))
        copies = None
        if "content.0" in stage.columns:
            copies = copy_numbers(stage, "content", self._parts != DROPPED, folder / "folds")
        for start, batch in stage.batches():
            here, mixed = slice(start, start + batch.num_rows), np.zeros(batch.num_rows, np.uint64)
            if copies is None:
                mix_numbers(np.arange(here.start, here.stop, dtype=np.uint64), mixed)
            else:
                for numbers in (batch["content.0"].to_numpy(), batch["content.1"].to_numpy()):
                    mix_numbers(numbers, mixed)
                mix_numbers(copies[here].view(np.uint64), mixed)
            found[here] = mixed
        return found

    def _drawn(self) -> np.ndarray:
        """The fold of each impression, by a seeded hash of what identifies it."""
        folds = np.zeros(self._impressions.rows, np.uint8)
        for start, batch in self._impressions.batches():
            here = slice(start, start + batch.num_rows)
            chance = np.full(batch.num_rows, self._spec.seed, np.uint64)
            mix_numbers(self._identity[here], chance)
            folds[here] = (chance >> np.uint64(11)) % np.uint64(self._spec.folds)
        return folds

    def _times(self) -> np.ndarray:
        """The time of each impression; without times, its row number. Shape: int64 (n,)."""
        stage = self._impressions
        return stage.column(ORDER) if ORDER in stage.columns else np.arange(stage.rows)

    def _in_time(self) -> np.ndarray:
        """The fold of each training impression, each twice as long as all before it. Equal times are in one fold."""
        time, folds = self._times(), np.zeros(self._impressions.rows, np.uint8)
        training = self._parts == TRAINING
        mine = np.sort(time[training])
        ranks = [len(mine) // 3 ** (self._spec.folds - i) for i in range(1, self._spec.folds)]
        self._starts = mine[ranks] if len(mine) else mine
        folds[training] = self._folds_of(time[training])
        return folds

    def _folds_of(self, time: np.ndarray) -> np.ndarray:
        """The fold in time of each time. Shape: int64 (n,) -> int64 (n,)."""
        return np.searchsorted(self._starts, time, side="right")

    def _counted_in_time(self, folder: Path) -> dict[str, np.ndarray]:
        """Key -> what was counted of each training impression's ids strictly earlier; 0 for others. Shape: (n, W)."""
        spec, chosen = self._spec, self._parts == TRAINING
        if not self._labelled:
            chosen = np.zeros(len(chosen), bool)
        training = np.flatnonzero(chosen)
        time, width = self._times()[training], len(spec.stages) + 1
        reached = np.zeros((len(training), width - 1), bool)
        for i, stage in enumerate(spec.stages if self._labelled else ()):
            reached[:, i] = self._impressions.column(stage)[training]
        found: dict[str, np.ndarray] = {}
        for key in spec.keys:
            pieces = [
                self._codes.of_key(batch, key).take(np.flatnonzero(chosen[start : start + len(batch)]))
                for start, batch in self._impressions.batches()
            ]
            bags = Ragged.concatenate(pieces)
            kind = np.uint32 if spec.half_life is None else np.float32
            counts = np.memmap(folder / f"earlier-{len(found)}", kind, "w+", shape=(self._impressions.rows, width))
            counts[training] = counted_earlier(bags, time, reached, spec, self._codes.size(key))
            found[key.name] = counts
        return found

    def earlier(self, rows: np.ndarray) -> dict[str, np.ndarray] | None:
        """Key -> what was counted strictly earlier of staged impressions; None with cross_fit = "folds".

        Shape: rows int64 (n,) -> (n, W) each.
        """
        return None if self._earlier is None else {name: counts[rows] for name, counts in self._earlier.items()}

    def _counted(self, known: History | None) -> History:
        """The counts of the labelled impressions, added to those of an earlier history."""
        spec, width = self._spec, len(self._spec.stages) + 1
        kind = np.uint32 if spec.half_life is None else np.float64
        counts = {key.name: np.zeros((0, groups(spec), width), kind) for key in spec.keys}
        overall = np.zeros((1, groups(spec), width), np.float64)
        identities: list[np.ndarray] = []
        for start, batch in self._impressions.batches():
            here, codes = slice(start, start + batch.num_rows), self._codes.staged(batch)
            group, weights = self._group(batch, here)
            again = (group >= 0) & self._is_counted(self._identity[here])
            group[again] = -1
            identities.append(self._identity[here][group >= 0])
            self.added, self.repeated = self.added + len(identities[-1]), self.repeated + int(again.sum())
            reached = np.zeros((batch.num_rows, width - 1), bool)
            for i, stage in enumerate(spec.stages):
                if stage in batch.schema.names:
                    reached[:, i] = batch[stage].to_numpy(zero_copy_only=False)
            for key in spec.keys:
                counts[key.name] = _with_rows(counts[key.name], self._codes.size(key))
            _tally(list(codes.values()), group, reached, weights, list(counts.values()))
            tally(np.zeros(batch.num_rows, np.int32), ONE_EACH, group, reached, weights, overall)
        counts = {key.name: counts[key.name][: self._codes.size(key)] for key in spec.keys}
        ids = {key.name: self._codes.texts(key) for key in spec.keys}
        counted = np.sort(np.concatenate([self._counted_before, *identities]))
        at, until = (None, None) if spec.half_life is None else (self._now, self._until)
        found = History(spec, ids, counts, overall[0], {}, at, until, lambda: counted, self._log)
        found = found if known is None else self._added(known, found)
        faded = 1.0 if until is None else 1 / float(self._weights(np.array(until)))
        for one in (*found.counts.values(), found.overall[None]):
            everything = one[:, :-1].sum(axis=1)
            one[:, -1] = everything if faded == 1 else everything * faded
        return found

    def _is_counted(self, identity: np.ndarray) -> np.ndarray:
        """Whether the earlier history has counted each impression. Shape: uint64 (n,) -> bool (n,)."""
        before = self._counted_before
        if not len(before):
            return np.zeros(len(identity), bool)
        return before[np.searchsorted(before, identity).clip(0, len(before) - 1)] == identity

    def _group(self, batch: pa.RecordBatch, here: slice) -> tuple[np.ndarray, np.ndarray]:
        """(the group of each impression; -1 if it is not counted; its weight). Shape: int8 (n,), float64 (n,) or (0,).

        Outcomes that were not known yet at the end of their part are not counted.
        """
        spec, part = self._spec, self._parts[here]
        group = np.full(batch.num_rows, -1, np.int8)
        if not self._labelled:
            return group, _EVEN
        training = part == TRAINING
        group[training] = 1 + self.folds[here][training]
        group[part == VALIDATING] = 1 + spec.folds
        group[part == TESTING] = 2 + spec.folds
        if not spec.delay and spec.half_life is None:
            return group, _EVEN
        time = batch[ORDER].to_numpy()
        ends = self._ends
        if spec.delay and spec.cross_fit == "time":  # later folds know what was known when they began
            group[training] = 1 + self._folds_of(time[training] + spec.delay)
        if spec.delay:
            early = (part < DROPPED) & (time > ends[np.minimum(part, TESTING)] - spec.delay)
            group[early] = -1
            self.early += int(early.sum())
        return group, _EVEN if spec.half_life is None else self._weights(time)

    def _weights(self, time: np.ndarray) -> np.ndarray:
        """The weight of an outcome of each time: 1 at the end of the training part. Shape: (n,) -> float64 (n,)."""
        assert self._spec.half_life is not None
        return np.exp2((time - self._now) / self._spec.half_life)

    @cached_property
    def _ends(self) -> np.ndarray:
        """The latest time of each part; the least integer if it is empty. Shape: int64 (3,)."""
        ends = np.full(3, np.iinfo(np.int64).min)
        for start, batch in self._impressions.batches():
            part, time = self._parts[start : start + batch.num_rows], batch[ORDER].to_numpy()
            for i in range(3):
                ends[i] = max(ends[i], time[part == i].max(initial=ends[i]))
        return ends

    @property
    def _until(self) -> int:
        """The time of the last impression."""
        before = self._ends if self._before is None else [*self._ends, self._before.until]
        return int(max(before))

    @property
    def _now(self) -> int:
        """The time at which an outcome has weight 1."""
        if self._ends[TRAINING] > np.iinfo(np.int64).min:
            return int(self._ends[TRAINING])
        return int(max(self._ends)) if self._before is None or self._before.until is None else self._before.until

    def _added(self, known: History, log: History) -> History:
        """The counts of this log on top of those of an earlier history, which become its group "earlier"."""
        ids, counts = dict[str, pl.Series](), dict[str, np.ndarray]()
        weight = 1.0 if known.until is None else float(self._weights(np.array(known.until)))
        for key in self._spec.keys:
            mine, before = log.counts[key.name], known.counts[key.name]
            place = self._codes.place(key, known, log.ids[key.name])
            together = np.zeros((int(max(len(before) - 1, place.max(initial=-1))) + 1, *mine.shape[1:]), before.dtype)
            together[: len(before), 0] = before[:, -1] if weight == 1 else before[:, -1] * weight
            together[place, 1:] = mine[:, 1:]
            new = (
                log.ids[key.name].filter(pl.Series(place >= len(before)))
                if len(log.ids[key.name])
                else log.ids[key.name]
            )
            ids[key.name], counts[key.name] = pl.concat([known.ids[key.name], new]), together
        overall = log.overall.copy()
        overall[0] = known.overall[-1] * weight
        return replace(log, ids=ids, counts=counts, overall=overall)

    # Rates

    def variant(self, part: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """What impressions of these parts and folds know. Shape: (n,) each -> uint8 (n,)."""
        return np.where(part == TRAINING, folds, self._spec.folds - 1 + part).astype(np.uint8)

    def _sample(self) -> tuple[dict[str, Ragged], int]:
        """The codes of a random sample of the impressions, and their number. The order of the log changes nothing."""
        pieces = [
            (chance, {name: bags.take(rows) for name, bags in self.codes(batch).items()})
            for batch, _, rows, chance in self._drawn_rows(self._parts != DROPPED, SAMPLE)
        ]
        order = np.argsort(np.concatenate([chance for chance, _ in pieces]))
        whole = {key.name: Ragged.concatenate([codes[key.name] for _, codes in pieces]) for key in self._spec.keys}
        return {name: bags.take(order) for name, bags in whole.items()}, len(order)

    def _drawn_rows(
        self, chosen: np.ndarray, most: int
    ) -> Iterator[tuple[pa.RecordBatch, int, np.ndarray, np.ndarray]]:
        """About `most` of the chosen impressions, by a hash of what identifies them.

        Each batch, the number of its first row, the rows that are drawn (int64) and their hashes (uint64).
        """
        share = most / max(1, int(np.count_nonzero(chosen)))
        for start, batch in self._impressions.batches():
            here = slice(start, start + batch.num_rows)
            chance = np.full(batch.num_rows, len("sample"), np.uint64)
            mix_numbers(self._identity[here], chance)
            rows = np.flatnonzero(chosen[here] & (chance.astype(np.float64) <= share * 2.0**64))
            yield batch, start, rows, chance[rows]

    def fit_knots(self) -> dict[str, Encoder]:
        """The knots of each rate's field, fitted on training impressions."""
        pieces: list[np.ndarray] = []
        for batch, start, rows, _ in self._drawn_rows(self._parts == TRAINING, KNOTS):
            codes = {name: bags.take(rows) for name, bags in self.codes(batch).items()}
            pieces.append(self.history.numbers(codes, self.folds[start + rows], self.earlier(start + rows)))
        numbers = np.ascontiguousarray(np.concatenate(pieces).T)
        fields = self._spec.fields()
        knots = each(lambda i: fit_knots(fields[i], numbers[i]), len(fields))
        return {f.name: found for f, found in zip(fields, knots, strict=True)}

    def codes(self, batch: pa.RecordBatch) -> dict[str, Ragged]:
        """Key -> the codes of the ids of each staged impression, in the order of the history's ids."""
        staged = self._codes.staged(batch)
        return {name: self._codes.placed(name, bags) for name, bags in staged.items()}

    def own(self, codes: Mapping[str, Ragged]) -> dict[str, Ragged]:
        """Those codes that are stored with the impressions, because their key is not in a side table."""
        return {key.name: codes[key.name] for key in self._spec.keys if key.table == IMPRESSIONS}

    def of_table(self, table: str) -> Iterator[tuple[str, Ragged]]:
        """(key, codes of all rows of a side table, the empty row first) for each key in the table."""
        for key in self._spec.keys:
            if key.table == table:
                yield key.name, self._codes.placed(key.name, self._codes.of_table(key))


def _tally(
    codes: list[Ragged], group: np.ndarray, reached: np.ndarray, weights: np.ndarray, counts: list[np.ndarray]
) -> None:
    """Add a block of impressions to the counts of every key."""

    def one(i: int) -> None:
        offsets = codes[i].starts
        tally(codes[i].values, offsets, group, reached, weights, counts[i])

    each(one, len(codes))


def _with_rows(counts: np.ndarray, rows: int) -> np.ndarray:
    """The array, extended with zeros to at least `rows` rows."""
    if rows <= len(counts):
        return counts
    more = np.zeros((max(rows, 2 * len(counts)) - len(counts), *counts.shape[1:]), counts.dtype)
    return np.concatenate([counts, more])
