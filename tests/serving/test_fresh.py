"""Events of a day give the rates and the scores that a run has after `update` with the log of this day."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from exported import configured, random_run
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


@pytest.mark.parametrize(
    "settings", ["", "half_life = 90", "counts = true\nprior = 3", "delay = 30", "half_life = 90\ndelay = 25\nprior = 3"]
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
        late = FreshCounts(store, SimpleNamespace(**vars(bundle) | {"manifest": SimpleNamespace(history="other")}))
        with late.now() as now:  # another bundle counts what is there
            np.testing.assert_allclose(rates(bundle.encoders, now), want, rtol=1e-5, atol=1e-6)
