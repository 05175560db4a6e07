"""Repeats of an impression, orphans and conversions of a table of their own, compared with plain loops over dicts."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest
from read_back import by_row, prepare_files, reasons

from entirespace.errors import EntirespaceError

Row = dict[str, Any]
STAGES = ("click", "conversion")


def log_of(seed: int, unique: tuple[str, ...], weighted: bool, conversions: bool) -> list[Row]:
    """Random impressions, of which many are one impression."""
    r, rows = random.Random(seed), []
    for i in range(r.choice([30, 70])):
        row = {"rid": f"r{i}", "t": r.randrange(40), "y": r.choice([0, 0, 1]), "item": r.choice("abc")}
        row |= {name: r.randrange(9 if len(unique) == 1 else 4) for name in unique}
        row |= {"click_t": row["t"] + r.randrange(9) if row["y"] or r.random() < 0.2 else ""}
        if not conversions:
            row["z"] = r.choice([0, 0, 1])
            row["conversion_t"] = row["t"] + r.randrange(50) if row["z"] or r.random() < 0.2 else ""
        if weighted:
            row["w"] = r.choice([0.5, 1, 2, 3.25])
        rows.append(row)
    return rows


def schema_of(
    unique: tuple[str, ...], on_repeat: str | None, order: bool, timed: bool, weighted: bool, late: str = ""
) -> str:
    labels = 'click = "y"' + ("" if late else ', conversion = "z"')
    times = 'click = "click_t"' + ("" if late else ', conversion = "conversion_t"')
    return f"""
[impressions]
files = ["log*"]
labels = {{ {labels} }}
{'order = "t"' if order else ""}
unique = {list(unique)}
{f'on_repeat = "{on_repeat}"' if on_repeat else ""}
{'weight = "w"' if weighted else ""}
{f"times = {{ {times} }}" if timed else ""}
[impressions.fields]
item = {{}}
[roles]
segments = ["rid"]
[split]
by = "all"
part = "train"
{late}
"""


def slow(rows: list[Row], unique: tuple[str, ...], on_repeat: str, on_orphan: str) -> dict[str, Row] | None:
    """Row id -> the labels, times and weight of each row that is kept; None: refused."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if on_repeat != "any" and row["z"] and not row["y"]:
            if on_orphan == "error":
                return None
            if on_orphan == "drop":
                continue
        groups.setdefault(tuple(row[name] for name in unique), []).append(row)
    found: dict[str, Row] = {}
    for group in groups.values():
        kept = dict(group[-1] if on_repeat == "last" else group[0])
        if on_repeat == "any":
            for label, time in (("y", "click_t"), ("z", "conversion_t")):
                first = next((row for row in group if row[label]), kept)
                if not kept[label]:
                    kept |= {label: first[label], time: first[time]}
            if kept["z"] and not kept["y"]:
                if on_orphan == "error":
                    return None
                if on_orphan == "drop":
                    continue
        found[kept["rid"]] = kept
    return found


@pytest.mark.parametrize("seed", range(24))
def test_one_row_of_each_impression_is_kept(tmp_path, few_rows, seed):
    r = random.Random(seed)
    unique = r.choice([("id",), ("id", "b")])
    on_repeat, on_orphan = ("first", "last", "any")[seed % 3], r.choice(["keep", "keep", "drop", "error"])
    order, timed, weighted = r.random() < 0.5, r.random() < 0.7, r.random() < 0.5
    rows = log_of(seed, unique, weighted, conversions=False)
    if on_orphan == "error" and r.random() < 0.7:  # a log without an orphan
        rows = [row | {"y": row["y"] or row["z"], "click_t": row["t"]} for row in rows]
    cut = r.choice([0, 0, len(rows) // 3])
    files = {"log_2.csv": rows[:cut], "log_10.csv": rows[cut:]} if cut else {"log.csv": rows}
    if cut and r.random() < 0.5:  # another storage
        second = pl.DataFrame(rows[cut:], infer_schema_length=None, strict=False)
        numbers = [c for c in second.columns if c in ("id", "b")]
        missing = [pl.col(c).cast(pl.Int64, strict=False) for c in second.columns if c.endswith("_t")]
        files["log_10.parquet"] = second.with_columns(*missing, *(pl.col(c).cast(pl.Float64) for c in numbers))
        del files["log_10.csv"]
    expected = slow(rows, unique, on_repeat, on_orphan)
    schema = schema_of(unique, None if on_repeat == "first" and r.random() < 0.5 else on_repeat, order, timed, weighted)
    options = {"on_orphan": on_orphan, "max_bad": 1.0}

    # a row whose stage was reached without a time is bad: there is none in this log
    def run():
        if seed % 2:
            with few_rows():
                return prepare_files(tmp_path, schema, files, **options)
        return prepare_files(tmp_path, schema, files, **options)

    if expected is None:
        with pytest.raises(EntirespaceError, match="a conversion needs a click"):
            run()
        return
    data = run()
    found = by_row(data)
    assert found.keys() == expected.keys()
    for rid, row in found.items():
        want = expected[rid]
        assert (row["click"], row["conversion"]) == (bool(want["y"]), bool(want["y"] and want["z"])), rid
        if timed and row["click"]:
            assert row["time.click"] == want["click_t"], rid
        if timed and row["conversion"]:
            assert row["time.conversion"] == want["conversion_t"], rid
        if weighted:
            assert row["weight"] == want["w"]
    if on_orphan == "keep" and on_repeat != "any":
        assert reasons(data).get("duplicate_impression", 0) == len(rows) - len(expected)


@pytest.mark.parametrize("seed", range(30))
def test_conversions_of_a_table_of_their_own_go_to_the_last_click_before_them(tmp_path, few_rows, seed):
    r = random.Random(seed)
    key = r.choice([("id",), ("id", "b")])
    timed, window = r.random() < 0.8, r.choice([None, 0, 7, 15])
    order = timed or r.random() < 0.5
    window = window if timed else None
    unique, on_repeat = r.choice(
        [((), None), (("item", "t"), "first"), (("item", "t"), "last"), (("item", "t"), "any")]
    )
    rows = log_of(seed, key, False, conversions=True)
    conversions: list[Row] = []
    for _ in range(r.choice([1, 25, 60])):
        one = {f"k{i}": r.randrange(9 if len(key) == 1 else 4) for i in range(len(key))}
        conversions.append(one | {"when": r.randrange(60)})
    late = f"""
[conversions]
files = ["conversions*"]
key = {[f"k{i}" for i in range(len(key))] if len(key) == 2 or r.random() < 0.5 else '"k0"'}
on = {list(key)}
{'time = "when"' if timed else ""}
{f"window = {window}" if window is not None else ""}
"""
    late = late.replace("'\"k0\"'", '"k0"')
    schema = schema_of(unique, on_repeat, order, timed=False, weighted=False, late=late)
    stored = pl.DataFrame(conversions) if r.random() < 0.5 else conversions
    files = {"log.csv": rows, "conversions" + (".parquet" if stored is not conversions else ".csv"): stored}
    with few_rows():
        data = prepare_files(tmp_path, schema, files, max_bad=1.0)

    # the impressions that are kept, as if the log had no other rows
    kept: dict[Any, Row] = {}
    for i, row in enumerate(rows):
        row = row | {"place": i, "at": row["t"] if order else i}
        group = tuple(row[name] for name in unique) if unique else i
        if group in kept and on_repeat == "any":
            kept[group]["y"] |= row["y"]
        elif group not in kept or on_repeat == "last":
            kept[group] = row
    expected, joined = {row["rid"]: None for row in kept.values()}, 0
    for conversion in conversions:
        mine = tuple(conversion[f"k{i}"] for i in range(len(key)))
        clicks = [row for row in kept.values() if row["y"] and tuple(row[name] for name in key) == mine]
        if timed:
            clicks = [row for row in clicks if row["at"] <= conversion["when"]]
        if not clicks:
            continue
        # of clicks at the same time, the first in the log; with on_repeat = "last" the last one
        sign = 1 if on_repeat == "last" else -1
        last = max(clicks, key=lambda row: (row["at"], sign * row["place"]))
        if window is not None and conversion["when"] - last["at"] > window:
            continue
        joined += 1
        before = expected[last["rid"]]
        expected[last["rid"]] = conversion["when"] if before is None else min(before, conversion["when"])
    found = by_row(data)
    assert found.keys() == expected.keys()
    assert {rid for rid, row in found.items() if row["conversion"]} == {
        r for r, at in expected.items() if at is not None
    }
    if timed:
        assert {rid: row["time.conversion"] for rid, row in found.items() if row["conversion"]} == {
            rid: at for rid, at in expected.items() if at is not None
        }
    clicked = {rid for rid, row in found.items() if row["click"]}
    assert clicked == {row["rid"] for row in kept.values() if row["y"]}
    lost = reasons(data, "conversions")
    assert lost.get("no_click", 0) + lost.get("no_impression", 0) == len(conversions) - joined
