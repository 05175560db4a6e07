"""Conversions in a table of their own, joined to clicked impressions by a key.

Each conversion counts for one impression: the last clicked one with its key, at or before its time and within the
window. The table of conversions is held in memory; of the impressions only those whose key has a conversion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.rows import ValueFormat
from ..features.fingerprints import fingerprints
from ..features.values import inexact, text, without_missing
from .audit import Audit
from .clock import Clock
from .files import Frame
from .hints import of_time
from .reading import Check, TableReader
from .schema import ConversionsSchema

TABLE = "conversions"


@dataclass(frozen=True)
class Late:
    """Conversions that were joined to impressions."""

    rows: np.ndarray  # int64 (n,): the impression, by its place among those that were kept, ascending
    times: np.ndarray | None  # int64 (n,): the time of its first conversion; None: not known


class Conversions:
    """Reads the table of conversions, then sees every impression, then joins them.

    Args:
        form: how values of the impressions are written; those of the conversions are written in the same way.
        clock: of the log.
    """

    def __init__(self, schema: ConversionsSchema, reader: TableReader, form: ValueFormat, clock: Clock) -> None:
        self._schema, self._form, self._clock = schema, form, clock
        wanted = {f"key.{i}": column for i, column in enumerate(schema.keys())}
        wanted |= {"time": schema.time} if schema.time else {}
        keyed = schema.keys()
        keys, times = [np.zeros((0, 2), np.uint64)], [np.zeros(0, np.int64)]
        for frame in reader.frames(TABLE, schema, wanted):
            checks = [Check("bad_key", self._missing(frame, keyed), keyed)]
            checks += [Check("bad_id", inexact(frame.rows[column]), (column,)) for column in keyed]
            time = np.zeros(len(frame.rows), np.int64)
            if schema.time:
                time, missing = clock.read(frame, schema.time)
                checks.append(Check("bad_time", missing, (schema.time,), of_time))
            good = ~reader.quarantine(frame, TABLE, checks)
            keys.append(fingerprints(frame.rows, keyed)[good])
            times.append(time[good])
        # the code of a key is its place among the different keys, in order
        different, codes = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
        self._keys, self._codes, self._times = different, codes.ravel(), np.concatenate(times)
        self._seen: list[np.ndarray] = []  # of impressions: (key code, time, row), int64 (m, 3)

    def _missing(self, frame: Frame, columns: tuple[str, ...]) -> np.ndarray:
        """Rows in which a column of the key is missing. Shape: bool (n,)."""
        missing = np.zeros(len(frame.rows), bool)
        for column in columns:
            missing |= (text(without_missing(frame.rows[column], self._form)) == "").to_numpy()
        return missing

    def see(self, frame: Frame, good: np.ndarray, order: np.ndarray | None, first: int) -> None:
        """Note the impressions of a frame whose key has a conversion.

        Args:
            good: the impressions that are kept. Shape: bool (n,).
            order: the times of the kept ones; None: their order is the order in time. Shape: int64 (good.sum(),).
            first: how many impressions were kept before this frame.
        """
        prints = fingerprints(frame.rows, self._schema.ons())[good]
        if not len(self._keys) or not len(prints):
            return
        low = np.searchsorted(self._keys[:, 0], prints[:, 0]).clip(max=len(self._keys) - 1)
        there = (self._keys[low] == prints).all(axis=1)
        place = np.flatnonzero(there)
        row = first + place
        time = row if order is None else order[place]
        self._seen.append(np.stack([low[place], time, row], axis=1).astype(np.int64))

    def joined(self, clicked: np.ndarray, audit: Audit) -> Late:
        """The impressions that have a conversion; call after all impressions were seen.

        Args:
            clicked: those that were clicked and are not left out as copies. Shape: bool (all impressions,).
            audit: counts conversions without an impression or a click.

        Raises: ConfigError for a window such as "7d" if the unit of times is not known.
        """
        seen = np.concatenate([np.zeros((0, 3), np.int64), *self._seen])
        found = np.zeros(len(self._keys), bool)
        found[seen[:, 0]] = True
        audit.count(TABLE, "no_impression", int((~found[self._codes]).sum()))
        clicks = seen[clicked[seen[:, 2]]]
        clicks = clicks[np.lexsort((clicks[:, 2], clicks[:, 1], clicks[:, 0]))]
        timed = self._schema.time is not None
        # the places of all times in order, so that key and time together are one number
        at = self._times if timed else np.full(len(self._codes), np.iinfo(np.int64).max)
        ranks = np.unique(np.concatenate([clicks[:, 1], at]), return_inverse=True)[1].astype(np.int64)
        size = int(ranks.max(initial=0)) + 1
        mine, theirs = clicks[:, 0] * size + ranks[: len(clicks)], self._codes * size + ranks[len(clicks) :]
        place = np.searchsorted(mine, theirs, side="right") - 1
        hit = place >= 0
        hit[hit] = clicks[place[hit], 0] == self._codes[hit]
        window = self._schema.window
        if window is not None:
            hit[hit] = at[hit] - clicks[place[hit], 1] <= self._clock.steps(window, "window")
        audit.count(TABLE, "no_click", int((found[self._codes] & ~hit).sum()))
        rows, times = clicks[place[hit], 2], at[hit]
        order = np.lexsort((times, rows))
        rows, first = np.unique(rows[order], return_index=True)
        return Late(rows, times[order][first] if timed else None)
