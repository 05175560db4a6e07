"""Progress on stderr: on a terminal a bar with rate and time left, otherwise a plain line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..progress import Progress as ProgressLike
from ..progress import Silent
from ..text import printable

PLAIN_SECONDS = 10.0


class _Warns:
    """Prints each warning once."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def warn(self, warning: str) -> None:
        if warning not in self._warned:
            self._warned.add(warning)
            self.say(f"warning: {warning}")

    def say(self, line: str) -> None:
        print(printable(line), file=sys.stderr, flush=True)


class Plain(_Warns):
    """Prints a line every ten seconds while a piece of work runs, and one at its end."""

    def __init__(self) -> None:
        super().__init__()
        self._what, self._unit, self._total = "", "", None
        self._since = self._printed = time.monotonic()
        self._done = 0.0

    def start(self, what: str, total: float | None, unit: str) -> None:
        self._what, self._total, self._unit, self._done = what, total, unit, 0.0
        self._since = self._printed = time.monotonic()

    def advance(self, amount: float, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            rate = self._done / (now - self._since)
            share = f"{100 * min(1, self._done / self._total):.0f} %, " if self._total else ""
            left = f", {max(0.0, self._total - self._done) / rate:.0f} s left" if self._total and rate else ""
            self.say(f"{self._what}: {share}{quantity(rate, self._unit)}/s{left}{', ' + note if note else ''}")

    def done(self, note: str = "") -> None:
        seconds = time.monotonic() - self._since
        self.say(f"{self._what}: {seconds:.1f} s{', ' + note if note else ''}")


class Quiet(Silent):
    """Prints warnings only."""

    def __init__(self) -> None:
        self._warns = _Warns()

    def warn(self, warning: str) -> None:
        self._warns.warn(warning)


class Bar(_Warns):
    """Shows a progress bar, and prints a line when a piece of work is done."""

    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self._bar = bar
        self._task: TaskID | None = None
        self._what, self._unit, self._since, self._done = "", "", 0.0, 0.0

    def start(self, what: str, total: float | None, unit: str) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._what, self._unit, self._since, self._done = what, unit, time.monotonic(), 0.0
        self._task = self._bar.add_task(printable(what, keep=""), total=total, note="")

    def advance(self, amount: float, note: str = "") -> None:
        assert self._task is not None
        self._done += amount
        rate = quantity(self._done / max(1e-9, time.monotonic() - self._since), self._unit)
        self._bar.update(self._task, advance=amount, note=f"{rate}/s{'  ' + note if note else ''}")

    def done(self, note: str = "") -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        self.say(f"{self._what}: {time.monotonic() - self._since:.1f} s{', ' + note if note else ''}")

    def say(self, line: str) -> None:
        self._bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_on_stderr(quiet: bool = False) -> Iterator[ProgressLike]:
    """The progress of one command: a bar, plain lines, or only warnings if `quiet`."""
    console = Console(stderr=True)
    if quiet:
        yield Quiet()
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=console, transient=True, refresh_per_second=5) as bar:
            yield Bar(bar)
    else:
        yield Plain()


def quantity(amount: float, unit: str) -> str:
    """A rate or an amount with its unit, as a short text.

    >>> quantity(1_234_567, "B"), quantity(95_321, "impressions"), quantity(12, "rows")
    ('1.2 MB', '95.3k impressions', '12 rows')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if amount >= size:
            return f"{amount / size:.1f} {letter}B" if unit == "B" else f"{amount / size:.1f}{letter} {unit}"
    return f"{amount:.0f} {unit}"
