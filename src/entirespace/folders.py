"""What is in a folder: which files are not a command's own, which are hidden folders, and who holds its lock."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

INSIDE = "entirespace"  # NAME of a hidden folder inside the output folder itself
LOCK = ".entirespace.lock"
SHOWN = 5  # names in an error
SYSTEM = re.compile(r"lost\+found|\.DS_Store|Thumbs\.db|desktop\.ini|\.nfs[0-9a-f]+")
"""Names of what file systems and desktops put into any folder. Nobody wrote them, so they do not make it foreign."""

Own = Callable[[str], bool]
"""Whether a path in a folder, relative and with /, is the name of one of the command's own files."""
NONE: Own = lambda name: False  # noqa: E731


def listed(names: Iterable[str]) -> str:
    """The first names in words.

    >>> listed(["b", "a"]), listed("abcdefgh")
    ('a, b', 'a, b, c, d, e and 3 more')
    """
    names = sorted(names)
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def foreign(folder: Path, own: Own) -> list[str]:
    """The files, links and empty folders below a folder that are not the command's own, with paths relative to it.

    A link is never followed. Hidden folders and locks of this module do not count, nor does what matches SYSTEM.
    """
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not SYSTEM.fullmatch(name)]
        files = [name for name in files if not SYSTEM.fullmatch(name)]
        if here == folder:
            folders[:] = [name for name in folders if not is_work(here / name, INSIDE)]
            files = [name for name in files if name != LOCK]
        links = [name for name in folders if (here / name).is_symlink()]
        found += [(here / name).relative_to(folder).as_posix() for name in [*files, *links]]
        if here != folder and not files and not folders:
            found.append(here.relative_to(folder).as_posix() + "/")
    return sorted(name for name in found if not own(name))


def remove_own(folder: Path, own: Own) -> None:
    """Remove a command's own files below a folder, and the folders that are empty then. All other files stay."""
    for place, folders, files in os.walk(folder, topdown=False):
        here = Path(place)
        for name in [*files, *folders]:
            path = here / name
            relative = path.relative_to(folder).as_posix()
            if (name in files or path.is_symlink()) and own(relative):
                path.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty
            here.rmdir()


def is_work(path: Path, name: str) -> bool:
    """Whether a path is a hidden folder of `places.work_folder`. An empty one was left before it got its lock."""
    if not re.fullmatch(rf"\.{re.escape(name)}\.[0-9a-f]{{8}}\.partial", path.name) or path.is_symlink():
        return False
    try:
        return path.is_dir() and ((path / LOCK).exists() or not any(path.iterdir()))
    except PermissionError:  # of another user
        return False


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a folder, so that one process at a time works in it.

    Raises: Timeout if another process holds it, and this one does not wait.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        raise
    except (OSError, NotImplementedError):  # the file system has no locks
        pass
    try:
        yield
    finally:
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
