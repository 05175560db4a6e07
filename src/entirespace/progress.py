"""How long work tells of itself: the library stays silent unless it is handed a `Progress`."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One piece of work at a time: `start`, then `advance` often, then `done`."""

    def start(self, what: str, total: float | None, unit: str) -> None: ...
    def advance(self, amount: float, note: str = "") -> None: ...
    def done(self, note: str = "") -> None: ...
    def say(self, line: str) -> None:
        """A line of its own: what was decided, what goes on."""
        ...


class Silent:
    """No progress at all: the library's default."""

    def start(self, what: str, total: float | None, unit: str) -> None: ...
    def advance(self, amount: float, note: str = "") -> None: ...
    def done(self, note: str = "") -> None: ...
    def say(self, line: str) -> None: ...


SILENT = Silent()


class Hushed:
    """Shows how work goes while it goes, and leaves no line behind: one run among many."""

    def __init__(self, progress: Progress, prefix: str = "") -> None:
        self._progress, self._prefix = progress, prefix

    def start(self, what: str, total: float | None, unit: str) -> None:
        self._progress.start(self._prefix + what, total, unit)

    def advance(self, amount: float, note: str = "") -> None:
        self._progress.advance(amount, note)

    def done(self, note: str = "") -> None: ...
    def say(self, line: str) -> None: ...
