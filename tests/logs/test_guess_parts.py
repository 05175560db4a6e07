"""First schemas: a column that divides the log into parts is no field, and a comment says how [split] can use it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.logs.guess import guess
from entirespace.logs.guess.splits import called_part

N = 300
RNG = np.random.default_rng(0)
CLICK = RNG.random(N) < 0.4
BUY = CLICK & (RNG.random(N) < 0.4)
AT = 1_650_000_000 + 3600 * np.arange(N)
PLACE = np.arange(N)


def log(raw: Path, *, time: bool = True, **columns: object) -> None:
    labels = {"click": CLICK.astype(int), "purchase": BUY.astype(int)}
    ids = {"user_id": PLACE * 7 % 30, "item_id": PLACE * 11 % 50}
    rows = pl.DataFrame({**({"ts": AT} if time else {}), **ids, **columns, **labels})
    rows.sample(fraction=1, shuffle=True, seed=1).write_csv(raw / "log.csv")  # the rows need not be in order


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def commented(text: str, column: str) -> tuple[str, dict[str, object]]:
    """(the line of a column that is left out, [split] by it)."""
    (line,) = [line for line in text.splitlines() if re.match(rf'# "?{column}"?_? = ', line)]
    found = re.search(r"use it: (.*), validation = (.*?) \(", line)
    assert found is not None, line
    return line, tomllib.loads(f"split = {{ {found[1]}, validation = {found[2]} }}")["split"]


STRETCHES = {
    "two parts": (np.where(PLACE < 120, "0425_0430", "0501_0508"), ["0425_0430"], ["0501_0508"]),
    "in no alphabetical order": (np.where(PLACE < 200, "old", "new"), ["old"], ["new"]),
    "weeks": (PLACE // 60 + 10, [10, 11], [12, 13, 14]),
    "a count down": (4 - PLACE // 60, [4, 3], [2, 1, 0]),
    "a few rows of a last part": (np.where(PLACE < 294, "a", "b"), ["a"], ["b"]),
    "not known for some rows": (np.where(PLACE % 50 == 3, None, np.where(PLACE < 150, "x", "y")), ["x"], ["y"]),
}


@pytest.mark.parametrize("what", STRETCHES)
def test_a_column_that_follows_the_time_is_no_field(what: str, raw: Path, tmp_path: Path) -> None:
    values, train, test = STRETCHES[what]
    log(raw, chapter=values.tolist())
    text = guess(raw).text
    schema = tomllib.loads(text)
    assert set(schema["impressions"]["fields"]) == {"user_id", "item_id"}
    assert schema["split"]["by"] == "order"
    line, split = commented(text, "chapter")
    assert "follows the time" in line
    assert split == {"by": "column", "column": "chapter", "train": train, "test": test, "validation": 0.1}
    if what.startswith("not known"):
        return
    by = re.sub(r", (?=(column|train|test|validation) = )", "\n", line[line.index("by = ") : line.rindex(" (")])
    written = re.sub(r"(?ms)^\[split\].*?\n\n", f"[split]\n{by}\n\n", text)
    (tmp_path / "schema.toml").write_text(written)
    data = es.prepare(tmp_path / "schema.toml", raw, tmp_path / "data")
    assert len(data.test) == np.isin(values, test).sum()


def test_a_number_that_only_grows_is_no_field(raw: Path) -> None:
    log(raw, ticket=np.cumsum(RNG.integers(1, 9, N)), price=RNG.random(N).round(3), left=5000 - 3 * PLACE)
    text = guess(raw).text
    assert set(tomllib.loads(text)["impressions"]["fields"]) == {"user_id", "item_id", "price"}
    assert text.count("left out: it follows the time") == 2


def test_columns_that_only_seem_to_follow_the_time_are_fields(raw: Path) -> None:
    log(
        raw,
        hour=PLACE % 24,
        shop=np.where(PLACE < 296, "a", "b"),  # two rows: by chance
        grade=np.where(PLACE == 0, 2, PLACE // 100),  # one early row of the last stretch
        city=RNG.choice(["x", "y", "z"], N),
        rare=[7 if i > N - 20 else None for i in range(N - 10)] + [8] * 10,  # mostly missing
    )
    fields = tomllib.loads(guess(raw).text)["impressions"]["fields"]
    assert {"hour", "shop", "grade", "city", "rare"} <= set(fields)


def test_values_of_a_search_do_not_follow_the_time(raw: Path) -> None:
    """Each search has one time, many rows, and values that are its own."""
    search = PLACE // 20
    log(raw, time=False, date=[f"2024-05-{1 + s:02d} 10:00:00" for s in search], window=search * 7 % 41, query=search)
    assert {"window", "query"} <= set(tomllib.loads(guess(raw).text)["impressions"]["fields"])


def test_parts_of_a_log_in_days(raw: Path) -> None:
    day = PLACE // 20
    log(raw, time=False, date=[f"2024-05-{1 + d:02d}" for d in day], half=np.where(day < 8, "a", "b"))
    assert commented(guess(raw).text, "half")[1]["train"] == ["a"]


NAMED = {
    "split": (RNG.choice(["train", "test", "val"], N, p=[0.6, 0.3, 0.1]), ["train"], ["test"], ["val"]),
    "usage": (RNG.choice(["Training", "Holdout"], N), ["Training"], ["Holdout"], 0.1),
    "is_train": (RNG.integers(0, 2, N), [1], [0], 0.1),
    "test": (RNG.choice([True, False], N), ["false"], ["true"], 0.1),
}


@pytest.mark.parametrize("time", [True, False])
@pytest.mark.parametrize("name", NAMED)
def test_a_column_that_names_the_parts_is_no_field(name: str, time: bool, raw: Path, tmp_path: Path) -> None:
    values, train, test, validation = NAMED[name]
    log(raw, time=time, **{name: values})
    text = guess(raw).text
    schema = tomllib.loads(text)
    assert set(schema["impressions"]["fields"]) == {"user_id", "item_id"}
    split = commented(text, name)[1] if time else schema["split"]
    wanted = {"by": "column", "column": name, "train": train, "test": test, "validation": validation}
    assert split == wanted
    if not time:
        (tmp_path / "schema.toml").write_text(text)
        data = es.prepare(tmp_path / "schema.toml", raw, tmp_path / "data")
        assert len(data.test) == (values == (test[0] == "true" if name == "test" else test[0])).sum()


def test_a_fold_by_its_name_is_no_field_and_doubtful(raw: Path) -> None:
    log(raw, fold=RNG.integers(0, 5, N), part_type=RNG.choice(["bolt", "nut"], N), part_number=PLACE % 9)
    made = guess(raw)
    assert set(tomllib.loads(made.text)["impressions"]["fields"]) == {"user_id", "item_id", "part_number"}
    assert commented(made.text, "fold")[1]["train"] == [0, 1]
    assert any("by its name 'fold' divides the log" in doubt for doubt in made.doubts)


def test_parts_of_users_in_a_side_table_are_no_field(raw: Path) -> None:
    log(raw)
    users = {"user_id": range(30), "city": ["a", "b", "c"] * 10, "split": ["train", "test"] * 15}
    pl.DataFrame(users).write_csv(raw / "users.csv")
    text = guess(raw).text
    assert set(tomllib.loads(text)["tables"]["user"]["fields"]) == {"city"}
    assert "left out: it names the parts of the log" in text


@pytest.mark.parametrize("name", ["part", "Split", "cv_fold", "fold_id", "data_split", "kFold"])
def test_names_of_parts(name: str) -> None:
    assert called_part(name)
    assert not called_part(f"{name}_price")
