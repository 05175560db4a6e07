"""Where output is written: hidden folders, whole folders and whole files; no file of the user is lost."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from entirespace import places
from entirespace.errors import DataError
from entirespace.folders import foreign, remove_own
from entirespace.places import Rule, whole_file, whole_folder, work_folder

RULE = Rule("the folder must be new or empty", DataError)
FILE = Rule("the output must be a file that may be written", DataError)


def write(folder: Path, **files: str) -> None:
    """Write files; __ in a name is /, and they have no ending."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def content(folder: Path) -> dict[str, str]:
    """All files below a folder, hidden ones too."""
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def make(
    out: Path,
    text: str = "new",
    own: tuple[str, ...] = (),
    *,
    meanwhile: Callable[[], None] = lambda: None,
    inputs: tuple[Path, ...] = (),
) -> None:
    """Write a folder of the files a, b/c and last."""

    def mine(folder: Path) -> dict[str, str]:
        return {name: (folder / name).read_text() for name in own if (folder / name).exists()}

    with whole_folder(out, RULE, last="last", own=mine, inputs=inputs) as folder:
        write(folder, a=text, b__c=text, last=text)
        meanwhile()


OWN = ("a", "b/c", "last")
NEW = dict.fromkeys(OWN, "new")


# --- hidden folders -------------------------------------------------------------------------------------

HOLDS = """
import signal, sys
from pathlib import Path
from entirespace.places import work_folder
with work_folder(Path(sys.argv[1]).parent, 'out') as work:
    (work / "file").write_text("half")
    print(work, flush=True)
    signal.pause()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_no_folder_is_left_whether_it_was_renamed_or_not(tmp_path):
    out = tmp_path / "out"
    with work_folder(tmp_path, "out") as work:
        assert work.parent == tmp_path
        work.rename(out)
    assert names(tmp_path) == ["out"]
    with pytest.raises(FileNotFoundError), work_folder(tmp_path, "out") as work:
        (work / "a folder that is not there" / "file").touch()
    assert names(tmp_path) == ["out"]


def test_two_folders_in_one_process_do_not_interfere(tmp_path):
    with work_folder(tmp_path, "out") as first, work_folder(tmp_path, "out") as second:
        assert first != second
        assert first.is_dir()
        assert second.is_dir()
    assert names(tmp_path) == []


def test_the_folder_of_a_running_process_stays_and_that_of_a_dead_one_is_removed(tmp_path):
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        work = Path(process.stdout.readline().strip())
        with work_folder(tmp_path, "out"):
            assert (work / "file").exists()
        with work_folder(tmp_path, "other"):
            assert (work / "file").exists()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert (work / "file").exists()
    with work_folder(tmp_path, "other"):
        assert (work / "file").exists(), "it belongs to another dataset"
    with work_folder(tmp_path, "out"):
        assert not work.exists()
    assert names(tmp_path) == []


def test_what_only_resembles_a_hidden_folder_is_left_alone(tmp_path):
    write(tmp_path, **{".out.0123abcd.partial__notes": "mine", ".out.abc.partial__.entirespace.lock": "mine"})
    write(tmp_path, **{".outs.0123abcd.partial__.entirespace.lock": "", "out.0123abcd.partial__.entirespace.lock": ""})
    (tmp_path / ".out.0123abce.partial").symlink_to(".outs.0123abcd.partial")
    before = names(tmp_path), content(tmp_path)
    with work_folder(tmp_path, "out"):
        pass
    assert (names(tmp_path), content(tmp_path)) == before


def test_without_working_locks_no_folder_of_another_process_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("entirespace.places.FileLock.acquire", without_locks)
    write(tmp_path, **{".out.0123abcd.partial__.entirespace.lock": ""})
    with work_folder(tmp_path, "out") as work:
        assert work.is_dir()
    assert names(tmp_path) == [".out.0123abcd.partial"]


# --- whole folders --------------------------------------------------------------------------------------


def test_a_new_folder_appears_as_a_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out", RULE, last="last"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    make(tmp_path / "new" / "out")
    assert content(tmp_path) == {f"new/out/{name}": "new" for name in OWN}


@pytest.mark.parametrize("where", [".", "absolute", "link", "link/../out"])
def test_a_folder_that_is_there_stays_the_same_folder(tmp_path, monkeypatch, where):
    """As a mount point or the working folder must; a folder that only its owner may read stays so."""
    out = tmp_path / "out"
    out.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(out)
    before = out.stat()
    make(out if where == "absolute" else tmp_path / where if "link" in where else Path(where))
    assert (out.stat().st_ino, out.stat().st_mode) == (before.st_ino, before.st_mode)
    assert content(out) == NEW
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "out"]


def test_no_folder_beside_it_is_needed(tmp_path, monkeypatch):
    """The folder above may be read only, as in a container: nothing is written there."""
    out = tmp_path / "out"
    out.mkdir()
    mkdir = Path.mkdir

    def refused(self: Path, *arguments: Any, **options: Any) -> None:
        if self.parent == tmp_path and self != out:
            raise PermissionError(13, "Permission denied", str(self))
        mkdir(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refused)
    make(out)
    assert content(out) == NEW
    with pytest.raises(DataError, match=r"other: the folder must be .*Permission denied\. Name a folder that you may"):
        make(tmp_path / "other")


@pytest.mark.parametrize("name", ["notes", ".hidden", "b__mine", "empty__"])
def test_foreign_files_are_named_and_kept(tmp_path, name):
    out = tmp_path / "out"
    write(out, **dict.fromkeys(("a", "b__c", "last"), "old"))
    if name == "empty__":
        (out / "empty").mkdir()
    else:
        write(out, **{name: "mine"})
    before = content(tmp_path)
    with pytest.raises(
        DataError, match=rf"out: the folder must be new or empty, however: it holds {name.replace('__', '/')}\."
    ):
        make(out, own=OWN)
    assert content(tmp_path) == before
    assert (out / "empty").exists() == (name == "empty__")


def test_links_are_never_followed(tmp_path):
    write(tmp_path / "elsewhere", c="mine")
    write(tmp_path / "out", a="old", last="old")
    (tmp_path / "out" / "b").symlink_to(tmp_path / "elsewhere")
    assert foreign(tmp_path / "out", OWN.__contains__) == ["b"]
    with pytest.raises(DataError, match="it holds b"):
        make(tmp_path / "out", own=OWN)
    remove_own(tmp_path / "out", (*OWN, "b").__contains__)
    assert content(tmp_path) == {"elsewhere/c": "mine"}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("made", ["file", "folder with a file", "file in a subfolder", "link"])
def test_what_appears_meanwhile_is_kept(tmp_path, inside, made):
    out, before = tmp_path / "out", {}
    if inside:
        write(out, a="old", b__c="old", last="old")

    def appear() -> None:
        if made == "link":
            (out / "link" if inside else out).symlink_to("gone")
        elif made == "file" and not inside:
            write(tmp_path, out="mine")
        else:
            write(out, **{"b__mine" if "sub" in made else "mine": "mine"})
        before.update({name: text for name, text in content(tmp_path).items() if ".partial/" not in name})

    with pytest.raises(DataError, match=r"must not change while its content is made, however: .*appeared"):
        make(out, own=OWN if inside else (), meanwhile=appear)
    assert content(tmp_path) == before


def without_locks(self: Any, **options: Any) -> None:
    raise OSError(95, "locks are not supported")


@pytest.mark.parametrize("there", ["nothing", "empty", "files"])
def test_a_second_process_is_refused_at_once(tmp_path, there):
    out, own = tmp_path / "out", OWN if there == "files" else ()
    if there == "files":
        make(out, "old")
    elif there == "empty":
        out.mkdir()

    def second() -> None:
        with pytest.raises(DataError, match=r"out: one process at a time may write to a place, however: another one"):
            make(out, "fast", own, meanwhile=lambda: pytest.fail("it was not refused at once"))

    make(out, "slow", own, meanwhile=second)
    assert content(tmp_path) == {f"out/{name}": "slow" for name in OWN}
    make(out, "later", OWN)


def test_a_second_process_is_refused_a_file_at_once(tmp_path):
    def second() -> None:
        with pytest.raises(DataError, match="out: one process at a time"):
            put(tmp_path / "out", "fast", replace=True, meanwhile=lambda: pytest.fail("it was not refused at once"))

    put(tmp_path / "out", "slow", meanwhile=second)
    assert content(tmp_path) == {"out": "slow"}


@pytest.mark.parametrize("there", [False, True])
def test_the_lock_of_a_folder(tmp_path, there):
    """It is held by one at a time, leaves nothing behind, and one left by a killed process does not count."""
    out = tmp_path / "a" / "out"
    if there:
        write(out, **{".entirespace.lock": ""})
    with RULE.alone(out):
        with pytest.raises(DataError, match="out: one process at a time"), RULE.alone(out):
            pass
        with RULE.alone(tmp_path / "other"):
            pass
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == (["out"] if there else [])
    with RULE.alone(out):
        write(out, mine="mine")
    assert content(out) == {"mine": "mine"}


@pytest.mark.parametrize("there", ["nothing", "empty", "files"])
def test_two_processes_do_not_replace_each_others_folder(tmp_path, monkeypatch, there):
    """Without locks, the first one to finish wins, whether the folder was new, empty or held earlier files."""
    monkeypatch.setattr("entirespace.places.FileLock.acquire", without_locks)
    out, own = tmp_path / "out", OWN if there == "files" else ()
    if there == "files":
        make(out, "old")
    elif there == "empty":
        out.mkdir()
    with pytest.raises(DataError, match="must not change while its content is made"):
        make(out, "slow", own, meanwhile=lambda: make(out, "fast", own))
    assert content(tmp_path) == {f"out/{name}": "fast" for name in OWN}


@pytest.mark.parametrize("read", ["out", "out/a", "out/b/none"])
def test_an_input_in_the_folder_is_refused(tmp_path, read):
    make(tmp_path / "out", "old")
    with pytest.raises(DataError, match="is in it, and is read"):
        make(tmp_path / "out", own=OWN, inputs=(tmp_path / read,))
    assert content(tmp_path / "out") == dict.fromkeys(OWN, "old")


def test_what_systems_put_into_folders_is_not_foreign_and_stays(tmp_path):
    out = tmp_path / "out"
    write(out, **{".DS_Store": "mac", "Thumbs.db": "windows", ".nfs00000000012a": "nfs", "lost+found__x": "disk"})
    system = content(out)
    make(out, "old")
    make(out, own=OWN)
    assert content(out) == NEW | system
    write(out, **{"lost+found 2": "mine", "nfs": "mine", ".DS_Store.txt": "mine"})
    assert foreign(out, OWN.__contains__) == [".DS_Store.txt", "lost+found 2", "nfs"]


@pytest.mark.parametrize("stop", range(9))
def test_an_error_while_files_are_moved_brings_the_old_ones_back(tmp_path, monkeypatch, stop):
    out = tmp_path / "out"
    make(out, "old")
    rename, moves = Path.rename, 0

    def failing(self: Path, target: Path) -> Path:
        nonlocal moves
        if self.is_relative_to(out) and self.suffix != ".partial":
            moves += 1
            if moves == stop + 1:
                raise OSError(5, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch, suppress(OSError):
        patch.setattr(Path, "rename", failing)
        make(out, "new", own=OWN)
    assert moves == 6 if stop >= 6 else moves > stop
    assert content(out) == dict.fromkeys(OWN, "new" if stop >= 6 else "old")


def test_a_file_put_beside_half_moved_ones_is_kept(tmp_path, monkeypatch):
    """The process was killed after b/c was moved up. Then nothing is moved back or removed."""
    out = tmp_path / "out"
    make(out, "old")
    move = places._move

    def killed(source: Path, target: Path) -> None:
        move(source, target)
        if target == out / "b":
            raise SystemExit

    with monkeypatch.context() as patch, suppress(SystemExit):
        patch.setattr(places, "_move", killed)
        patch.setattr(places, "_remove", lambda work, lock: lock.release())
        make(out, "new", own=OWN)
    write(out, b__mine="mine")
    before = content(out)
    assert before["b/c"] == "new"
    with pytest.raises(DataError, match=r"it holds a, b/c, b/mine"):
        make(out)
    assert content(out) == before
    (out / "b" / "mine").unlink()
    with pytest.raises(DataError, match=r"it holds a, b/c, last"):
        make(out)
    assert content(out) == dict.fromkeys(OWN, "old")


# --- whole files ----------------------------------------------------------------------------------------


def put(
    out: Path,
    text: str = "new",
    *,
    replace: bool = False,
    inputs: tuple[Path, ...] = (),
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    with whole_file(out, FILE, replace=replace, inputs=inputs) as path:
        path.write_text(text)
        meanwhile()


def test_a_file_is_replaced_only_if_that_is_asked_for(tmp_path):
    out = tmp_path / "out"
    put(out)
    with pytest.raises(DataError, match=r"out: the output .*, however: it exists"):
        put(out)
    put(out, "again", replace=True)
    assert content(tmp_path) == {"out": "again"}
    with pytest.raises(DataError, match="it is also read"):
        put(out, replace=True, inputs=(tmp_path / "none", out))
    os.link(out, tmp_path / "second name")
    with pytest.raises(DataError, match="it is also read"):
        put(out, replace=True, inputs=(tmp_path / "second name",))


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_or_a_device_is_no_file(tmp_path, replace):
    with pytest.raises(DataError, match="it is a folder"):
        put(tmp_path, replace=replace)
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(DataError, match="it is a device"):
            put(place, replace=replace)


def test_a_link_to_a_file_stays(tmp_path):
    write(tmp_path, target="old", **{".link.partial": "mine", ".target.partial": "mine"})
    (tmp_path / "link").symlink_to("target")
    put(tmp_path / "link", replace=True)
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path) == {".link.partial": "mine", ".target.partial": "mine", "link": "new", "target": "new"}
    (tmp_path / "nowhere").symlink_to("gone")
    with pytest.raises(DataError, match="nowhere is a link to gone, which does not exist"):
        put(tmp_path / "nowhere", replace=True)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch, links):
    def refuse(*_: Any) -> None:
        raise OSError(95, "hard links are not supported")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(DataError, match="it appeared while its content was made, and was kept"):
        put(tmp_path / "out", meanwhile=lambda: write(tmp_path, out="mine"))
    assert content(tmp_path) == {"out": "mine"}
    put(tmp_path / "other")
    assert content(tmp_path) == {"out": "mine", "other": "new"}


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_permissions_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        make(tmp_path / "new")
        (tmp_path / "empty").mkdir()
        make(tmp_path / "empty")
        put(tmp_path / "file")
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path
