"""The hidden folder in which a dataset is made, beside its final place; folders of processes that died are removed.

For the dataset `out` it is `.out.TOKEN.partial`, and a process that lives holds the lock `.out.TOKEN.lock`.
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
    """A new hidden folder beside `out`, which is removed at the end if it is still there.

    Folders that dead processes left beside the same `out` are removed, too: the system releases a process's lock when
    it ends, in whatever way.
    """
    _clear(out)
    work = out.with_name(f".{out.name}.{secrets.token_hex(4)}{FOLDER}")
    lock = FileLock(work.with_suffix(LOCK))
    with suppress(OSError):  # where locks do not work, nobody removes the folder of another
        lock.acquire()
    try:
        work.mkdir(mode=0o700)
        yield work
    finally:
        _remove(work, lock)


def _clear(out: Path) -> None:
    for left in list(out.parent.iterdir()):
        token = left.stem.removeprefix(f".{out.name}.")
        # a token has no dot: with one, it is a folder of a dataset of another name
        if left.suffix in (FOLDER, LOCK) and left.stem == f".{out.name}.{token}" and "." not in token:
            lock = FileLock(left.with_suffix(LOCK))
            with suppress(Timeout, OSError):  # its process lives, or locks do not work
                lock.acquire(blocking=False)
                _remove(left.with_suffix(FOLDER), lock)


def _remove(work: Path, lock: FileLock) -> None:
    """Remove the folder, then its lock, which is held."""
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):  # Windows removes no open file: the next preparation will
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
