"""A durable store of impressions, clicks and conversions, which several processes write and read.

It is an LMDB environment in a folder. A commit is flushed to disk before `add` returns, so nothing that was accepted is
lost when the process is killed; readers never wait. Calls that come at the same time share one commit.

events          hash of an event id -> nothing: a repeated event is known by it
impressions     impression id -> its time, its ids, and the time of each stage that it reached
journal         number -> impression id: what has changed, in order; `Counters` follow it
counts, ...     of the counters; see serving/counters.py
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (lmdb has no types)
from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ..errors import DataError

EventType = Literal["impression", "click", "conversion"]
IMPRESSION: EventType = "impression"
Ids = Mapping[str, str | list[str]]
"""Field or column that the history counts by -> the raw id of an impression as text, or its raw ids."""
DATABASES = ("events", "impressions", "journal", "meta", "counts", "counted", "waiting", "forgotten")
LARGEST = 1 << 36  # bytes of the store; the file takes only what it holds
LONGEST = 256  # bytes of an id
READERS = 1024  # threads that read at the same time, in all processes; a killed process leaves its places taken
TIDY = 256  # commits after which the places of killed readers are freed; their pages could not be used again
TOGETHER = 20_000  # events of one commit, about
HEAD, LATEST, BASES, CURSOR = b"head", b"latest", b"bases", b"cursor"
KEPT = 3  # followers whose counts are kept: a bundle that is rolled back needs no new count
_ABOUT = {"format": "entirespace-events/1"}


@dataclass(frozen=True)
class Event:
    """Something that happened, with its ids as the history counts them."""

    event_id: str
    type: EventType
    impression_id: str
    time: int  # in steps of the log's clock
    ids: Ids = field(default_factory=dict[str, str | list[str]])
    """Of an impression."""


@dataclass(frozen=True)
class Accepted:
    """What became of some events."""

    added: int
    repeated: int
    """Events whose event id was there already."""


@dataclass(frozen=True)
class Impression:
    """What is known of an impression."""

    time: int | None  # None: only a later stage of it has come so far
    ids: Ids
    stages: Mapping[str, int]  # stage -> the time at which it was reached

    def pack(self) -> bytes:
        return json.dumps([self.time, self.ids, self.stages], separators=(",", ":"), ensure_ascii=False).encode()

    @staticmethod
    def unpack(content: bytes) -> Impression:
        return Impression(*json.loads(content))


class Follower(Protocol):
    """Something that is kept in step with the events, in the same transaction."""

    basis: bytes
    """With this begins every key of what it has stored. Shape: 8 bytes."""

    def follow(self, txn: Any) -> None:
        """Take in all changes of the journal that were not taken in."""
        ...

    def forget(self, txn: Any, field: str, raw_id: str, gone: Mapping[str, Impression]) -> None:
        """Remove what is counted of an id, of which these impressions were removed."""
        ...


class EventStore:
    """The store in a folder. Open it once in each process, and not before a fork.

    Args:
        folder: is made if it is not there. It must be on a disk of this machine.
        largest: the most bytes that the store may hold.

    Raises: DataError if the folder holds something else, or the package lmdb is not installed.
    """

    def __init__(self, folder: Path | str, *, largest: int = LARGEST) -> None:
        try:
            import lmdb
        except ImportError as error:
            do = "pip install 'entirespace[serve]'"
            raise DataError("a store of events needs the package lmdb", "it is not installed", do=do) from error
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._full, self._failed, self._pid = lmdb.MapFullError, lmdb.Error, os.getpid()
        try:
            self.env = lmdb.open(str(folder), map_size=largest, max_dbs=len(DATABASES), max_readers=READERS)
            self.env.reader_check()  # frees the places of killed readers
            self.db = {name: self.env.open_db(name.encode()) for name in DATABASES}
            with self.env.begin(write=True, db=self.db["meta"]) as txn:
                about = json.loads(txn.get(b"about", json.dumps(_ABOUT).encode()))
                if about == _ABOUT:
                    txn.put(b"about", json.dumps(_ABOUT).encode())
        except (lmdb.Error, ValueError, OSError) as error:
            raise DataError(
                "the folder must hold a store of events, or nothing", str(error), where=str(folder)
            ) from error
        if about != _ABOUT:
            raise DataError(f"the store's format must be {_ABOUT['format']}", str(about), where=str(folder))
        self._followers: list[Follower] = []
        self._commits = 0
        self._jobs: queue.SimpleQueue[tuple[Callable[[Any], Any], int, Future[Any]] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="events", daemon=True)
        self._writer.start()
        self._closed = False

    def close(self) -> None:
        """Finish what was submitted, and close the store."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._writer.join()
            self.env.close()

    def __enter__(self) -> EventStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def submit(self, events: Sequence[Event]) -> Future[Accepted]:
        """Add events; the result is there when they are on disk. Events of one call are in one transaction.

        Repeated events change nothing. Events may come in any order: a click is kept until its impression comes. Of
        several impressions with the same impression id the first one counts.

        Raises: DataError for an id that is empty or too long. As the result: DataError if the store is full.
        """
        for event in events:
            for name, value in (("event_id", event.event_id), ("impression_id", event.impression_id)):
                if not 0 < len(value.encode(errors="surrogatepass")) <= LONGEST:
                    raise DataError(f"{name} must have 1 to {LONGEST} bytes", f"'{value[:50]}'")
        return self._submit(lambda txn: self._added(txn, events), len(events))

    def add(self, events: Sequence[Event]) -> Accepted:
        """`submit`, and wait."""
        return self.submit(events).result()

    def attach(self, follower: Follower) -> None:
        """Keep a follower in step from now on; it has followed when this returns."""

        def job(txn: Any) -> None:
            if follower not in self._followers:
                self._followers.append(follower)
            follower.follow(txn)

        self._submit(job, 0).result()

    def detach(self, follower: Follower) -> None:
        """Leave a follower as it is from now on."""
        self._submit(lambda _: self._followers.remove(follower) if follower in self._followers else None, 0).result()

    def follow(self) -> None:
        """Let the attached followers take in what other processes have added."""
        self._submit(lambda _: None, 0).result()

    def forget(self, field: str, raw_id: str) -> int:
        """Remove an id: the impressions that have it, what is counted of it, and what a bundle has counted of it is
        hidden. Later events may bring it back, and are counted from 0. Returns: how many impressions were removed.

        Args:
            field: a field or column that the history counts by.
            raw_id: as `features.values.canonical` writes it.
        """
        return self._submit(lambda txn: self._forgotten(txn, field, raw_id), 0).result()

    def _submit(self, job: Callable[[Any], Any], events: int) -> Future[Any]:
        if os.getpid() != self._pid:
            raise DataError("a store of events must be opened in each process", "it was opened before a fork")
        if self._closed:
            raise DataError("a store of events must be open", "it was closed", where=str(self.folder))
        future: Future[Any] = Future()
        self._jobs.put((job, events, future))
        return future

    def _write(self) -> None:
        """The thread that writes: all that has been submitted meanwhile goes into one commit."""
        while (first := self._jobs.get()) is not None:
            batch, events, last = [first], first[1], False
            while events < TOGETHER and not self._jobs.empty():
                job = self._jobs.get()
                if job is None:
                    last = True
                    break
                batch.append(job)
                events += job[1]
            if not self._commit(batch) and len(batch) > 1:
                for job in batch:  # so that one that cannot be written does not take the others with it
                    self._commit([job])
            if last:
                return

    def _commit(self, batch: list[tuple[Callable[[Any], Any], int, Future[Any]]]) -> bool:
        """Write jobs in one transaction. Returns: False if it failed."""
        self._commits += 1
        if self._commits % TIDY == 0:
            self.env.reader_check()
        try:
            with self.env.begin(write=True) as txn:
                found = [job(txn) for job, _, _ in batch]
                for follower in self._followers:
                    follower.follow(txn)
        except Exception as error:
            if len(batch) > 1:
                return False
            batch[0][2].set_exception(self._explained(error))
            return False
        for (_, _, future), result in zip(batch, found, strict=True):
            future.set_result(result)
        return True

    def _explained(self, error: Exception) -> Exception:
        if isinstance(error, self._full):
            do = "Move it to a larger disk, and open it with a larger `largest`"
            return DataError("a store of events must have room", "it is full", where=str(self.folder), do=do)
        if isinstance(error, self._failed | OSError):
            return DataError("a store of events must be writable", str(error), where=str(self.folder))
        return error

    def _added(self, txn: Any, events: Sequence[Event]) -> Accepted:
        seen, rows, journal = (self.db[name] for name in ("events", "impressions", "journal"))
        changed: dict[str, Impression] = {}
        latest, head = self.latest(txn), self.head(txn)
        added = 0
        for event in events:
            if not txn.put(print_of(event.event_id), b"", db=seen, overwrite=False):
                continue
            added += 1
            before = changed.get(event.impression_id)
            if before is None:
                stored = txn.get(event.impression_id.encode(errors="surrogatepass"), db=rows)
                before = Impression(None, {}, {}) if stored is None else Impression.unpack(stored)
            if event.type == IMPRESSION:
                if before.time is None:
                    changed[event.impression_id] = Impression(event.time, event.ids, before.stages)
                    latest = event.time if latest is None else max(latest, event.time)
            elif event.type not in before.stages or event.time < before.stages[event.type]:
                stages = {**before.stages, event.type: event.time}
                changed[event.impression_id] = Impression(before.time, before.ids, stages)
        for name, impression in changed.items():
            key = name.encode(errors="surrogatepass")
            head += 1
            txn.put(key, impression.pack(), db=rows)
            txn.put(number(head), key, db=journal, append=True)
        txn.put(HEAD, number(head), db=self.db["meta"])
        if latest is not None:
            txn.put(LATEST, number(latest), db=self.db["meta"])
        return Accepted(added, len(events) - added)

    def _forgotten(self, txn: Any, field: str, raw_id: str) -> int:
        rows, journal = self.db["impressions"], self.db["journal"]
        written = json.dumps(raw_id, ensure_ascii=False).encode()
        gone: dict[str, Impression] = {}
        for name, content in txn.cursor(db=rows):
            if written in content:
                impression = Impression.unpack(content)
                ids = impression.ids.get(field, [])
                if raw_id in ([ids] if isinstance(ids, str) else ids):
                    gone[name.decode(errors="surrogatepass")] = impression
        names = {name.encode(errors="surrogatepass") for name in gone}
        for name in names:
            txn.delete(name, db=rows)
        for place in [place for place, name in txn.cursor(db=journal) if name in names]:
            txn.delete(place, db=journal)
        txn.put(print_of(field, raw_id), b"", db=self.db["forgotten"])
        for follower in self._followers:
            follower.follow(txn)
            follower.forget(txn, field, raw_id, gone)
        attached = {follower.basis for follower in self._followers}
        for basis in self._bases(txn):
            if basis not in attached:  # if it is opened again, all events are counted for it again
                self._drop(txn, basis)
        return len(gone)

    # What followers have stored

    def begin(self, txn: Any, basis: bytes) -> None:
        """A follower begins to count; the counts of all but the last few are removed."""
        self._drop(txn, basis)
        bases = [*(one for one in self._bases(txn) if one != basis), basis]
        for old in bases[:-KEPT]:
            self._drop(txn, old)
        txn.put(BASES, json.dumps([one.hex() for one in bases[-KEPT:]]).encode(), db=self.db["meta"])

    def _bases(self, txn: Any) -> list[bytes]:
        return [bytes.fromhex(one) for one in json.loads(txn.get(BASES, b"[]", db=self.db["meta"]))]

    def _drop(self, txn: Any, basis: bytes) -> None:
        txn.delete(CURSOR + basis, db=self.db["meta"])
        for name in ("counts", "counted", "waiting"):
            with txn.cursor(db=self.db[name]) as cursor:
                there = cursor.set_range(basis)
                while there and cursor.key().startswith(basis):
                    there = cursor.delete()

    # Reading

    def head(self, txn: Any) -> int:
        """The number of the last change."""
        found = txn.get(HEAD, db=self.db["meta"])
        return 0 if found is None else unnumber(found)

    def latest(self, txn: Any) -> int | None:
        """The time of the latest impression."""
        found = txn.get(LATEST, db=self.db["meta"])
        return None if found is None else unnumber(found)

    def impressions(self) -> Iterator[tuple[str, Impression]]:
        """(impression id, what is known of it), of one moment, in the order of the ids."""
        with self.env.begin() as txn:
            for name, content in txn.cursor(db=self.db["impressions"]):
                yield name.decode(errors="surrogatepass"), Impression.unpack(content)


def number(value: int) -> bytes:
    """An integer of 64 bits, in the order of the integers."""
    return (value + (1 << 63)).to_bytes(8)


def unnumber(content: bytes) -> int:
    return int.from_bytes(content) - (1 << 63)


def print_of(*texts: str) -> bytes:
    """16 bytes that stand for texts."""
    found = hashlib.blake2b(digest_size=16)
    for text in texts:
        content = text.encode(errors="surrogatepass")
        found.update(len(content).to_bytes(4))
        found.update(content)
    return found.digest()
