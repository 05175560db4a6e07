"""A join that most impressions miss is refused, and one that many miss is a warning that nobody overlooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from entirespace.config import Config
from entirespace.dataset.prepare import prepare
from entirespace.errors import DataError
from entirespace.training.needs import warnings_of

SCHEMA = """
[impressions]
files = ["log.csv"]
order = "t"
labels = { click = "y", conversion = "z" }
[impressions.fields]
item = {}
[tables.user]
files = ["users.csv"]
key = "id"
on = "uid"
[tables.user.fields]
age = {}
"""


def log(folder: Path, keys: list[str], users: list[str]) -> Path:
    folder.mkdir()
    (folder / "schema.toml").write_text(SCHEMA)
    rows = [f"{key},i{t % 3},{t},{t % 2},{int(t % 4 == 1)}" for t, key in enumerate(keys)]
    (folder / "log.csv").write_text("\n".join(["uid,item,t,y,z", *rows]) + "\n")
    (folder / "users.csv").write_text("\n".join(["id,age", *(f"{user},{i}" for i, user in enumerate(users))]) + "\n")
    return folder


def test_a_join_that_most_impressions_miss_is_refused(tmp_path: Path) -> None:
    raw = log(tmp_path / "raw", ["u1"] * 4 + ["n7"] * 3 + ["n8"] * 3, ["u1", "u2"])
    with pytest.raises(DataError) as found:
        prepare(raw / "schema.toml", raw, tmp_path / "out")
    for words in (
        "'user'",
        "6 of 10 impressions",
        "'uid' of the impressions is 'n7', 'n8'",
        "'id' of the table is 'u1'",
    ):
        assert words in str(found.value)
    assert not (tmp_path / "out").exists()


def test_a_join_that_many_miss_is_a_warning_until_the_report(tmp_path: Path) -> None:
    raw = log(tmp_path / "raw", ["u1"] * 8 + ["n7"] * 2, ["u1", "u2"])
    said: list[str] = []

    class Listening:
        def start(self, what: str, total: float | None, unit: str) -> None: ...
        def advance(self, amount: float, note: str = "") -> None: ...
        def done(self, note: str = "") -> None: ...
        def say(self, line: str) -> None: ...
        def warn(self, warning: str) -> None:
            said.append(warning)

    data = prepare(raw / "schema.toml", raw, tmp_path / "out", progress=Listening())
    (warning,) = said
    assert "2 of 10 impressions with a key have no row in the side table 'user'" in warning
    assert warning in warnings_of(data, Config())


@pytest.mark.parametrize(
    ("keys", "users"),
    [
        (["u1"] * 10 + ["n7"], ["u1"]),  # few are missing
        (["", ""] * 9 + ["u1"], ["u1"]),  # an impression without a key needs no row
    ],
)
def test_a_join_with_few_missing_rows_is_silent(tmp_path: Path, keys: list[str], users: list[str]) -> None:
    raw = log(tmp_path / "raw", keys, users)
    assert prepare(raw / "schema.toml", raw, tmp_path / "out").manifest.audit["warnings"] == []
