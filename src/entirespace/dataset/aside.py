"""The hidden folder in which a dataset is made, next to its final place. Folders left by dead processes are removed.

For the dataset `out` the folder is `.out.TOKEN.partial`. The process that works in it holds the lock `.out.TOKEN.lock`.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER, LOCK = ".partial", ".lock"


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A new hidden folder next to `out`. It is removed at the end, unless it was renamed.

    Folders that dead processes left for the same `out` are removed too. A dead process is recognised by its lock, which
    the system releases when the process ends, however it ends.
    """
    _clear(out)
    work = out.with_name(f".{out.name}.{secrets.token_hex(4)}{FOLDER}")
    lock = FileLock(work.with_suffix(LOCK))
    with suppress(OSError):  # on a file system without locks, no process removes the folder of another
        lock.acquire()
    try:
        work.mkdir(mode=0o700)
        yield work
    finally:
        _remove(work, lock)


def _clear(out: Path) -> None:
    """Remove the folders and locks that dead processes left for `out`."""
    for left in list(out.parent.iterdir()):
        token = left.stem.removeprefix(f".{out.name}.")
        # a token has no dot; with a dot, the folder belongs to a dataset of another name
        if left.suffix in (FOLDER, LOCK) and left.stem == f".{out.name}.{token}" and "." not in token:
            lock = FileLock(left.with_suffix(LOCK))
            with suppress(Timeout, OSError):  # its process is still running, or locks do not work
                lock.acquire(blocking=False)
                _remove(left.with_suffix(FOLDER), lock)


def _remove(work: Path, lock: FileLock) -> None:
    """Remove the folder, then its lock, which this process holds."""
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):  # Windows does not remove open files; the next preparation removes it
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
