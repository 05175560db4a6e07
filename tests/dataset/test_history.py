"""The rates of a prepared log, compared with plain Python."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from history_logs import HISTORY, check, prepared, random_log, read, side_tables

TIME = 'cross_fit = "time"\n'


@pytest.mark.parametrize(
    ("settings", "slow"),
    [
        ("", {}),
        ("prior = 3\nseed = 4\nfolds = 3", {}),
        ('half_life = 40\nrates = ["ctcvr", "click"]', {"half_life": 40, "rates": ("ctcvr", "click")}),
        ("delay = 21\ncounts = true", {"delay": 21, "with_counts": True}),
        (TIME, {"cross_fit": "time"}),
        (TIME + "delay = 13\nprior = 5", {"cross_fit": "time", "delay": 13}),
        (
            TIME + "delay = 7\nhalf_life = 25\ncounts = true",
            {"cross_fit": "time", "delay": 7, "half_life": 25, "with_counts": True},
        ),
    ],
)
def test_rates_are_those_of_plain_python(tmp_path, settings, slow):
    rows = random_log(160, seed=3)
    check(prepared(tmp_path, rows, HISTORY + settings), rows, **slow)


@pytest.mark.parametrize(("click", "conversion"), [(1, 0.4), (0.5, 0), (0, 0), (1, 1)])
def test_logs_without_some_outcome(tmp_path, click, conversion):
    rows = random_log(60, click=click, conversion=conversion)
    check(prepared(tmp_path, rows), rows)


@pytest.mark.parametrize("settings", ["", TIME])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("n", [1, 40])
def test_logs_with_empty_parts_and_of_one_row(tmp_path, settings, part, n):
    rows = random_log(n, seed=n)
    data = prepared(tmp_path, rows, HISTORY + settings, part=part)
    check(data, rows, cross_fit="time" if settings else "folds")
    if n == 1 or part == "test":  # nothing is known
        assert not any(numbers.any() for _, _, numbers in read(data).values())


def test_seeds_and_copies_spread_over_folds(tmp_path):
    rows = random_log(400, seed=6)
    folds = [{t: f for t, (p, f, _) in read(prepared(tmp_path, rows, HISTORY + s)).items()} for s in ("", "seed = 1")]
    counts = np.bincount([folds[0][row["t"]] for row in rows], minlength=5)
    assert len(counts) == 5
    assert counts.min() > 50
    assert 0.6 < np.mean([folds[0][t] != folds[1][t] for t in folds[0]]) < 0.95
    copies = [row | {"t": 0, "user": "u1"} for row in random_log(1) * 200]  # equal rows are not all in one fold
    spread = np.bincount(prepared(tmp_path, copies, part="train").train.column("fold"), minlength=5)
    assert spread.min() > 20


@pytest.mark.parametrize("kind", ["csv", "parquet", "several"])
def test_formats_and_bad_rows_do_not_change_rates(tmp_path, kind):
    rows = random_log(120, seed=1)
    expected = read(prepared(tmp_path / "csv", rows))
    bad = [row | {"y": "?"} if i == 17 else row for i, row in enumerate(rows)]
    if kind == "csv":
        found = prepared(tmp_path, [*bad[:18], rows[17], *bad[18:]], max_bad=0.1)
    else:
        frame = pl.DataFrame(rows, schema_overrides={"item": pl.Int16})
        texts = frame.with_columns(pl.col("item", "t", "y").cast(pl.String))
        files = (
            {"log.parquet": frame} if kind == "parquet" else {"log1.parquet": frame[:50], "log2.parquet": texts[50:]}
        )
        found = prepared(tmp_path, [], files={**files, "items.csv": side_tables()["items.csv"]})
    for t, (part, fold, numbers) in read(found).items():
        assert expected[t][:2] == (part, fold)
        np.testing.assert_array_equal(expected[t][2], numbers)


# Later logs

OPTIONS = [
    {"part": "test"}, {}, {"grow": True, "part": "train"}, {"part": "test", "labelled": False},
    {"part": "train", "labelled": False},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("settings", ["", TIME + "counts = true"])
def test_a_later_log_builds_on_the_counts_of_the_earlier_one(tmp_path, settings, options):
    rows = random_log(120, seed=3)
    later = [row | {"t": row["t"] + 1000, "slot": "new"} if i % 3 else row | {"t": row["t"] + 1000}
             for i, row in enumerate(random_log(50, seed=4))]  # fmt: skip
    first = prepared(tmp_path / "first", rows, HISTORY + settings)
    given = [{k: v for k, v in row.items() if k not in "yz"} for row in later] if "labelled" in options else later
    second = prepared(tmp_path / "second", given, HISTORY + settings, encoders=first, **options)
    about = {"cross_fit": "time", "with_counts": True} if settings else {}
    check(second, later, rows, labelled="labelled" not in options, **about)
    assert second.layout.digest == first.layout.digest  # there are no new ids in fields
    third = prepared(tmp_path / "third", [row | {"t": row["t"] + 2000} for row in later], HISTORY + settings,
                     encoders=second, part="test")  # fmt: skip
    known = rows if "labelled" in options else [*rows, *later]
    check(third, [row | {"t": row["t"] + 2000} for row in later], known, **about)


def test_counts_of_an_earlier_log_go_on_decaying(tmp_path):
    rows, settings = random_log(100, seed=3), HISTORY + "half_life = 50\nprior = 2"
    later = [row | {"t": row["t"] + 200} for row in random_log(60, seed=4)]
    latest = [row | {"t": row["t"] + 400} for row in random_log(30, seed=5)]
    first = prepared(tmp_path / "first", rows, settings)
    second = prepared(tmp_path / "second", later, settings, encoders=first, part="test")
    third = prepared(tmp_path / "third", latest, settings, encoders=second, part="test")
    history = third.encoders.history
    assert history is not None
    known, end = [*rows, *later], later[-1]["t"]  # of `later` and before: as of its last impression
    weights = np.array([2.0 ** ((row["t"] - end) / 50) for row in known])
    for group, outcome in enumerate((np.ones(len(known)), [r["y"] for r in known], [r["z"] for r in known])):
        assert history.overall[0, group] == pytest.approx(float(weights @ np.asarray(outcome)))
        ids = dict(zip(history.ids["page"].to_list(), history.counts["page"][:, 0, group], strict=True))
        home = np.array([row["page"] == "home" for row in known]) * weights
        assert ids["home"] == pytest.approx(float(home @ np.asarray(outcome)))
    assert history.until == latest[-1]["t"]
    assert history.at == end
