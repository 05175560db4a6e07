"""The hidden folder in which a dataset is made, beside its final place; folders of processes that died are removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: folders of other processes are then never removed
    fcntl = None

SUFFIX = ".partial"


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A new hidden folder beside `out`, which is removed at the end if it is still there.

    Folders that dead processes left beside the same `out` are removed, too. A process locks its own folder, and the
    system releases the lock when the process ends, in whatever way.
    """
    _clear(out)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".new", dir=out.parent))
    work, lock = made.with_suffix(SUFFIX), _lock(made)
    try:
        made.rename(work)  # only now do other processes recognise it, and it is locked already
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _clear(out: Path) -> None:
    for left in out.parent.iterdir():
        middle = left.name.removeprefix(f".{out.name}.").removesuffix(SUFFIX)
        # the middle comes from mkdtemp and has no dot; with a dot the folder belongs to a dataset of another name
        if left.name == f".{out.name}.{middle}{SUFFIX}" and "." not in middle and left.is_dir():
            lock = _lock(left)
            if lock is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """The folder, opened and locked; None if another process has locked it, or if locks do not work here."""
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
