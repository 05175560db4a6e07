"""A first schema is tried with the reader of `prepare`: it says what `prepare` would refuse, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.logs.guess import guess
from entirespace.logs.reading import Check, TableReader

N = 300
RNG = np.random.default_rng(0)
CLICK = RNG.random(N) < 0.4
BUY = CLICK & (RNG.random(N) < 0.4)
AT = 1_650_000_000 + 60 * np.arange(N)


def log(**columns: object) -> pl.DataFrame:
    rows = {"ts": AT, "user_id": np.arange(N) % 30, "item_id": RNG.integers(0, 50, N), "click": CLICK.astype(int)}
    return pl.DataFrame({**rows, "purchase": BUY.astype(int), **columns})


def good(raw: Path) -> None:
    log(price=RNG.random(N).round(2)).write_csv(raw / "log.csv")
    pl.DataFrame({"user_id": range(30), "age": range(30)}).write_csv(raw / "users.csv")


def short_lines(raw: Path) -> None:
    (raw / "log.csv").write_text(log().write_csv().replace("\n", "\nxx\n", 3))


def users_of_few_impressions(raw: Path) -> None:
    """Most ids of the users have a row, and most impressions none."""
    user = np.where(np.arange(N) % 10 == 0, np.arange(N) % 25, 99)
    log(user_id=user).write_csv(raw / "log.csv")
    pl.DataFrame({"user_id": range(25), "age": range(25)}).write_csv(raw / "users.csv")


def short_lines_of_users(raw: Path) -> None:
    log().write_csv(raw / "log.csv")
    users = pl.DataFrame({"user_id": range(30), "age": range(30)}).write_csv()
    (raw / "users.csv").write_text(users + "30\n")


def conversions_without_a_key(raw: Path) -> None:
    ids = [f"i{i}" for i in range(N)]
    log(impression_id=ids).drop("purchase").write_csv(raw / "log.csv")
    keys = [*np.array(ids)[BUY][:-3].tolist(), None, None, None]
    pl.DataFrame({"impression_id": keys, "order_time": AT[: len(keys)] + 90000}).write_csv(raw / "orders.csv")


LOGS = {
    good: None,
    short_lines: "3 of 303 rows would be bad: unparsable_line: 3",
    users_of_few_impressions: "most impressions must find their row in the side table 'user'",
    short_lines_of_users: "1 of 31 rows of table 'user' would be bad: unparsable_line: 1",
    conversions_without_a_key: "rows of table 'conversions' would be bad: bad_key: 3; first orders.csv, line",
}


@pytest.mark.parametrize("write", LOGS)
def test_what_prepare_would_refuse_is_a_doubt(write, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw")
    made = guess(tmp_path / "raw")
    (tmp_path / "schema.toml").write_text(made.text)
    said = LOGS[write]
    found = [doubt for doubt in made.doubts if "would be bad" in doubt or "must find their row" in doubt]
    if said is None:
        assert not found
        es.prepare(tmp_path / "schema.toml", tmp_path / "raw", tmp_path / "data")
        return
    assert said in found[0]
    assert made.text.splitlines()[0] == f"# {found[0]}"
    with pytest.raises(es.EntirespaceError):
        es.prepare(tmp_path / "schema.toml", tmp_path / "raw", tmp_path / "data")


def test_a_new_check_of_the_reader_is_tried_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reader of impressions and side tables finds bad is found in the sample: there is no second list."""
    (tmp_path / "raw").mkdir()
    good(tmp_path / "raw")
    before = TableReader.quarantine

    def quarantine(self, frame, table, checks, before_=None):
        worst = np.arange(len(frame.rows)) % 5 == 0
        return before(self, frame, table, [*checks, Check("bad_time", worst, (frame.rows.columns[0],))], before_)

    monkeypatch.setattr(TableReader, "quarantine", quarantine)
    doubts = [doubt for doubt in guess(tmp_path / "raw").doubts if "would be bad" in doubt]
    assert any("bad_time" in doubt for doubt in doubts)
