"""`update` counts a later log in the history of a dataset or a run; online rates know earlier impressions of a part."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from history_logs import HISTORY, SCHEMA, Row, prepared, random_log, read, side_tables
from read_back import Table, write_table

import entirespace as es
from entirespace.config import Config
from entirespace.dataset.dataset import Dataset
from entirespace.errors import ConfigError, DataError
from entirespace.features.frames import FrameEncoder
from entirespace.features.history import store
from entirespace.features.history.store import read_state
from entirespace.features.layout import Encoders
from entirespace.folders import locked

ROWS = random_log(120, seed=3)
NEXT = [row | {"t": row["t"] + 1000, "item": row["item"] % 5 + 1} for row in random_log(60, seed=8)]
QUICK = Config.model_validate(
    {"network": {"embedding_size": 3, "hidden": [5]}, "training": {"epochs": 1, "batch_size": 64, "threads": 1}}
)


def log(folder: Path, rows: list[Row]) -> Path:
    """The raw log of a later day."""
    tables: dict[str, Table] = {**side_tables(), "log.csv": rows}
    for name, table in tables.items():
        write_table(folder / name, table)
    return folder


def numbers(folder: Path) -> np.ndarray:
    """The rates of some rows of a third day, from the counts that stand in a folder."""
    rows = [row | {"t": row["t"] + 5000} for row in random_log(40, seed=9)]
    words = pl.Series([row["words"].split() for row in rows], dtype=pl.List(pl.String))
    frame = pl.DataFrame(rows).drop("y", "z").with_columns(words=words)
    frames = {name.removesuffix(".csv"): pl.DataFrame(some) for name, some in side_tables().items()}
    tags = pl.Series([tags.split() for tags in frames["items"]["tags"]], dtype=pl.List(pl.String))
    encoder = FrameEncoder(Encoders.open(folder), frames | {"items": frames["items"].with_columns(tags=tags)})
    found, bad, _ = encoder.encode(frame)
    assert not bad
    assert found.numbers is not None
    return found.numbers


@pytest.mark.parametrize("settings", ["", "half_life = 90", "counts = true\nprior = 3"])
def test_an_updated_history_is_that_of_a_later_log_on_top(tmp_path, settings):
    data = prepared(tmp_path / "a", ROWS, HISTORY + settings)
    before, alone = numbers(data.path), read(data)
    found = es.update(data, log(tmp_path / "b", NEXT))
    assert (found.added, found.repeated, found.early) == (len(NEXT), 0, 0)
    assert found.state == read_state(data.path).digest != found.before
    assert np.abs(numbers(data.path) - before).max() > 0.01
    data_again = prepared(tmp_path / "a", ROWS, HISTORY + settings)
    later = prepared(tmp_path / "later", NEXT, HISTORY + settings, encoders=data_again, part="test")
    np.testing.assert_allclose(numbers(data.path), numbers(later.path), rtol=1e-5, atol=1e-6)
    for t, (part, fold, rates) in read(Dataset(data.path)).items():  # they do not know the future
        assert (part, fold) == alone[t][:2]
        np.testing.assert_allclose(rates, alone[t][2], rtol=1e-5, atol=1e-6)
    Dataset(data.path).verify()


def test_the_rates_of_the_dataset_itself_stay_to_the_bit(tmp_path):
    data = prepared(tmp_path / "a", ROWS)
    alone = read(data)
    es.update(data, log(tmp_path / "b", NEXT))
    for t, (_, _, rates) in read(Dataset(data.path)).items():
        np.testing.assert_array_equal(rates, alone[t][2])


def test_no_impression_is_counted_twice(tmp_path):
    data = prepared(tmp_path / "a", ROWS)
    again = es.update(data, log(tmp_path / "a again", ROWS))
    assert (again.added, again.repeated, again.state) == (0, len(ROWS), again.before)
    turned = [row | {"y": 1, "z": 1} for row in ROWS[-30:]]  # an outcome is no part of what identifies a row
    found = es.update(data, log(tmp_path / "b", [*turned, *NEXT]))
    assert (found.added, found.repeated) == (len(NEXT), 30)
    other = prepared(tmp_path / "a", ROWS)
    es.update(other, log(tmp_path / "c", NEXT[:25]))
    es.update(other, log(tmp_path / "d", NEXT[10:]))
    assert read_state(other.path).updates == 2
    np.testing.assert_array_equal(numbers(other.path), numbers(data.path))


def test_equal_impressions_are_told_apart_by_their_number(tmp_path):
    data = prepared(tmp_path / "a", ROWS)
    found = es.update(data, log(tmp_path / "b", [NEXT[0]] * 3))
    assert found.added == 3
    found = es.update(data, log(tmp_path / "c", [NEXT[0]] * 5))
    assert (found.added, found.repeated) == (2, 3)


def test_outcomes_that_are_not_known_yet_are_counted_by_the_next_update(tmp_path):
    data = prepared(tmp_path / "a", ROWS, HISTORY + "delay = 50")
    found = es.update(data, log(tmp_path / "b", NEXT))
    late = sum(row["t"] > NEXT[-1]["t"] - 50 for row in NEXT)
    assert (found.added, found.early) == (len(NEXT) - late, late)
    more = [row | {"t": row["t"] + 500} for row in NEXT]
    found = es.update(data, log(tmp_path / "c", [*NEXT, *more]))
    assert (found.added, found.repeated, found.early) == (late + len(more) - late, len(NEXT) - late, late)


def test_prepare_says_when_a_later_log_is_counted_already(tmp_path):
    data = prepared(tmp_path / "a", ROWS)
    later = prepared(tmp_path / "b", [*ROWS[-20:], *NEXT], encoders=data, part="test")
    assert any("20 impressions are counted in the history" in w for w in later.manifest.audit["warnings"])
    once = prepared(tmp_path / "c", NEXT, encoders=data, part="test")
    np.testing.assert_allclose(numbers(later.path), numbers(once.path), rtol=1e-6)


def fitted(data: Dataset, out: Path) -> es.Run:
    reference = es.reference_ctr(data.train, config=QUICK)
    return es.fit(es.BASE(), data.train, config=QUICK, reference=reference, out=out)


def test_a_run_is_updated_with_its_reference_and_nothing_else_is(tmp_path):
    data = prepared(tmp_path / "a", ROWS)
    run = fitted(data, tmp_path / "run")
    shared = {path: path.read_bytes() for path in (data.path / "history").iterdir()}
    assert (tmp_path / "run/history/00.parquet").stat().st_ino == (data.path / "history/00.parquet").stat().st_ino
    before = run.predict(data.test)
    recorded = read_state(data.path).digest
    assert f'"history": "{recorded}"' in (tmp_path / "run/run.json").read_text()
    es.update(tmp_path / "run", log(tmp_path / "b", NEXT))
    assert {path: path.read_bytes() for path in (data.path / "history").iterdir()} == shared
    assert read_state(tmp_path / "run").digest == read_state(tmp_path / "run/reference").digest != recorded
    np.testing.assert_array_equal(es.load(tmp_path / "run").predict(data.test).pctcvr, before.pctcvr)
    assert np.abs(numbers(tmp_path / "run") - numbers(data.path)).max() > 0.01
    es.fit(es.BASE(), data.train, config=QUICK, reference=run.reference, out=tmp_path / "run")  # it is still whole


def test_an_update_that_is_killed_leaves_the_history_as_it_was(tmp_path, monkeypatch):
    data = prepared(tmp_path / "a", ROWS)
    before = numbers(data.path)
    write = store.State.write

    def killed(self: store.State, path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.State, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        es.update(data, log(tmp_path / "b", NEXT))
    monkeypatch.setattr(store.State, "write", write)
    np.testing.assert_array_equal(numbers(data.path), before)
    assert es.update(data, log(tmp_path / "b", NEXT)).added == len(NEXT)
    assert es.update(data, log(tmp_path / "c", [row | {"t": row["t"] + 7} for row in NEXT])).added == len(NEXT)
    names = {path.name.split(".")[1] for path in (data.path / "history").glob("*.parquet")}
    assert names == {"1", "2"}, "the state before stays for its readers, older ones are removed"
    es.prepare(tmp_path / "a" / "schema.toml", tmp_path / "a" / "raw", data.path, force=True)  # they are its own files


def test_errors(tmp_path):
    plain = prepared(tmp_path / "plain", ROWS, "")
    with pytest.raises(ConfigError, match="must have a history"):
        es.update(plain, log(tmp_path / "b", NEXT))
    data = prepared(tmp_path / "a", ROWS)
    before = read_state(data.path)
    with locked(data.path), pytest.raises(DataError, match="one process at a time"):
        es.update(data, log(tmp_path / "b", NEXT))
    with pytest.raises(DataError, match=r"log\.csv.*bad_label|bad_label"):
        es.update(data, log(tmp_path / "bad", [row | {"y": "?"} for row in NEXT]))
    with pytest.raises(ConfigError, match="slot"):
        es.update(data, log(tmp_path / "less", [{k: v for k, v in row.items() if k != "slot"} for row in NEXT]))
    assert read_state(data.path) == before
    assert not list(data.path.glob(".*")), "no temporary folder stays"


def test_another_schema_may_name_other_columns(tmp_path):
    data = prepared(tmp_path / "a", ROWS)
    other = tmp_path / "other.toml"
    other.write_text((SCHEMA + HISTORY).replace('click = "y"', 'click = "clicked"'))
    renamed = [{("clicked" if k == "y" else k): v for k, v in row.items()} for row in NEXT]
    assert es.update(data, log(tmp_path / "b", renamed), schema=other).added == len(NEXT)
    assert es.update(data, log(tmp_path / "c", NEXT)).repeated == len(NEXT)


@pytest.mark.parametrize("settings", ["prior = 3", "prior = 3\ndelay = 11", "prior = 3\nhalf_life = 40"])
def test_online_rates_know_the_earlier_impressions_of_the_part(tmp_path, settings):
    """Against a count by hand, of one key without parents."""
    rows = random_log(150, seed=6, ties=True)
    data = prepared(tmp_path / "a", rows, '[history]\nkeys = ["slot"]\nrates = ["click"]\n' + settings)
    history = data.encoders.history
    assert history is not None
    delay, half = history.spec.delay, history.spec.half_life
    test = [row for row in rows if row["t"] in set(data.test.column("order").tolist())]
    known = [row for row in rows if row not in test]
    frozen, online = (
        np.concatenate([chunk.numbers for chunk in part.chunks() if chunk.numbers is not None])[:, 0]
        for part in (data.test, data.test.with_online_rates())
    )
    mean = history.means[0, history.spec.folds + 1, 0]
    ends = {name: max(getattr(data, name).column("order")) for name in ("train", "validation")}
    parts = {t: name for name in ("train", "validation") for t in getattr(data, name).column("order").tolist()}
    for i, row in enumerate(test):
        counted: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
        for other in known:
            if other["t"] <= ends[parts[other["t"]]] - delay:
                counted["frozen"] += _weight(other["t"], ends["train"], half) * np.array([1, other["y"]]) * (
                    other["slot"] == row["slot"]
                )  # fmt: skip
        counted["online"] = counted["frozen"] * _weight(ends["train"], row["t"], half)
        for other in test:
            if other["t"] + delay < row["t"] and other["slot"] == row["slot"]:
                counted["online"] += _weight(other["t"], row["t"], half) * np.array([1, other["y"]])
        for name, got in (("frozen", frozen), ("online", online)):
            n, k = counted[name]
            p = (k + 3 * mean) / (n + 3)
            expected = math.log(p / (1 - p)) - math.log(mean / (1 - mean))
            assert got[i] == pytest.approx(expected, abs=2e-5), (name, i)
    assert np.abs(frozen - online).max() > 0.05


def _weight(time: int, now: int, half_life: int | None) -> float:
    return 1.0 if half_life is None else 2.0 ** ((time - now) / half_life)


def test_online_rates_are_for_parts_that_are_not_trained_on(tmp_path):
    data = prepared(tmp_path / "a", ROWS)
    with pytest.raises(ConfigError, match="the part is train"):
        data.train.with_online_rates()
    with pytest.raises(ConfigError, match="it has no history"):
        prepared(tmp_path / "plain", ROWS, "").test.with_online_rates()
    unlabelled = prepared(tmp_path / "b", NEXT, encoders=data, part="test", labelled=False)
    with pytest.raises(DataError, match="outcomes"):
        unlabelled.test.with_online_rates()
    one = prepared(tmp_path / "one", ROWS[:1], HISTORY, part="test")
    frozen, online = (next(iter(part.chunks())).numbers for part in (one.test, one.test.with_online_rates()))
    np.testing.assert_array_equal(frozen, online)
    none = prepared(tmp_path / "none", ROWS, HISTORY, part="train")
    assert not list(none.test.with_online_rates().chunks())


def test_an_evaluation_says_which_counts_it_used(tmp_path):
    data = prepared(tmp_path / "a", ROWS)
    run = fitted(data, tmp_path / "run")
    for part, counts in ((data.test, "frozen"), (data.test.with_online_rates(), "online")):
        found = run.evaluate(part)
        assert found.history == {"counts": counts, "state": read_state(data.path).digest}
        assert f"counts of the history {counts}" in str(found)
    without = QUICK.model_copy(update={"network": QUICK.network.model_copy(update={"history": False})})
    reference = es.reference_ctr(data.train, config=without)
    plain = es.fit(es.BASE(), data.train, config=without, reference=reference)
    assert "history" not in str(plain.evaluate(data.test))
