"""entirespace update RUN|DATASET LOG, and evaluate --history"""

from __future__ import annotations

import json

from history_logs import HISTORY, prepared, random_log, side_tables
from read_back import write_table


def test_update_says_what_it_added(run, tmp_path):
    rows = random_log(90, seed=2)
    data = prepared(tmp_path / "a", rows, HISTORY + "delay = 9")
    later = [row | {"t": row["t"] + 190} for row in rows]
    for name, table in {**side_tables(), "log.csv": [*rows[-3:], *later]}.items():
        write_table(tmp_path / "day" / name, table)
    ran = run("update", data.path, tmp_path / "day")
    assert ran.code == 0
    late = sum(row["t"] > later[-1]["t"] - 9 for row in later)
    again = 3 - sum(row["t"] > rows[-1]["t"] - 9 for row in rows[-3:])  # the delay held some of them back
    assert f"{data.path}: {93 - late - again} impressions added" in ran.out
    assert f"{late} are not counted yet, because of the delay" in ran.out
    assert "impressions: 93 rows read, 93 kept" in ran.out
    again = json.loads(run("update", data.path, tmp_path / "day", "--json").out)
    assert again["added"] == 0
    assert again["before"] == again["state"]
    assert run("update", data.path, tmp_path / "nowhere").code == 1


def test_update_needs_a_history(run, tmp_path):
    data = prepared(tmp_path / "a", random_log(60, seed=2), "")
    ran = run("update", data.path, tmp_path / "a" / "raw")
    assert ran.code == 1
    assert "must have a history" in ran.err
