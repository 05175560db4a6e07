"""Events of a day give the rates and the scores that a run has after `update` with the log of this day."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from exported import small_log
from history_logs import HISTORY, Row, prepared, random_log, side_tables
from read_back import Table, write_table

import entirespace as es
from entirespace.errors import DataError
from entirespace.features.frames import FrameEncoder
from entirespace.features.history.store import read_state
from entirespace.features.layout import Encoders
from entirespace.serving.bundle import Bundle
from entirespace.serving.events import EventStore
from entirespace.serving.fresh import FreshCounts
from entirespace.serving.lookup import SideTables

pytest.importorskip("lmdb")
ROWS = random_log(120, seed=3)
NEXT = [row | {"t": row["t"] + 1000, "item": row["item"] % 5 + 1, "page": row["page"] and row["page"] + row["slot"]}
        for row in random_log(60, seed=8)]  # fmt: skip
"""With pages that the first day does not have."""


def raw_log(folder: Path, rows: list[Row]) -> Path:
    tables: dict[str, Table] = {**side_tables(), "log.csv": rows}
    for name, table in tables.items():
        write_table(folder / name, table)
    return folder


def events_of(rows: list[Row], seed: int = 0) -> list[dict[str, Any]]:
    """The events of a log, out of order, some of them twice. A row has the columns of the history's keys."""
    users = {u["user"]: u for u in side_tables()["users.csv"]}
    items = {i["item"]: i for i in side_tables()["items.csv"]}
    found: list[dict[str, Any]] = []
    for n, row in enumerate(rows):
        user, item = users.get(row["user"], {}), items.get(row["item"], {})
        columns = {name: row[name] for name in ("page", "slot", "words", "q")}
        columns |= {name: user.get(name, "") for name in ("user", "group")}
        columns |= {name: item.get(name, "") for name in ("item", "shop", "tags")}
        events = [{"type": "impression", "row": columns}]
        events += [{"type": name} for name, label in (("click", "y"), ("conversion", "z")) if row[label]]
        for event in events:
            about = {"event_id": f"{event['type']}-{n}", "impression_id": f"i{n}", "time": row["t"]}
            found += [about | event] * (1 + (n % 5 == 0))
    random.Random(seed).shuffle(found)
    return found


def frame(rows: list[Row]) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    frames = {name.removesuffix(".csv"): pl.DataFrame(some) for name, some in side_tables().items()}
    tags = pl.Series([tags.split() for tags in frames["items"]["tags"]], dtype=pl.List(pl.String))
    words = pl.Series([row["words"].split() for row in rows], dtype=pl.List(pl.String))
    frames["items"] = frames["items"].with_columns(tags=tags)
    return pl.DataFrame(rows).drop("y", "z").with_columns(words=words), frames


LATER = [row | {"t": row["t"] + 5000} for row in random_log(40, seed=9)] + [
    row | {"t": 9000 + i} for i, row in enumerate(NEXT[:10])
]


def rates(encoders: Encoders, newer: Any = None) -> np.ndarray:
    """The rates of rows of a third day."""
    rows, tables = frame(LATER)
    found, bad, _ = FrameEncoder(encoders, tables).encode(rows, newer)
    assert not bad
    assert found.numbers is not None
    return found.numbers


def opened(folder: Path) -> Any:
    """What `FreshCounts` reads of a bundle."""
    return SimpleNamespace(
        encoders=Encoders.open(folder), folder=folder, manifest=SimpleNamespace(history=read_state(folder).digest)
    )


def other_state(bundle: Any) -> Any:
    """The bundle, as if its counts were others."""
    return SimpleNamespace(**vars(bundle) | {"manifest": SimpleNamespace(history="other")})


@pytest.mark.parametrize(
    "settings",
    ["", "half_life = 90", "counts = true\nprior = 3", "delay = 30", "half_life = 90\ndelay = 25\nprior = 3"],
)
def test_rates_are_those_after_an_update_with_the_same_day(tmp_path, settings):
    data = prepared(tmp_path / "a", ROWS, HISTORY + settings)
    bundle = opened(data.path)
    before = rates(bundle.encoders)
    es.update(data, raw_log(tmp_path / "b", NEXT))
    want = rates(Encoders.open(data.path))
    assert np.abs(want - before).max() > 0.01
    events = events_of(NEXT)
    with EventStore(tmp_path / "store") as store:
        fresh = FreshCounts(store, bundle)
        with fresh.now() as now:
            np.testing.assert_allclose(rates(bundle.encoders, now), before, rtol=1e-5, atol=1e-6)
        repeated = 0
        for i in range(0, len(events), 7):  # every few events are a commit
            repeated += fresh.submit(events[i : i + 7]).result().repeated
        assert repeated == len(events) - len({event["event_id"] for event in events}) > 5
        with fresh.now() as now:
            np.testing.assert_allclose(rates(bundle.encoders, now), want, rtol=1e-5, atol=1e-6)
        late = FreshCounts(store, other_state(bundle))
        with late.now() as now:  # another bundle counts what is there
            np.testing.assert_allclose(rates(bundle.encoders, now), want, rtol=1e-5, atol=1e-6)


def test_forgetting_an_id_hides_it_and_removes_its_rows(tmp_path):
    data = prepared(tmp_path / "a", ROWS)
    bundle = opened(data.path)
    history = bundle.encoders.history
    with EventStore(tmp_path / "store") as store:
        fresh = FreshCounts(store, bundle)
        fresh.submit(events_of(NEXT)).result()
        before = FreshCounts(store, other_state(bundle))
        before.close()
        users = [row["user"] for row in NEXT if row["user"] in ("u1", "u2")]
        assert set(users) == {"u1", "u2"}
        with fresh.now() as now:
            u1, u2 = now.counts("user", ["u1", "u2"])
            assert u1[0] == users.count("u1")
            assert now.hidden("user", ["u1"]) is None
            pairs = [f"u1\x1f{slot}" for slot in ("", "1", "2")]
            assert now.counts("user x slot", pairs).sum(axis=0).tolist() == u1.tolist()
            items = now.counts("item", ["1", "2"])
        assert fresh.forget("user", "u1") == users.count("u1")
        for _ in range(2):
            with fresh.now() as now:
                assert now.counts("user", ["u1", "u2"]).tolist() == [[0, 0, 0], u2.tolist()]
                assert not now.counts("user x slot", pairs).any()
                assert np.array(now.hidden("user", ["u1", "u2"])).tolist() == [True, False]
                assert np.array(now.hidden("user x slot", [pairs[1], "u2\x1f1"])).tolist() == [True, False]
                np.testing.assert_array_equal(now.counts("item", ["1", "2"]), items)
                assert all(impression.ids.get("user") != "u1" for _, impression in store.impressions())
                known = [row["user"] == "u1" for row in LATER]
                rows = np.flatnonzero(known)
                names = list(history.spec.names)
                numbers = rates(bundle.encoders, now)[rows]
                alone = names.index("rate.ctcvr.user x slot")
                assert len(rows) > 1
                unknown = rates_of(bundle.encoders, "nobody", now)[rows]
                np.testing.assert_allclose(numbers[:, alone], unknown[:, alone], rtol=1e-5, atol=1e-6)
            fresh.submit(events_of(NEXT)).result()  # repeated: nothing comes back
        event = {"event_id": "new", "type": "impression", "impression_id": "new", "time": 5000}
        row = {"user": "u1", "group": "x", "item": 1, "shop": "s1", "tags": "m", "page": "", "slot": "1", "words": ""}
        fresh.submit([event | {"row": row | {"q": "i"}}]).result()
        with fresh.now() as now:
            assert now.counts("user", ["u1"]).tolist() == [[1, 0, 0]]
        other = FreshCounts(store, other_state(bundle))  # nothing is left of what it had counted before
        with other.now() as now:
            assert now.counts("user", ["u1"]).tolist() == [[1, 0, 0]]
        with pytest.raises(DataError, match="'age'; it counts by user, item"):
            fresh.forget("age", 3)


def rates_of(encoders: Encoders, user: str, newer: Any) -> np.ndarray:
    """The rates of the rows of a third day, of another user with the same group."""
    rows, tables = frame([row | {"user": user} if row["user"] == "u1" else row for row in LATER])
    users = pl.concat([tables["users"], tables["users"].filter(user="u1").with_columns(user=pl.lit(user))])
    found = FrameEncoder(encoders, tables | {"users": users}).encode(rows, newer)[0]
    assert found.numbers is not None
    return found.numbers


def test_an_event_that_is_wrong_is_named_and_none_is_added(tmp_path):
    bundle = opened(prepared(tmp_path / "a", ROWS).path)
    good = events_of(NEXT[:1])[0]
    row = next(event["row"] for event in events_of(NEXT[:1]) if event["type"] == "impression")
    wrong = {
        "event 2: event_id must be a text, however: 7": {"event_id": 7},
        "event_id must have 1 to 256 bytes": {"event_id": ""},
        "impression_id must have 1 to 256 bytes": {"impression_id": "é" * 200},
        "event 2: type must be impression, click or conversion, however: 'view'": {"type": "view"},
        "event 2: time must be a time": {"time": "yesterday"},
        "event 2: time must be a time, written as in the log, however: 1.5": {"time": 1.5},
        "event 2: time must be a time, written as in the log, however: None": {"time": None},
        "event 2: an impression must have its columns": {"row": None},
        "event 2: an impression must have the column 'tags'": {"row": {k: v for k, v in row.items() if k != "tags"}},
        "event 2: 'item' must hold ids": {"row": row | {"item": 2.0**60}},
        "event 2: 'page' must hold ids": {"row": row | {"page": {"a": 1}}},
        "event 2: 'shop' must hold ids": {"row": row | {"shop": ["s1"]}},
    }
    with EventStore(tmp_path / "store") as store:
        fresh = FreshCounts(store, bundle)
        event = {"event_id": "x", "type": "impression", "impression_id": "x", "time": 3, "row": row}
        for message, change in wrong.items():
            with pytest.raises(DataError) as raised:
                fresh.submit([good, event | change])
            assert message in str(raised.value)
        odd: list[dict[str, Any]] = [
            {"time": t} for t in (10**30, -(10**30), 1e300, float("nan"), [3], {}, "\ud800", True)
        ]
        odd += [{"row": row | {"page": value}} for value in ("\ud800", [[1]], b"x")]
        for change in odd:
            with pytest.raises(DataError):
                fresh.submit([good, event | change])
        assert list(store.impressions()) == []
        fresh.submit([event, event | {"event_id": "y", "impression_id": "y", "row": row | {"item": "3.0"}}]).result()
        odd = row | {
            "item": 4.0,
            "page": True,
            "slot": None,
            "shop": "1e3",
            "tags": ["n", 7, 7.0, None],
            "words": "a b",
        }
        fresh.submit([event | {"event_id": "z", "impression_id": "z", "row": odd}]).result()
        ids = [found.ids for _, found in store.impressions()]
        assert [one["item"] for one in ids] == [str(row["item"]), "3", "4"]
        assert [ids[2][name] for name in ("page", "slot", "shop")] == ["true", "", "1e3"]
        assert (ids[2]["tags"], ids[2]["words"]) == (["n", "7", "7", ""], ["a", "b"])


def test_impressions_that_the_bundle_has_counted_can_be_left_out_by_their_time(tmp_path):
    bundle = opened(prepared(tmp_path / "a", ROWS).path)
    with EventStore(tmp_path / "store") as store:
        fresh = FreshCounts(store, bundle, since=NEXT[19]["t"])
        fresh.submit(events_of(NEXT)).result()
        with fresh.now() as now:
            assert now.overall[0] == len(NEXT) - 20


def test_a_bundle_scores_as_its_run_after_an_update(exported, tmp_path):
    """With the side tables on the server."""
    run, folder = exported
    bundle = Bundle.open(folder)
    rows, tables = small_log(400, seed=5)
    rows = rows.with_columns(
        pl.col("t") + 5000, tab=pl.when(pl.int_range(400) % 3 == 0).then(pl.lit("new")).otherwise("tab")
    )
    (tmp_path / "log").mkdir()
    for name, table in {"impressions": rows, **tables}.items():
        table.write_parquet(tmp_path / "log" / f"{name}.parquet")
    shutil.copytree(run.folder, tmp_path / "run")
    es.update(tmp_path / "run", tmp_path / "log")
    later = small_log(100, seed=6)[0].with_columns(tab=pl.lit("new")).drop("y", "z")
    want = es.load(tmp_path / "run").predict(later, tables=tables)
    files = {name: tmp_path / "log" / f"{name}.parquet" for name in tables}
    events: list[dict[str, Any]] = []
    for row in rows.to_dicts():
        about = {"impression_id": f"i{row['t']}", "time": row["t"]}
        columns = {name: row[name] for name in ("uid", "vid", "tab", "words")}
        events += [about | {"event_id": f"z{row['t']}", "type": "conversion"}] * row["z"]
        events += [about | {"event_id": f"y{row['t']}", "type": "click"}] * row["y"]
        events.append(about | {"event_id": f"i{row['t']}", "type": "impression", "row": columns})
    with EventStore(tmp_path / "store") as store:
        fresh = FreshCounts(store, bundle, lookup=SideTables(bundle, files, tmp_path / "sides"))
        fresh.submit(events).result()
        with fresh.now() as now:
            found = bundle.predict(later, tables=tables, newer=now)
        before = bundle.predict(later, tables=tables)
    for name in ("pctr", "pcvr", "pctcvr"):
        np.testing.assert_allclose(getattr(found, name), getattr(want, name), rtol=0, atol=1e-6)
    assert found.unseen == want.unseen
    assert np.abs(before.pctr - want.pctr).max() > 1e-3


def test_events_of_another_process_are_seen_at_once(tmp_path):
    bundle = opened(prepared(tmp_path / "a", ROWS).path)
    code = (
        "import sys; from entirespace.serving.events import Event, EventStore\n"
        "ids = {name: 'u9' for name in ('user', 'item', 'page', 'slot', 'q', 'group', 'shop')}\n"
        "ids |= {'words': ['a'], 'tags': []}\n"
        "EventStore(sys.argv[1]).add([Event('i', 'impression', 'i', 3, ids), Event('c', 'click', 'i', 4)])\n"
        "import entirespace.serving.served, entirespace.serving.redis_tables\n"
        "assert 'torch' not in sys.modules\n"
    )
    with EventStore(tmp_path / "store") as store:
        fresh = FreshCounts(store, bundle)
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "store")], check=True, timeout=60)
        with fresh.now() as now:
            assert now.counts("user x slot", ["u9\x1fu9"]).tolist() == [[1, 1, 0]]
        assert fresh.counts("words", ["b", "a", "a"]).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0]]
