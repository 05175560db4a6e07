"""What is served, joined with the outcomes, is a log: the dataset has the right labels and the features of serving."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from exported import small_log

import entirespace as es
from entirespace.errors import DataError
from entirespace.serving.bundle import Bundle
from entirespace.serving.events import EventStore
from entirespace.serving.fresh import FreshCounts
from entirespace.serving.served import Served, ServedLog, export_outcomes, training_log

pytest.importorskip("lmdb")
START = datetime(2026, 1, 1, tzinfo=UTC)


def requests(bundle: Bundle, n: int = 60) -> list[Served]:
    """Requests of three candidates each; users and items without a row in their tables are among them."""
    rows, tables = small_log(3 * n, seed=7)
    first = pl.int_range(pl.len()) // 3 * 3
    same = ("uid", "tab", "price", "words", "session")
    rows = rows.with_columns(pl.col(*same).gather(first))
    rows = rows.with_columns(
        uid=pl.when(first % 15 == 0).then(pl.lit("nobody")).otherwise("uid"),
        vid=pl.when(pl.int_range(pl.len()) % 8 == 0).then(999).otherwise("vid"),
    )
    p = bundle.predict(rows, tables=tables)
    users = {row["uid"]: row for row in tables["user"].to_dicts()}
    items = {row["vid"]: row for row in tables["item"].to_dicts()}
    found: list[Served] = []
    for i in range(0, 3 * n, 3):
        some, request = rows[i : i + 3], rows.row(i, named=True)
        of_request: dict[tuple[str, str], Any] = {("impressions", name): request[name] for name in same}
        of_request |= {("user", name): value for name, value in users.get(request["uid"], {}).items()}
        looked_up = [items.get(vid, {}) for vid in some["vid"]]
        candidates: dict[tuple[str, str], Any] = {("impressions", "vid"): some["vid"].to_list()}
        candidates |= {("item", name): [one.get(name) for one in looked_up] for name in ("vid", "shop", "length")}
        here = slice(i, i + 3)
        found.append(
            Served(
                [f"i{i + k}" for k in range(3)], of_request, candidates, p.pctr[here], p.pcvr[here], p.pctcvr[here],
                "7", START + timedelta(seconds=i),
            )
        )  # fmt: skip
    return found


def test_the_loop_from_serving_to_training_is_closed(exported, tmp_path):
    run, folder = exported
    bundle = Bundle.open(folder)
    served = requests(bundle)
    with ServedLog(tmp_path / "served", bundle, rows=50) as log:
        for one in served:
            log.write(one)
    assert log.lost == 0
    files = sorted((tmp_path / "served").glob("served-*.parquet"))
    assert len(files) >= 1
    logged = pl.concat(map(pl.read_parquet, files))
    assert len(logged) == 180
    assert set(logged["served.version"]) == {"7"}
    rng = np.random.default_rng(0)
    shown = [(f"i{k}", bool(rng.random() < 0.4), bool(rng.random() < 0.5)) for k in range(180) if k % 3 < 2]
    with EventStore(tmp_path / "store") as store:
        fresh = FreshCounts(store, bundle)
        events: list[dict[str, Any]] = []
        for name, click, conversion in shown:
            row = {"uid": "u1", "vid": 1, "tab": "home", "words": [], "shop": "s1"}
            about = {"impression_id": name, "time": 5000}
            events.append(about | {"event_id": f"i-{name}", "type": "impression", "row": row})
            events += [about | {"event_id": f"c-{name}", "type": "click"}] * click
            events += [about | {"event_id": f"z-{name}", "type": "conversion"}] * conversion
        fresh.submit(events[::-1]).result()
        assert export_outcomes(store, tmp_path / "outcomes.parquet") == len(shown)
    assert training_log(tmp_path / "served", tmp_path / "outcomes.parquet", tmp_path / "log") == len(shown)
    data = es.prepare(tmp_path / "log" / "schema.toml", tmp_path / "log", tmp_path / "data")
    labels = [part.column(stage) for stage in ("click", "conversion") for part in data.parts]
    n = len(data.parts)
    assert np.concatenate(labels[:n]).tolist() == [click for _, click, _ in shown]
    assert np.concatenate(labels[n:]).tolist() == [click and conversion for _, click, conversion in shown]
    mine = {f.name: f for f in data.encoders.fields}
    assert set(mine) == {f.name for f in run.encoders.fields}
    # with the run's layout, the features are those that were served: they give the scores that were served
    again = es.prepare(
        tmp_path / "log" / "schema.toml", tmp_path / "log", tmp_path / "test", encoders=run.folder, part="test"
    )
    p = run.predict(again.test)
    ids = [name for name, _, _ in shown]
    want = logged.filter(pl.col("served.impression_id").is_in(ids)).sort("served.time", maintain_order=True)
    for name in ("pctr", "pcvr", "pctcvr"):
        np.testing.assert_allclose(getattr(p, name), want[f"served.{name}"].to_numpy(), rtol=0, atol=1e-6)
    with pytest.raises(DataError, match="must be new or empty"):
        training_log(tmp_path / "served", tmp_path / "outcomes.parquet", tmp_path / "log")


def test_files_appear_whole_by_size_and_by_time(exported, tmp_path):
    bundle = Bundle.open(exported[1])
    served = requests(bundle, 10)

    def files() -> list[Path]:
        return sorted((tmp_path / "served").glob("served-*.parquet"))

    with ServedLog(tmp_path / "served", bundle, rows=6, seconds=0.5) as log:
        log.write(served[0])
        assert files() == []
        log.write(served[1])
        wait(lambda: len(files()) == 1)
        log.write(served[2])
        wait(lambda: len(files()) == 2)  # after half a second
        log.write(served[3])
    assert [len(pl.read_parquet(file)) for file in files()] == [6, 3, 3]
    assert {p.name for p in (tmp_path / "served").iterdir()} == {"schema.toml", *(p.name for p in files())}
    empty = tmp_path / "none.parquet"
    with EventStore(tmp_path / "store") as store:
        assert export_outcomes(store, empty) == 0
    with pytest.raises(DataError, match="some impressions must be served and shown"):
        training_log(tmp_path / "served", empty, tmp_path / "log")
    with pytest.raises(DataError, match=r"must hold served-\*"):
        training_log(tmp_path / "store", empty, tmp_path / "log")


def wait(until: Any) -> None:
    for _ in range(200):
        if until():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in 10 seconds")
