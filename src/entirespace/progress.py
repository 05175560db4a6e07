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
