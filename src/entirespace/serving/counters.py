"""What the events of a store add to the counts of one history: impressions and stages by id, as `update` counts them.

All is in the store's databases, with the basis of these counters before each key, so that bundles with other counts are
served from the same store:

counts      basis, hash of a key of the history and an id -> time, counts: they have weight 1 at this time
counted     basis, impression id -> the stages of it that were counted
waiting     basis, time, impression id: impressions whose outcomes count only after the `delay`
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (lmdb has no types)
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from ..config import digest
from ..features.codes import text_bytes
from ..features.history.history import SEPARATOR, part_text
from ..features.history.keys import HistoryKey, HistorySpec
from ..kernels.hashing import mix_in
from .events import CURSOR, EventStore, Impression, number, print_of, unnumber

OVERALL = ""
"""In place of a key: the counts of all impressions."""
AT_ONCE = 5000  # impressions that are counted at once


class Counters:
    """Counts of one history that follow a store.

    Args:
        store: what has happened.
        spec: what is counted.
        state: identifies the counts of the bundle, to which these are added.
        since: impressions up to this time are in the counts of the bundle already. None: none of them is.

    Attributes:
        basis: identifies these counts in the store.
    """

    def __init__(self, store: EventStore, spec: HistorySpec, state: str, since: int | None = None) -> None:
        keys = [[f.name for f in key.fields] + [f.hash or 0 for f in key.fields] for key in spec.keys]
        about = [state, keys, spec.stages, spec.delay, spec.half_life, since]
        self._store, self._spec, self._since = store, spec, since
        self.basis = bytes.fromhex(digest(about))[:8]
        self._row = np.dtype([("time", "<i8"), ("counts", "<f8", (len(spec.stages) + 1,))])
        names = [OVERALL, *(key.name for key in spec.keys)]
        self._place = {name: i for i, name in enumerate(names)}
        self._seeds = np.zeros((len(names), 2), np.uint64)
        mix_in(*text_bytes(pl.Series(names)), self._seeds)

    # Counting

    def follow(self, txn: Any) -> None:
        """Count what has changed since the last call, in any process."""
        db, cursor = self._store.db, self.cursor(txn)
        head = self._store.head(txn)
        if cursor is None:
            self._store.begin(txn, self.basis)
            names: Iterable[bytes] = txn.cursor(db=db["impressions"]).iternext(keys=True, values=False)
        elif cursor == head:
            return
        else:
            names = dict.fromkeys(self._changed(txn, cursor))
        for some in _pieces(names):
            self._count(txn, self._due(txn, some))
        for some in _pieces(self._ripe(txn)):
            self._count(txn, some)
        txn.put(CURSOR + self.basis, number(head), db=db["meta"])

    def cursor(self, txn: Any) -> int | None:
        """The number of the last change that was taken in; None: nothing was counted yet."""
        found = txn.get(CURSOR + self.basis, db=self._store.db["meta"])
        return None if found is None else unnumber(found)

    def _changed(self, txn: Any, cursor: int) -> Iterator[bytes]:
        with txn.cursor(db=self._store.db["journal"]) as changes:
            if changes.set_range(number(cursor + 1)):
                yield from changes.iternext(keys=False)

    def _due(self, txn: Any, names: Sequence[bytes]) -> list[bytes]:
        """The impressions whose outcomes may be counted now. The others begin to wait."""
        latest, delay = self._store.latest(txn), self._spec.delay
        if not delay or latest is None:
            return list(names)
        due: list[bytes] = []
        for name, content in self._rows(txn, names):
            time = Impression.unpack(content).time
            if time is not None and time > latest - delay:
                txn.put(self.basis + number(time) + name, b"", db=self._store.db["waiting"])
            else:
                due.append(name)
        return due

    def _ripe(self, txn: Any) -> Iterator[bytes]:
        """Impressions that have waited long enough; they wait no more."""
        latest = self._store.latest(txn)
        if not self._spec.delay or latest is None:
            return
        last = number(latest - self._spec.delay)
        with txn.cursor(db=self._store.db["waiting"]) as cursor:
            there = cursor.set_range(self.basis)
            while there and (key := cursor.key()).startswith(self.basis) and key[8:16] <= last:
                yield key[16:]
                there = cursor.set_range(self.basis) if cursor.delete() else False

    def _rows(self, txn: Any, names: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        with txn.cursor(db=self._store.db["impressions"]) as cursor:
            return cursor.getmulti(names)

    def _count(self, txn: Any, names: Sequence[bytes]) -> None:
        """Add to the counts what is known of these impressions and was not counted."""
        db, width = self._store.db["counted"], len(self._spec.stages) + 1
        impressions: list[Impression] = []
        added: list[list[int]] = []
        for name, content in self._rows(txn, names):
            impression = Impression.unpack(content)
            if impression.time is None or (self._since is not None and impression.time <= self._since):
                continue
            reached = 1
            for stage in self._spec.stages:  # a stage counts only where every earlier one was reached
                reached += stage in impression.stages and reached == 1 + self._spec.stages.index(stage)
            before = txn.get(self.basis + name, b"\0", db=db)[0]
            if reached > before:
                txn.put(self.basis + name, bytes([reached]), db=db)
                impressions.append(impression)
                added.append([int(before <= i < reached) for i in range(width)])
        if impressions:
            self._add(txn, impressions, np.array(added, np.float64))

    def _add(self, txn: Any, impressions: Sequence[Impression], added: np.ndarray) -> None:
        """Add numbers to the counts of all ids of impressions. Shape: (n, W)."""
        times = np.array([impression.time for impression in impressions], np.int64)
        texts, owners, counts_of = [""] * len(times), list(range(len(times))), [len(times)]
        for key in self._spec.keys:
            mine, owner = _ids_of(key, impressions)
            texts += mine
            owners += owner
            counts_of.append(len(mine))
        keys, owner = self._prints(np.repeat(self._seeds, counts_of, axis=0), texts), np.array(owners)
        place = {one: i for i, one in enumerate(dict.fromkeys(keys))}
        rows = np.array([place[one] for one in keys])
        counts, there = self._read(txn, place)
        time = np.where(there, counts["time"], np.iinfo(np.int64).min)
        np.maximum.at(time, rows, times[owner])
        counts["counts"] *= self._weight(np.where(there, counts["time"], time), time)[:, None]
        counts["time"] = time
        np.add.at(counts["counts"], rows, added[owner] * self._weight(times[owner], time[rows])[:, None])
        content = counts.tobytes()
        size = self._row.itemsize
        with txn.cursor(db=self._store.db["counts"]) as cursor:
            cursor.putmulti([(one, content[i * size : (i + 1) * size]) for one, i in place.items()])

    def _weight(self, of: np.ndarray, at: np.ndarray | int) -> np.ndarray:
        """What an outcome of one time weighs at another. Shape: int64 (n,) -> float64 (n,)."""
        if self._spec.half_life is None:
            return np.ones(len(of))
        return np.exp2((of - at) / self._spec.half_life)

    def _prints(self, seeds: np.ndarray, ids: Sequence[str]) -> list[bytes]:
        """Where the counts of ids are: the basis, and a hash of the key and the id. Shape: seeds uint64 (n, 2)."""
        out = np.empty((len(ids), 3), np.uint64)
        found = np.array(seeds)
        if len(ids):
            mix_in(*text_bytes(pl.Series(ids, dtype=pl.String)), found)
        out[:, 0], out[:, 1:] = np.frombuffer(self.basis, np.uint64)[0], found
        return out.view("V24").ravel().tolist()

    def _of_key(self, key: str, ids: Sequence[str]) -> list[bytes]:
        return self._prints(np.repeat(self._seeds[[self._place[key]]], len(ids), axis=0), ids)

    def _read(self, txn: Any, place: Mapping[bytes, int]) -> tuple[np.ndarray, np.ndarray]:
        """The counts at some places, and which of them are there. Shape: (n,) each."""
        counts, there = np.zeros(len(place), self._row), np.zeros(len(place), bool)
        with txn.cursor(db=self._store.db["counts"]) as cursor:
            found = cursor.getmulti(list(place))
        rows = [place[key] for key, _ in found]
        counts[rows] = np.frombuffer(b"".join(content for _, content in found), self._row)
        there[rows] = True
        return counts, there

    # Reading

    def counts(self, txn: Any, key: str, ids: Sequence[str], now: int | None) -> np.ndarray:
        """The counts of ids of a key, with weight 1 at `now` if counts decay. Shape: -> float64 (n, W)."""
        distinct = {one: i for i, one in enumerate(dict.fromkeys(ids))}
        place = {one: i for i, one in enumerate(self._of_key(key, list(distinct)))}
        found, _ = self._read(txn, place)
        counts = found["counts"]
        if now is not None:
            counts = counts * self._weight(found["time"], now)[:, None]
        return counts if len(distinct) == len(ids) else counts[[distinct[one] for one in ids]]

    def hidden(self, txn: Any, key: str, ids: Sequence[str]) -> np.ndarray | None:
        """Which ids of a key were forgotten; None: none. Shape: bool (n,). A bucket of a hashed field is no id."""
        db = self._store.db["forgotten"]
        if not txn.stat(db)["entries"]:
            return None
        fields = self._spec[key].fields
        parts = [one.split(SEPARATOR) if len(fields) > 1 else [one] for one in ids]
        found = np.zeros(len(ids), bool)
        for i, f in enumerate(fields):
            if f.hash is None:
                found |= [txn.get(print_of(f.name, part[i]), db=db) is not None for part in parts]
        return found

    # Forgetting

    def forget(self, txn: Any, field: str, raw_id: str, gone: Mapping[str, Impression]) -> None:
        """Remove the counts of an id, alone and in pairs, and of impressions that were removed what else is known."""
        db = self._store.db
        for key in self._spec.keys:
            if field not in (f.name for f in key.fields) or any(f.hash for f in key.fields if f.name == field):
                continue
            texts = [raw_id]
            if len(key.fields) > 1:
                texts = list(dict.fromkeys(_ids_of(key, list(gone.values()))[0]))
            for place in self._of_key(key.name, texts):
                txn.delete(place, db=db["counts"])
        for name, impression in gone.items():
            row = name.encode(errors="surrogatepass")
            txn.delete(self.basis + row, db=db["counted"])
            if impression.time is not None:
                txn.delete(self.basis + number(impression.time) + row, db=db["waiting"])


def _pieces(names: Iterable[bytes]) -> Iterator[list[bytes]]:
    some: list[bytes] = []
    for name in names:
        some.append(name)
        if len(some) == AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _ids_of(key: HistoryKey, impressions: Sequence[Impression]) -> tuple[list[str], list[int]]:
    """The ids of a key as they are stored, and the impression of each. An impression without them is left out."""
    parts: list[list[str]] = []
    owner: list[int] = []
    names = [f.name for f in key.fields]
    having = [i for i, one in enumerate(impressions) if all(name in one.ids for name in names)]
    for f in key.fields:
        flat: list[str] = []
        owner = []
        for i in having:
            ids = impressions[i].ids[f.name]
            if isinstance(ids, str):
                flat.append(ids)
                owner.append(i)
            else:
                flat += ids
                owner += [i] * len(ids)
        parts.append(flat if f.hash is None else part_text(f, pl.Series(flat, dtype=pl.String)).to_list())
    if len(parts) == 1:
        return parts[0], owner
    return [one + SEPARATOR + other for one, other in zip(*parts, strict=True)], owner
