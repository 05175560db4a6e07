"""A dataset is complete or absent: after errors, interrupts and killed processes, and with folders in use."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from raw_logs import PLAIN, rows

from entirespace.dataset.dataset import Dataset
from entirespace.errors import DataError
from entirespace.places import work_folder


def left_behind(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_what_fails_leaves_nothing_behind(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0", "d,4,9,0"))
    with pytest.raises(DataError, match="--max-bad"):
        log.prepare(PLAIN, max_bad=0.1)
    assert left_behind(log.out.parent) == ["raw"]
    dataset = log.prepare(PLAIN, max_bad=0.5)
    assert (dataset.path / "quarantine.csv").read_text().splitlines()[1] == (
        "log.csv,5,impressions,bad_label,y = '9' in: y=9 z=0 t=4 a=d"
    )
    dataset.verify()


def test_a_new_dataset_replaces_the_old_one_only_when_it_is_complete(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    old = log.prepare(PLAIN)
    with pytest.raises(DataError, match=r"must be new or empty, however: it holds a dataset\. --force replaces it"):
        log.prepare(PLAIN)
    log.write("log.csv", rows("a,1,9,0"))
    with pytest.raises(DataError, match="none of 1 rows can be used"):
        log.prepare(PLAIN, force=True)
    assert Dataset(log.out).digest == old.digest
    log.write("log.csv", rows("x,1,0,0", "x,2,0,0", "x,3,0,0", "x,4,0,0"))
    assert len(log.prepare(PLAIN, force=True).test) == 2
    assert left_behind(log.out.parent) == ["dataset", "raw"]


def test_a_kill_during_replacement_leaves_no_incomplete_dataset(log, monkeypatch):
    """Killed while the old dataset is moved away: then the old, the new or no dataset is there, never a part of one."""
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    log.prepare(PLAIN)
    moves = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        moves.append((log.out / "manifest.json").exists() and Dataset(log.out).verify())
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: path == log.out and pytest.fail("removed in place"))
    log.prepare(PLAIN, force=True)
    assert moves


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_not_a_dataset_is_never_replaced(log, force):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    log.out.mkdir()
    (log.out / "thesis.tex").write_text("precious")
    with pytest.raises(DataError, match=r"it is not a dataset, and holds thesis\.tex"):
        log.prepare(PLAIN, force=force)
    assert left_behind(log.out) == ["thesis.tex"]
    (log.out / "thesis.tex").unlink()
    log.out.rmdir()
    log.out.write_text("a file")
    with pytest.raises(DataError, match="must be new or empty, however: it is a file"):
        log.prepare(PLAIN, force=force)
    assert log.out.read_text() == "a file"


def test_an_empty_folder_is_accepted(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    log.out.mkdir()
    assert len(log.prepare(PLAIN).train) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from entirespace.dataset import prepare, writer as module
from entirespace.logs.star import LogSource
from entirespace.logs.schema import read_schema
where, raw, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
def die(*_, **__):
    print("there", flush=True)
    signal.pause()
if where == "reading":
    LogSource.impressions = die
elif where == "manifest":
    module.Manifest.write = die
else:
    rename = Path.rename
    Path.rename = lambda self, target: die() if target in (out, out / "layout.json") else rename(self, target)
schema = read_schema(raw / "schema.toml")
prepare.prepare_source(lambda a, q: LogSource(schema, raw, a, q), out, split=schema.split, schema={}, force=True)
"""


@pytest.mark.parametrize(
    ("where", "there_before"),
    [("reading", False), ("manifest", True), ("rename", False), ("rename", True)],
)
def test_a_killed_preparation_leaves_no_dataset_under_its_name(log, where, there_before):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    (log.raw / "schema.toml").write_text(PLAIN)
    before = log.prepare(PLAIN).digest if there_before else None
    command = [sys.executable, "-c", KILLED, where, str(log.raw), str(log.out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        name = "entirespace" if there_before else "dataset"
        parent = log.out if there_before else log.out.parent
        (work,) = parent.glob(f".{name}.*.partial")
        with work_folder(parent, name):
            there = work.is_dir()  # of a process that is still running
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert there
    if before and where == "rename":
        assert not (log.out / "manifest.json").exists()  # the old dataset is moved away, and not lost
        with pytest.raises(DataError, match="it holds a dataset"):
            log.prepare(PLAIN)
        assert not work.exists()
    if before:
        Dataset(log.out).verify()
        assert Dataset(log.out).digest == before
    else:
        assert not log.out.exists()
    assert work.exists() or (before and where == "rename")
    assert log.prepare(PLAIN, force=there_before).digest == (before or log.prepare(PLAIN, force=True).digest)
    assert left_behind(log.out.parent) == ["dataset", "raw"]


def test_files_of_another_dataset_are_left_alone(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    others = [".dataset.abc", ".dataset.b.xyz.partial", "dataset.xyz.partial", ".datasets.xyz.partial"]
    for name in others:
        (log.out.parent / name).mkdir()
    (log.out.parent / ".dataset.0123abcd.partial").mkdir()
    (log.out.parent / ".dataset.0123abcd.partial" / ".entirespace.lock").touch()
    (log.out.parent / ".dataset.0123abcd.partial" / "new").mkdir()
    log.prepare(PLAIN)
    assert left_behind(log.out.parent) == sorted([*others, "dataset", "raw"])


def test_an_error_in_one_job_stops_the_others(log, monkeypatch):
    """The disk is full while one part is written: the other parts are not written to the end first."""
    log.write("log.csv", rows(*(f"a,{i},0,0" for i in range(1000))))
    told = []
    from entirespace.dataset import writer as module

    def slow(self, part):
        for _ in range(500):
            time.sleep(0.01)
            told.append(part)
            self._jobs.advance(1)

    def write_part(self, part, *_):
        if part == 2:
            raise OSError(28, "No space left on device")
        slow(self, part)

    monkeypatch.setattr(module.Writer, "_write_part", write_part)
    monkeypatch.setattr("entirespace.dataset.jobs.THREADS", 3)
    with pytest.raises(OSError, match="No space"):
        log.prepare(PLAIN)
    assert len(told) < 400
    assert left_behind(log.out.parent) == ["raw"]


def test_an_interrupt_by_the_user_leaves_nothing_behind(log, monkeypatch):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("entirespace.dataset.manifest.Manifest.write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        log.prepare(PLAIN)
    assert left_behind(log.out.parent) == ["raw"]
