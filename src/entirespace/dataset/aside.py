"""The hidden folder beside a dataset in which it is made: locked while its process lives, cleared away when it died."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: then nobody else's folder is cleared away
    fcntl = None

SUFFIX = ".partial"


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A new hidden folder beside `out`; what is left of it at the end is removed.

    So are the folders that processes now dead have left beside the same `out`: a process holds a lock on its own,
    and the system gives it back however the process ends.
    """
    _clear(out)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".new", dir=out.parent))
    work, lock = made.with_suffix(SUFFIX), _lock(made)
    try:
        made.rename(work)  # seen by others only now that it is locked
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _clear(out: Path) -> None:
    for left in out.parent.iterdir():
        middle = left.name.removeprefix(f".{out.name}.").removesuffix(SUFFIX)
        # what mkdtemp puts in the middle has no dot: another dataset's name might
        if left.name == f".{out.name}.{middle}{SUFFIX}" and "." not in middle and left.is_dir():
            lock = _lock(left)
            if lock is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """The open and locked folder; None where another process has locked it, or locks do not work."""
    if fcntl is None:
        return None
    try:
        opened = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened
