"""What a store of events has accepted is there after SIGKILL, once, and every process sees it."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time

import pytest

from entirespace.errors import DataError
from entirespace.serving.events import Accepted, Event, EventStore

pytest.importorskip("lmdb")
WORKER = """
import sys
from entirespace.serving.events import Event, EventStore

class Tally:
    basis = b"12345678"
    def follow(self, txn):  # as many changes as the journal has, kept in the same transaction
        before = int(txn.get(self.basis, b"0", db=store.db["counts"]))
        done = int(txn.get(b"cursor" + self.basis, b"0", db=store.db["meta"]))
        head = store.head(txn)
        txn.put(self.basis, str(before + head - done).encode(), db=store.db["counts"])
        txn.put(b"cursor" + self.basis, str(head).encode(), db=store.db["meta"])

store = EventStore(sys.argv[1])
store.attach(Tally())
print("ready", flush=True)
n = int(sys.argv[2])
while True:
    store.add([Event(f"{sys.argv[3]}-{n}-{i}", "impression", f"{sys.argv[3]}-{n}-{i}", n) for i in range(3)])
    print(n, flush=True)
    n += 1
"""


def test_nothing_accepted_is_lost_when_processes_are_killed(tmp_path):
    """Two writers at a time; one of them is killed while it writes, again and again."""
    accepted: set[str] = set()
    draw = random.Random(0)

    def start(name: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", WORKER, str(tmp_path / "store"), "0", name]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)

    def ended(process: subprocess.Popen[str], name: str) -> None:
        process.kill()
        said = process.communicate(timeout=30)[0].split("\n")
        assert said[0] == "ready"
        accepted.update(f"{name}-{n}-{i}" for n in said[1:-1] for i in range(3))  # the last line may be cut

    first = start("a")
    for round_ in range(4):
        other = start(f"b{round_}")
        time.sleep(0.7 + draw.random())
        ended(other, f"b{round_}")
    ended(first, "a")
    assert len(accepted) > 100
    with EventStore(tmp_path / "store") as store:
        there = {name for name, _ in store.impressions()}
        assert accepted <= there
        with store.env.begin() as txn:
            assert int(txn.get(b"12345678", db=store.db["counts"]) or b"") == store.head(txn) == len(there)
        again = [Event(name, "impression", name, 0) for name in sorted(accepted)]
        assert store.add(again) == Accepted(0, len(again))


def test_calls_of_many_threads_share_commits(tmp_path):
    with EventStore(tmp_path) as store:
        commits, count = [0], store._commit

        def counting(batch):
            commits[0] += 1
            return count(batch)

        store._commit = counting
        found: list[Accepted] = []

        def add(k: int) -> None:
            found.append(store.add([Event(f"{k % 30}", "impression", f"{k % 30}", k)]))

        threads = [threading.Thread(target=add, args=(k,)) for k in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(one.added for one in found) == sum(one.repeated for one in found) == 30
        assert commits[0] < 60
        futures = [store.submit([Event(f"e{k}", "click", "i", k)]) for k in range(200)]
        assert sum(future.result().added for future in futures) == 200
        assert dict(store.impressions())["i"].stages == {"click": 0}


def test_a_full_store_refuses_and_keeps_what_it_has(tmp_path):
    with EventStore(tmp_path, largest=1 << 18) as store:
        store.add([Event("first", "impression", "first", 1)])
        many = [Event(f"{k}", "impression", f"{k}", 1, {"page": "x" * 200}) for k in range(5000)]
        with pytest.raises(DataError, match="it is full"):
            store.add(many)
        assert "first" in dict(store.impressions())
    with EventStore(tmp_path) as store:
        assert store.add([Event("first", "impression", "first", 1)]) == Accepted(0, 1)
        assert store.add([Event("second", "impression", "second", 1)]) == Accepted(1, 0)
    with pytest.raises(DataError, match="it was closed"):
        store.add([])


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "data.mdb").write_text("something else" * 1000)
    with pytest.raises(DataError, match="must hold a store of events, or nothing"):
        EventStore(tmp_path)
