"""Tensors on disk: safetensors files, written under a temporary name, flushed and renamed.

A safetensors file has no checksum: a flipped bit would be read without an error. So run.json holds the SHA-256 of each
file. run.json is replaced after the tensors, in one rename, so it always names complete files.
"""

from __future__ import annotations

import stat
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import RunError
from ..records import settle, sha256


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write tensors to `path` and return the SHA-256 of the file. If it is interrupted, `path` is as it was before."""
    aside = path.with_name(path.name + ".partial")
    aside.touch()  # its permissions follow the umask; `save_file` replaces it by a file that only its owner can read
    mode = stat.S_IMODE(aside.stat().st_mode)
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, aside)
    aside.chmod(mode)
    digest = sha256(aside)
    settle(aside, path)
    return digest


def load_tensors(path: Path, digest: str, prefix: str = "") -> dict[str, Tensor]:
    """Read the tensors whose names begin with `prefix`, and remove it from the names. Other tensors are not loaded.

    Raises: RunError if the file is missing, cannot be read, or does not have this SHA-256.
    """
    try:
        if sha256(path) != digest:
            raise RunError("a checkpoint must be as it was written", "its SHA-256 differs", where=str(path))
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (it is not a dict)
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise RunError("a checkpoint must be readable", str(error), where=str(path)) from error


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with a prefix before each name.

    >>> list(prefixed("towers.", {"w": Tensor()}))
    ['towers.w']
    """
    return {prefix + name: tensor for name, tensor in tensors.items()}


def unprefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, which is removed from the names."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
