"""Errors that a user can cause: in logs, configuration, runs and bundles.

Every error says what must hold, what came instead, where, and what to do about it, so that a person who
never read this code can act on it. Input is checked where it enters the package, not again further in.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from .text import printable


class EntirespaceError(Exception):
    """The parent of every error a user can cause.

    Args:
        must: what must hold, as a sentence without its full stop ("labels must be 0 or 1").
        came: what came instead ("'2' in column is_click").
        where: file and line, or the place in a configuration ("log_1.csv, line 17").
        do: what the user can do about it.

    >>> print(DataError("labels must be 0 or 1", "'2' in column is_click", where="log.csv, line 17"))
    log.csv, line 17: labels must be 0 or 1, however: '2' in column is_click.
    """

    def __init__(self, must: str, came: str, *, where: str | None = None, do: str | None = None) -> None:
        self.must, self.came, self.where, self.do = must, came, where, do
        place = f"{printable(where, keep='')}: " if where else ""
        advice = (f" {do}" if do.endswith("?") else f" {do.rstrip('.')}.") if do else ""
        super().__init__(printable(f"{place}{must}, however: {came.rstrip('.')}.{advice}"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle an error as its arguments, so that it can pass from one process to another."""
        return functools.partial(type(self), where=self.where, do=self.do), (self.must, self.came)


class DataError(EntirespaceError):
    """A log, the files that a schema names, or a dataset is invalid."""


class ConfigError(EntirespaceError):
    """A configuration, a schema file or an option of a command is invalid."""


class RunError(EntirespaceError):
    """A run (its training, its checkpoint, its folder) is invalid."""


class BundleError(EntirespaceError):
    """A frozen, servable bundle is invalid."""


def no_folder(path: Path) -> str:
    """What there is at a path where a folder must be, for `came`."""
    return "it is a file" if path.exists() else "there is no such folder"


def no_file(path: Path) -> str:
    """What there is at a path where a file must be, for `came`."""
    return "it is a folder" if path.is_dir() else "there is no such file"
