"""How long-running work reports its progress: the library prints nothing unless it is given a `Progress`."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Shows one piece of work at a time: `start` once, `advance` often, `done` once."""

    def start(self, what: str, total: float | None, unit: str) -> None:
        """Work begins: its name, its amount in units (None if unknown), and the unit, such as "impressions"."""
        ...

    def advance(self, amount: float, note: str = "") -> None:
        """`amount` more units are done. The note shows the present state, such as the loss."""
        ...

    def done(self, note: str = "") -> None:
        """The work is done."""
        ...

    def say(self, line: str) -> None:
        """Print one line that stays visible, such as a decision that was made."""
        ...

    def warn(self, warning: str) -> None:
        """Print a sentence that the user must see, also where all other progress is hidden."""
        ...


class Silent:
    """Shows nothing: the library's default."""

    def start(self, what: str, total: float | None, unit: str) -> None: ...
    def advance(self, amount: float, note: str = "") -> None: ...
    def done(self, note: str = "") -> None: ...
    def say(self, line: str) -> None: ...
    def warn(self, warning: str) -> None: ...


SILENT = Silent()


class Hushed:
    """Shows progress while the work runs, but prints no lines: for one run among many.

    A warning is kept in the run's record, from where the whole work collects it.
    """

    def __init__(self, progress: Progress, prefix: str = "") -> None:
        self._progress, self._prefix = progress, prefix

    def start(self, what: str, total: float | None, unit: str) -> None:
        self._progress.start(self._prefix + what, total, unit)

    def advance(self, amount: float, note: str = "") -> None:
        self._progress.advance(amount, note)

    def done(self, note: str = "") -> None: ...
    def say(self, line: str) -> None: ...
    def warn(self, warning: str) -> None: ...
