"""What an impression's rates may know: nothing of its own outcome, and nothing of later parts or times."""

from __future__ import annotations

import numpy as np
import pytest
from history_logs import HISTORY, Row, prepared, random_log, read

SETTINGS = ["", "counts = true\ndelay = 9\nhalf_life = 30", 'cross_fit = "time"', "prior = 2\nfolds = 2"]


def flipped(row: Row, stage: str = "y") -> Row:
    """The row with another outcome."""
    if stage == "z":
        return row | {"y": 1, "z": 1 - row["z"]}
    return row | {"y": 1 - row["y"], "z": 0 if row["y"] else row["t"] // 2 % 2}


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_rates_of_a_training_impression_do_not_depend_on_its_own_outcome(tmp_path, settings):
    rows = random_log(150, seed=8)
    data = prepared(tmp_path, rows, HISTORY + settings)
    before, history = read(data), data.encoders.history
    assert history is not None
    chosen = [
        next(i for i in range(start, 90) if rows[i]["y"] == y) for start, y in ((3, 0), (20, 1), (50, 1), (62, 0))
    ]
    for i, stage in zip(chosen, "yyzy", strict=True):
        changed = prepared(tmp_path, [*rows[:i], flipped(rows[i], stage), *rows[i + 1 :]], HISTORY + settings)
        after, other, t = read(changed), changed.encoders.history, rows[i]["t"]
        assert other is not None
        part, fold, numbers = before[t]
        assert (part, after[t][:2]) == ("train", (part, fold))
        assert after[t][2].tobytes() == numbers.tobytes()
        assert np.array_equal(history.means[:, fold], other.means[:, fold])
        for chain, strength in history.strengths.items():
            assert np.array_equal(strength[fold], other.strengths[chain][fold])
        others = [s for s, (p, _, n) in before.items() if p == "train" and not np.array_equal(n, after[s][2])]
        assert others  # the outcome does count, for other impressions
        assert all(after[s][:2] == before[s][:2] for s in before)


def numbers_of(found, parts) -> dict[int, bytes]:
    return {t: numbers.tobytes() for t, (part, _, numbers) in found.items() if part in parts}


@pytest.mark.parametrize("settings", SETTINGS)
def test_no_training_rate_depends_on_validation_or_test_outcomes(tmp_path, settings):
    rows = random_log(150, seed=9)
    data = prepared(tmp_path, rows, HISTORY + settings)
    before = read(data)

    def with_flipped(*parts: str):
        return prepared(tmp_path, [flipped(r) if before[r["t"]][0] in parts else r for r in rows], HISTORY + settings)

    both, tests = with_flipped("validation", "test"), with_flipped("test")
    after = read(both)
    assert numbers_of(after, ["train", "validation"]) == numbers_of(before, ["train", "validation"])
    assert numbers_of(after, ["test"]) != numbers_of(before, ["test"])
    for name in data.encoders.encoders:
        assert both.encoders[name].to_table().equals(data.encoders[name].to_table())
    assert read(tests).keys() == before.keys()
    assert numbers_of(read(tests), ["train", "validation", "test"]) == numbers_of(
        before, ["train", "validation", "test"]
    )
    trained = prepared(tmp_path, [flipped(r) if before[r["t"]][0] == "train" else r for r in rows], HISTORY + settings)
    assert numbers_of(read(trained), ["validation"]) != numbers_of(before, ["validation"])


@pytest.mark.parametrize("delay", [0, 4])
def test_in_time_no_rate_depends_on_outcomes_that_are_not_known_yet(tmp_path, delay):
    rows, settings = random_log(180, seed=2, ties=True), f'cross_fit = "time"\ndelay = {delay}'
    rows = [row | {"rid": i} for i, row in enumerate(rows)]

    def of(those):
        data = prepared(tmp_path, those, HISTORY + settings)
        found = [rows.numbers for part in data.parts for rows in part.chunks()]
        return np.concatenate([n for n in found if n is not None])

    before, time = of(rows), np.array([row["t"] for row in rows])
    for t in (0, 6, 13, 20, 40):
        after = of([flipped(row) if row["t"] == t else row for row in rows])
        same = (before == after).all(axis=1)
        assert same[time <= t + delay].all()
        assert same.all() == (t > 30)  # that is in the test part


def test_files_in_any_order_give_the_same_rates(tmp_path):
    rows = random_log(120, seed=5)
    one = read(prepared(tmp_path / "one", rows))
    pieces = {"log1.csv": rows[70:], "log2.csv": rows[:70]}
    other = read(prepared(tmp_path / "other", rows, files=pieces))
    for t, (part, fold, numbers) in one.items():
        assert other[t][:2] == (part, fold)
        np.testing.assert_allclose(other[t][2], numbers, atol=1e-6)
