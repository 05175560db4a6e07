"""Segments and users of columns that are no fields: counts by hand, and the AUC inside users by scikit-learn."""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from read_back import impressions, prepare_files
from sklearn.metrics import roc_auc_score

from entirespace.errors import ConfigError
from entirespace.metrics.evaluation import Truths, measure
from entirespace.metrics.segments import by_field, measure_segments
from entirespace.metrics.values import Undefined

SCHEMA = """
[impressions]
files = ["log*"]
labels = { click = "y", conversion = "z" }
missing = ["NULL", -9]
[impressions.fields]
item = {}
[roles]
user = "uid"
segments = ["rid", "device", "level", "many", "item"]
[split]
by = "random"
train = 0.3
"""


def log_of(seed: int) -> list[dict]:
    r, rows = random.Random(seed), []
    for i in range(700):
        row = {"rid": f"r{i}", "y": r.randrange(2), "z": r.randrange(2), "item": r.choice("ab")}
        row |= {"device": r.choice(["tv", "phone", "phone", "NULL", ""]), "level": r.choice([1, 2, 3, -9])}
        rows.append(row | {"many": str(int(r.random() ** 2 * 40)), "uid": r.choice(["", "NULL", *map(str, range(12))])})
    return rows


def value(cell: object) -> str:
    return "no value" if str(cell) in ("", "NULL", "-9", "None") else str(cell).removesuffix(".0")


@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_each_segment_and_user_equals_a_count_by_hand(tmp_path, few_rows, storage):
    rows = log_of(1)
    files = {"log.csv": rows}
    if storage == "parquet":  # levels are floats with nulls in the first file, and text in the second
        frame = pl.DataFrame(rows).with_columns(pl.col("level").replace(-9, None).cast(pl.Float64))
        files = {"log1.parquet": frame[:300], "log2.parquet": pl.DataFrame(rows)[300:].cast({"level": pl.String})}
    with few_rows():
        data = prepare_files(tmp_path, SCHEMA, files)
    part, raw = data.test, {row["rid"]: row for row in rows}
    read = [row for row in impressions(data) if row["part"] == "test"]
    rng = np.random.default_rng(2)
    pctr, pcvr = (rng.integers(1, 30, len(read)).astype(np.float32) / 32 for _ in range(2))
    p, truths = {"ctr": pctr, "cvr": pcvr, "ctcvr": pctr * pcvr}, Truths.of(part)
    mine = [raw[row["rid"]] | {"p": i} for i, row in enumerate(read)]
    for by in ("device", "level", "many"):
        groups = defaultdict(list)
        for row in mine:
            groups[value(row[by])].append(row)
        if len(groups) > 20:
            largest = sorted((len(g) for g in groups.values()), reverse=True)[:20]
            found = {line.name: line for line in measure_segments(by_field(part, by), p, truths)}
            assert len(found) == 21
            others = found.pop(f"the other {len(groups) - 20} values")
            assert sorted((line.impressions for line in found.values()), reverse=True) == largest
            assert others.impressions == len(mine) - sum(largest)
        else:
            found = {line.name: line for line in measure_segments(by_field(part, by), p, truths)}
            assert found.keys() == groups.keys()
        for name, line in found.items():
            group = groups[name]
            clicks = [row for row in group if row["y"]]
            assert (line.impressions, line.clicks) == (len(group), len(clicks))
            assert line.conversions == sum(row["z"] for row in clicks)
            assert line.tasks["ctr"].mean == pytest.approx(sum(pctr[row["p"]] for row in group) / len(group))
            if sum(row["z"] for row in clicks):
                pcoc = sum(pcvr[row["p"]] for row in clicks) / sum(row["z"] for row in clicks)
                assert line.tasks["cvr"].pcoc == pytest.approx(pcoc)
    of_user = defaultdict(list)
    for row in mine:
        if value(row["uid"]) != "no value":
            of_user[row["uid"]].append(row)
    for task, label, those in (
        ("ctr", lambda row: row["y"], lambda _: True),
        ("cvr", lambda row: row["z"], lambda row: row["y"]),
        ("ctcvr", lambda row: row["y"] * row["z"], lambda _: True),
    ):
        total = weight = 0.0
        for group in of_user.values():
            kept = [row for row in group if those(row)]
            labels = [label(row) for row in kept]
            if 0 < sum(labels) < len(labels):
                total += len(kept) * float(roc_auc_score(labels, [p[task][row["p"]] for row in kept]))
                weight += len(kept)
        found = measure(p, truths)[task]
        assert not isinstance(found.grouped_auc, Undefined)
        assert found.grouped_auc == pytest.approx(total / weight)
        assert found.grouped_auc_share == pytest.approx(weight / sum(bool(those(row)) for row in mine))
    # a segment that is a field, too, is measured by the field
    assert {line.impressions for line in measure_segments(by_field(part, "item"), p, truths)} == {
        sum(row["item"] == item for row in mine) for item in "ab"
    }
    with pytest.raises(ConfigError, match="uid"):
        by_field(part, "uid")
