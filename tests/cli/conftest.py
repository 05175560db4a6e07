"""The command line as a person meets it: its exit code, its report and what it says on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from entirespace.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`entirespace ARGUMENTS`, in this process; an exception that would be a traceback fails the test."""

    def command(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["entirespace", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        told = capsys.readouterr()
        assert isinstance(code, int)
        assert "Traceback" not in told.err
        return Ran(code, told.out, told.err)

    return command


def star_log(folder: Path) -> None:
    """A small good log: schema.toml, log.csv and users.csv."""
    folder.mkdir(parents=True)
    (folder / "schema.toml").write_text(SCHEMA)
    rows = [f"u{t % 4},i{t % 3},{t},{int(t % 2 == 0)},{int(t % 4 == 0)}" for t in range(20)]
    (folder / "log.csv").write_text("\n".join(["uid,item,t,y,z", *rows]) + "\n")
    (folder / "users.csv").write_text("uid,age,likes,how\n" + "".join(f"u{i},{20 + i},a|b,1|0.5\n" for i in range(4)))


SCHEMA = """\
[impressions]
files = ["log*"]
order = "t"
labels = { click = "y", conversion = "z" }
[impressions.fields]
item = {}
[roles]
user = "uid"
item = "item"
[tables.user]
files = ["users.csv"]
key = "uid"
[tables.user.fields]
uid = { min_count = 2 }
age = { kind = "number", buckets = 3 }
likes = { kind = "ids", separator = "|", weights = "how" }
"""


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small good log; the working folder holds it as `raw`."""
    star_log(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "raw"
