"""The rates of a data frame are those of the same impressions in a later log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from history_logs import HISTORY, Row, prepared, random_log, side_tables

import entirespace as es
from entirespace.config import Config
from entirespace.dataset.dataset import Dataset
from entirespace.errors import DataError
from entirespace.features.frames import FrameEncoder

SETTINGS = ["", 'cross_fit = "time"\ncounts = true', "half_life = 90\ndelay = 3"]


def later_rows() -> list[Row]:
    return [row | {"t": row["t"] + 1000, "slot": row["slot"] or "?"} for row in random_log(70, seed=4)]


def frame_of(rows: list[Row]) -> pl.DataFrame:
    lists = [[w for w in row["words"].split(" ") if w] for row in rows]
    return pl.DataFrame(rows).drop("y", "z").with_columns(words=pl.Series(lists, dtype=pl.List(pl.String)))


def tables() -> dict[str, pl.DataFrame]:
    frames = {name.removesuffix(".csv"): pl.DataFrame(rows) for name, rows in side_tables().items()}
    tags = frames["items"]["tags"].str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
    return frames | {"items": frames["items"].with_columns(tags=tags)}


def joined(frame: pl.DataFrame, name: str, key: str, nothing: dict[str, object]) -> pl.DataFrame:
    """The columns of a side table as columns of the impressions; those of a missing row are empty."""
    side = tables()[name].with_columns(pl.lit(True).alias("found"))
    side = side.with_columns(pl.col(key).cast(frame.schema[key]))
    frame = frame.join(side, on=key, how="left", maintain_order="left")
    return frame.with_columns(
        pl.when(pl.col("found")).then(pl.col(key)).alias(key),
        *(pl.col(c).fill_null(pl.Series([v], dtype=frame.schema[c]).first()) if v != [] else
          pl.when(pl.col(c).is_null()).then(pl.lit([], dtype=pl.List(pl.String))).otherwise(pl.col(c)).alias(c)
          for c, v in nothing.items()),
    ).drop("found")  # fmt: skip


def of_log(folder: Path, data: Dataset, settings: str, **options) -> np.ndarray:
    later = prepared(folder, later_rows(), HISTORY + settings, encoders=data, part="test", **options)
    numbers = [rows.numbers for rows in later.test.chunks() if rows.numbers is not None]
    return np.concatenate(numbers)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("given", [("users", "items"), ("users",), ()])
def test_a_frame_has_the_rates_of_a_later_log(tmp_path, settings, given):
    data = prepared(tmp_path / "first", random_log(200, seed=3), HISTORY + settings)
    expected = of_log(tmp_path / "later", data, settings)
    frame = frame_of(later_rows())
    if "users" not in given:
        frame = joined(frame, "users", "user", {"group": ""})
    if "items" not in given:
        frame = joined(frame, "items", "item", {"shop": "", "tags": []})
    encoder = FrameEncoder(data.encoders, {name: tables()[name] for name in given})
    rows, bad, unseen = encoder.encode(frame)
    assert not bad
    np.testing.assert_array_equal(rows.numbers, expected)
    for i, name in enumerate(data.layout.rates):
        np.testing.assert_array_equal(rows.fields[name].values, data.encoders[name].encode(expected[:, i]))
    slots = len(later_rows()) - sum(row["slot"] in ("1", "2") for row in later_rows())
    assert unseen["rate.click.slot"].missing == slots > 0


def test_ids_are_equal_by_value_however_a_frame_stores_them(tmp_path):
    data = prepared(tmp_path, random_log(200, seed=3))
    frame = frame_of([row | {"slot": str(i % 3)} for i, row in enumerate(later_rows())])
    expected = FrameEncoder(data.encoders, tables()).encode(frame)[0].numbers
    for kind in (pl.Int8, pl.Float64, pl.Categorical):
        column = frame["slot"].cast(pl.Int64).cast(kind) if kind != pl.Categorical else frame["slot"].cast(kind)
        found = FrameEncoder(data.encoders, tables()).encode(frame.with_columns(column))[0].numbers
        np.testing.assert_array_equal(found, expected)


def test_an_id_of_a_key_that_no_one_can_be_sure_of_makes_a_bad_row(tmp_path):
    data = prepared(tmp_path, random_log(100, seed=3))
    slots = [2.0**60 if i == 5 else 1.0 for i in range(70)]
    frame = frame_of(later_rows()).with_columns(slot=pl.Series(slots))
    rows, bad, _ = FrameEncoder(data.encoders, tables()).encode(frame)
    assert [(b.row, b.field) for b in bad] == [(5, "slot")]
    assert rows.numbers is not None
    assert len(rows.numbers) == len(rows) == 69


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def fitted(data: Dataset, out: Path, **network) -> es.Run:
    config = {
        "network": {"embedding_size": 4, "hidden": [8], **network},
        "training": {"batch_size": 32, "epochs": 1, "threads": 1},
    }
    return es.fit(es.ESMM(), data.train, seed=0, config=Config.model_validate(config), out=out)


def test_excluded_fields_are_still_keys_of_the_history(tmp_path):
    data = prepared(tmp_path / "first", random_log(300, seed=3))
    without = ["user", "item", "q", "group", "shop", "tags", "page", "words", "rate.click.user"]
    run = fitted(data, tmp_path / "run", exclude=without)
    later = prepared(tmp_path / "later", later_rows(), encoders=data, part="test")
    frame = frame_of(later_rows())
    p, q = run.predict(later.test), run.predict(frame, tables=tables())
    np.testing.assert_array_equal(p.pctcvr, q.pctcvr)
    with pytest.raises(DataError, match=r"the column 'slot'"):
        run.predict(frame.drop("slot"), tables=tables())
    with pytest.raises(DataError, match=r"the column 'tags'"):
        run.predict(frame, tables=tables() | {"items": tables()["items"].drop("tags")})


def test_without_history_a_run_is_that_of_a_log_prepared_without(tmp_path):
    rows = random_log(300, seed=3)
    run = fitted(prepared(tmp_path / "with", rows), tmp_path / "one", history=False, numbers="bucket")
    plain = fitted(prepared(tmp_path / "without", rows, ""), tmp_path / "other", numbers="bucket")
    frame = frame_of(later_rows()).drop("slot")  # no field, only a key
    for name in ("pctr", "pcvr", "pctcvr"):
        one, other = (r.predict(frame, tables=tables()) for r in (run, plain))
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    losses = [[line.get("loss") for line in lines_of(tmp_path / name / "metrics.jsonl")] for name in ("one", "other")]
    assert losses[0] == losses[1] != []
