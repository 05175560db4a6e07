"""How long-running work reports its progress: the library prints nothing unless it is given a `Progress`."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One piece of work at a time: `start`, then `advance` often, then `done`."""

    def start(self, what: str, total: float | None, unit: str) -> None: ...
    def advance(self, amount: float, note: str = "") -> None: ...
    def done(self, note: str = "") -> None: ...
    def say(self, line: str) -> None:
        """Print one line that stays, such as a decision that was made."""
        ...


class Silent:
    """No progress at all: the library's default."""

    def start(self, what: str, total: float | None, unit: str) -> None: ...
    def advance(self, amount: float, note: str = "") -> None: ...
    def done(self, note: str = "") -> None: ...
    def say(self, line: str) -> None: ...


SILENT = Silent()


class Hushed:
    """Shows progress while the work runs and leaves no line when it is done: for one run among many."""

    def __init__(self, progress: Progress, prefix: str = "") -> None:
        self._progress, self._prefix = progress, prefix

    def start(self, what: str, total: float | None, unit: str) -> None:
        self._progress.start(self._prefix + what, total, unit)

    def advance(self, amount: float, note: str = "") -> None:
        self._progress.advance(amount, note)

    def done(self, note: str = "") -> None: ...
    def say(self, line: str) -> None: ...
