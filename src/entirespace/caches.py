"""Where compiled kernels and fonts are cached, if the usual places cannot be written: a container without a home.

numba refuses to compile a cached kernel when it can write neither beside the package nor in the user's cache folder,
and matplotlib complains. They then get a folder for temporary files. `entirespace/__init__.py` calls `settle` before
numba or matplotlib can be imported. A user's own NUMBA_CACHE_DIR and MPLCONFIGDIR are kept.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

PACKAGE = Path(__file__).parent


def settle(environment: MutableMapping[str, str] = os.environ, package: Path = PACKAGE) -> None:
    """Set NUMBA_CACHE_DIR and MPLCONFIGDIR where the default places cannot be written."""
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    if not environment.get("NUMBA_CACHE_DIR") and not (
        _writable(package / "kernels" / "__pycache__") or _writable(cache)
    ):
        environment["NUMBA_CACHE_DIR"] = str(_temporary() / "numba")
    if not environment.get("MPLCONFIGDIR") and not (_writable(config) and _writable(cache)):
        environment["MPLCONFIGDIR"] = str(_temporary() / "matplotlib")


def _writable(folder: Path) -> bool:
    """Whether files can be written into the folder, or the folder can be made."""
    if not folder.is_absolute():  # "~": there is no home
        return False
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """A folder that only this user can write: numba loads programs from it.

    The same folder is used every time, so that kernels are compiled once. If another user has made a folder of that
    name, a new folder is used, and deleted when the process ends.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"entirespace-cache-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if stat.S_ISDIR(about.st_mode) and about.st_uid == user and not about.st_mode & 0o077:
            return folder
    except OSError:
        pass
    alone = Path(tempfile.mkdtemp(prefix="entirespace-cache-"))
    atexit.register(shutil.rmtree, alone, ignore_errors=True)
    return alone
