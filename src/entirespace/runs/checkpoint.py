"""Tensors on disk: safetensors with a SHA-256, written aside, flushed and renamed. Whole, or not there.

A bit flip in a plain safetensors file reads back wrong without an error, hence the SHA-256, which the run's
own JSON holds: that file, replaced in one rename, always names tensors that are there.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import RunError
from ..records import settle, sha256


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write tensors so that `path` is whole or as before; returns the SHA-256 of the file."""
    aside = path.with_name(path.name + ".partial")
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, aside)
    digest = sha256(aside)
    settle(aside, path)
    return digest


def load_tensors(path: Path, digest: str, prefix: str = "") -> dict[str, Tensor]:
    """Read tensors whose names begin with `prefix`, without it; no others take memory.

    Raises: RunError where the file is missing or not what was written.
    """
    try:
        if sha256(path) != digest:
            raise RunError("a checkpoint must be as it was written", "its SHA-256 is another", where=str(path))
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (it is no dict)
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise RunError("a checkpoint must be readable", str(error), where=str(path)) from error


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names with a prefix.

    >>> list(prefixed("towers.", {"w": Tensor()}))
    ['towers.w']
    """
    return {prefix + name: tensor for name, tensor in tensors.items()}


def unprefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names have the prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
