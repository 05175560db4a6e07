"""Where output may be written. No file of the user is deleted or replaced, unless the user asked for that file.

- A link is followed: its target gets the output, and the link stays. A link to nothing is refused.
- A folder must be new or empty, or hold only files of the same command. Files that systems put into folders by
  themselves (`SYSTEM`) do not count.
- No output contains what the same command reads.
- Two processes do not write to one place at the same time: the second one is refused at once.
- A folder or file that must appear as a whole is made in a hidden folder `.NAME.TOKEN.partial`, in which the process
  holds a lock. The system releases the lock when the process ends, however it ends. So the next process can tell a
  folder that is in use from one that a dead process left, and it removes the latter.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from filelock import FileLock, Timeout

from .errors import EntirespaceError
from .folders import INSIDE, LOCK, NONE, Own, foreign, is_work, listed, locked
from .records import save_json

NEW, OLD, MOVES = "new", "old", "moves.json"  # in a hidden folder


@dataclass(frozen=True)
class Rule:
    """What must hold of the place of an output, for errors, and the class of the errors."""

    must: str
    error: type[EntirespaceError]

    def refuse(self, place: Path, came: str, do: str = "Name another folder") -> NoReturn:
        raise self.error(self.must, came, where=str(place), do=do)

    def real(self, place: Path) -> Path:
        """The path without links. Raises: an error for a link to nothing, or a file where a folder is needed."""
        for part in (place, *place.parents):
            if part.is_symlink() and not part.exists():
                came = f"{part} is a link to {os.readlink(part)}, which does not exist"
                self.refuse(place, came, "Make the folder that it points to, or remove the link")
            if part != place and part.exists() and not part.is_dir():
                self.refuse(place, f"{part} is a file")
        return Path(os.path.realpath(place))

    def folder(self, place: Path) -> Path:
        """The path of a folder without links. Raises: as `real`, and if a file is at `place`."""
        real = self.real(place)
        if real.exists() and not real.is_dir():
            self.refuse(place, "it is a file")
        return real

    def apart(self, place: Path, inputs: Iterable[Path]) -> None:
        """Check that a folder contains nothing that the command reads. Raises: an error that names the first input."""
        real = Path(os.path.realpath(place))
        for path in inputs:
            if Path(os.path.realpath(path)).is_relative_to(real):
                self.refuse(place, f"{path} is in it, and is read")

    def busy(self, place: Path) -> NoReturn:
        do = "Wait until it has ended, or name another place"
        raise self.error("one process at a time may write to a place", "another one does", where=str(place), do=do)

    @contextmanager
    def alone(self, place: Path) -> Iterator[None]:
        """Hold the lock of a folder, which is made if it is not there. Raises: an error if another process holds it.

        The system releases the lock of a process that was killed. Where a file system has no locks, none is held.
        """
        new = not place.exists()
        place.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(place, wait=False))
            except Timeout:
                self.busy(place)
            yield
        if new:
            with suppress(OSError):  # it is not empty
                place.rmdir()

    def begun(self, place: Path, marked: Callable[[Path], bool], own: Own, inputs: Iterable[Path] = ()) -> None:
        """Check a folder to which a command adds files over time.

        Args:
            marked: whether the command began this folder, by a file that it wrote there.
            own: the command's own files, which may be in the folder before it is marked.
            inputs: files and folders that the command reads, which must not be in the folder.

        Raises: an error if the folder is not marked and holds other files.
        """
        real = self.folder(place)
        self.apart(place, inputs)
        if real.exists() and not marked(real) and (strange := foreign(real, own)):
            self.refuse(place, f"it holds {listed(strange)}")


# Hidden folders


@contextmanager
def work_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new hidden folder in `parent`, which is removed at the end. Those that dead processes left are removed, too."""
    _clear(parent, name)
    work = parent / f".{name}.{secrets.token_hex(4)}.partial"
    work.mkdir()
    (work / LOCK).touch()  # by this file the folder is recognised, even where locks do not work
    lock = FileLock(work / LOCK)
    with suppress(OSError, NotImplementedError):  # the file system has no locks
        lock.acquire()
    try:
        yield work
    finally:
        _remove(work, lock)


def _clear(parent: Path, name: str, mine: Path | None = None) -> bool:
    """Remove the hidden folders that dead processes left, and undo what they began to move.

    Returns: whether a running process holds another one than `mine`.
    """
    busy = False
    for left in list(parent.iterdir()):
        if left != mine and is_work(left, name) and (left / LOCK).exists():
            lock = FileLock(left / LOCK)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                busy = True
            except (OSError, NotImplementedError):  # the file system has no locks
                continue
            else:
                _remove(left, lock)
    return busy


def _remove(work: Path, lock: FileLock) -> None:
    """Remove a hidden folder, the lock last. Files that were moved out of it by half are moved back first."""
    try:
        if (work / MOVES).exists():
            _undo(work, work.parent)
        for path in list(work.iterdir()):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink(missing_ok=True)
        (work / LOCK).unlink(missing_ok=True)
    except OSError:  # not all could be moved back or removed; the rest stays for the next process
        return
    finally:
        lock.release()
    with suppress(OSError):
        work.rmdir()


# Folders that appear as a whole


@contextmanager
def whole_folder(
    place: Path,
    rule: Rule,
    *,
    last: str,
    own: Callable[[Path], Mapping[str, str]] = lambda folder: {},
    inputs: Iterable[Path] = (),
) -> Iterator[Path]:
    """A folder to write into. Without an error in the block, its content is at `place` afterwards.

    A new folder appears with one rename. A folder that is there stays the same folder, so it may be a mount point or
    the working folder: the content is made inside it and then moved up, the file `last` at the end. Before that, the
    own files that were there are moved away. If the process is killed then, the next one moves all of them back.

    Args:
        own: the files of a folder that may be replaced, with a mark of their content such as a SHA-256.
        inputs: files and folders that the command reads, which must not be in the folder.

    Raises: an error of `rule` if something else is in the folder, now or when the block ends. It is left as it is.
    """
    real = rule.folder(place)
    inside = real.exists()
    before: dict[str, str] = {}
    with ExitStack() as stack:
        try:
            if inside:
                if _clear(real, INSIDE):
                    rule.busy(place)
                before = dict(own(real))
                if strange := foreign(real, before.__contains__):
                    rule.refuse(place, f"it holds {listed(strange)}")
                rule.apart(place, inputs)
            else:
                real.parent.mkdir(parents=True, exist_ok=True)
            hidden = work_folder(real, INSIDE) if inside else work_folder(real.parent, real.name)
            work = stack.enter_context(hidden)
            if _clear(work.parent, INSIDE if inside else real.name, mine=work):
                rule.busy(place)
            (work / NEW).mkdir()
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                rule.refuse(place, f"{error.filename}: {error.strerror}", "Name a folder that you may write to")
            raise
        yield work / NEW
        if inside:
            with locked(real):
                _must_be_unchanged(real, before, own, place, rule)
                _move_up(work, real, before, last, place, rule)
            return
        try:
            (work / NEW).rename(real)  # fails unless nothing or an empty folder is there
        except OSError as error:
            if os.path.lexists(real):
                raise _changed(place, rule, "it appeared meanwhile") from error
            raise


def _changed(place: Path, rule: Rule, what: str) -> EntirespaceError:
    must = "the output folder must not change while its content is made"
    return rule.error(must, what, where=str(place), do="What is there was kept. Name another folder")


def _must_be_unchanged(
    folder: Path, before: Mapping[str, str], own: Callable[[Path], Mapping[str, str]], place: Path, rule: Rule
) -> None:
    if strange := foreign(folder, before.__contains__):
        raise _changed(place, rule, f"{listed(strange)} appeared in it")
    if dict(own(folder)) != before:
        raise _changed(place, rule, "another process replaced its files")


def _move_up(work: Path, folder: Path, before: Mapping[str, str], last: str, place: Path, rule: Rule) -> None:
    """Move the own files of a folder away and the new ones into it."""
    new, old = work / NEW, work / OLD
    names = sorted((path.name for path in new.iterdir()), key=lambda name: (name == last, name))
    earlier = {name.split("/")[0] for name in foreign(folder, NONE)}
    old.mkdir()
    save_json(work / MOVES, {"names": names, "files": foreign(new, NONE)})
    try:
        for name in sorted(earlier, key=lambda name: (name != last, name)):
            (folder / name).rename(old / name)
        if strange := foreign(old, before.__contains__):
            raise _changed(place, rule, f"{listed(strange)} appeared in it")
        for name in names:
            _move(new / name, folder / name)
    except FileExistsError as error:
        raise _changed(place, rule, f"{error.filename} appeared in it") from error


def _undo(work: Path, folder: Path) -> None:
    """Move new files back out of the folder, then the old ones back into it, unless all new ones had been moved.

    Raises: FileExistsError if there are other files beside them; nothing more is moved then.
    """
    moves, new, old = json.loads((work / MOVES).read_text()), work / NEW, work / OLD
    names = moves["names"]
    if not os.path.lexists(new / names[-1]):
        return
    with locked(folder):
        moved = [name for name in names if not os.path.lexists(new / name) and os.path.lexists(folder / name)]
        for name in foreign(folder, {*moves["files"]}.__contains__):
            if name.split("/")[0] in moved:
                raise FileExistsError(errno.EEXIST, "it is not ours", str(folder / name))
        for name in reversed(moved):
            (folder / name).rename(new / name)
        for path in sorted(old.iterdir(), key=lambda path: (path.name == names[-1], path.name)):
            _move(path, folder / path.name)
    (work / MOVES).unlink()


def _move(source: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "it is there already", str(target))
    source.rename(target)


# Files that appear as a whole


@contextmanager
def whole_file(place: Path, rule: Rule, *, replace: bool, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """A path to write to. Without an error in the block, that file is at `place` afterwards.

    Args:
        replace: a file that is there may be replaced.
        inputs: files that the command reads, which must not be replaced.

    Raises: an error of `rule` if something is at `place` that must not be replaced, now or when the block ends.
    """
    real, do = rule.real(place), "Name another file"
    if real.exists() and not real.is_file():
        rule.refuse(place, f"it is a {'folder' if real.is_dir() else 'device'}", do)
    if real.exists() and any(path.exists() and path.samefile(real) for path in inputs):
        rule.refuse(place, "it is also read", do)
    if real.exists() and not replace:
        rule.refuse(place, "it exists", "Replace it with force, or name another file")
    real.parent.mkdir(parents=True, exist_ok=True)
    with work_folder(real.parent, real.name) as work:
        if _clear(real.parent, real.name, mine=work):
            rule.busy(place)
        yield work / real.name
        if replace:
            (work / real.name).replace(real)
        else:
            try:
                _put(work / real.name, real)
            except FileExistsError:
                rule.refuse(place, "it appeared while its content was made, and was kept", do)


def _put(source: Path, target: Path) -> None:
    """Give a file its name. Raises: FileExistsError if that name is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        _move(source, target)
