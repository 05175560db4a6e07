"""The hidden folder in which a dataset is made: removed at the end or after its process died, never while in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from entirespace.dataset.aside import folder_beside

HOLDS = """
import signal, sys
from pathlib import Path
from entirespace.dataset.aside import folder_beside
with folder_beside(Path(sys.argv[1])) as work:
    (work / "file").write_text("half")
    print(work, flush=True)
    signal.pause()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_no_folder_is_left_whether_it_was_renamed_or_not(tmp_path):
    out = tmp_path / "out"
    with folder_beside(out) as work:
        assert work.parent == tmp_path
        work.rename(out)
    assert names(tmp_path) == ["out"]
    with pytest.raises(FileNotFoundError), folder_beside(out) as work:
        (work / "a folder that is not there" / "file").touch()
    assert names(tmp_path) == ["out"]


def test_two_folders_in_one_process_do_not_interfere(tmp_path):
    with folder_beside(tmp_path / "out") as first, folder_beside(tmp_path / "out") as second:
        assert first != second
        assert first.is_dir()
        assert second.is_dir()
    assert names(tmp_path) == []


def test_the_folder_of_a_running_process_stays_and_that_of_a_dead_one_is_removed(tmp_path):
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        work = Path(process.stdout.readline().strip())
        with folder_beside(out):
            assert (work / "file").exists()
        with folder_beside(tmp_path / "other"):
            assert (work / "file").exists()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert (work / "file").exists()
    with folder_beside(tmp_path / "other"):
        assert (work / "file").exists(), "it belongs to another dataset"
    with folder_beside(out):
        assert not work.exists()
    assert names(tmp_path) == []


def test_a_lock_without_its_folder_is_removed_too(tmp_path):
    for name in (".out.abc.lock", ".out.def.partial", ".out.a.b.lock", ".outs.abc.lock"):
        (tmp_path / name).mkdir() if name.endswith("partial") else (tmp_path / name).touch()
    with folder_beside(tmp_path / "out"):
        pass
    assert names(tmp_path) == [".out.a.b.lock", ".outs.abc.lock"]


def test_without_working_locks_no_folder_of_another_process_is_removed(tmp_path, monkeypatch):
    def refuse(self, **options):
        raise OSError(95, "locks are not supported")

    monkeypatch.setattr("entirespace.dataset.aside.FileLock.acquire", refuse)
    (tmp_path / ".out.abc.partial").mkdir()
    with folder_beside(tmp_path / "out") as work:
        assert work.is_dir()
    assert names(tmp_path) == [".out.abc.partial"]
