"""What every benchmark shares: a result is a table, a plot and the words that say what to read off them.

A benchmark is a script: it measures ours and its rivals in turn in one run, and hands a `Result` to `publish`, which
prints the table and keeps it in benchmarks/results/. `book.py` makes docs/benchmarks.md of all that is kept there.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from entirespace.tables import markdown_table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Plot:
    """Lines or bars: one for each of the columns `y` over the column `x`, of the rows of one `panel` each."""

    x: str
    y: list[str]
    label: str  # of the y axis, with its unit
    kind: str = "bars"  # or "lines"
    panel: str | None = None  # a column; absent: one panel
    log: bool = False  # both axes of lines, the y axis of bars


@dataclass(frozen=True)
class Result:
    name: str  # of the file
    title: str
    text: str  # Markdown: what was measured, against whom, and what to read off it
    columns: list[str]
    rows: list[list[Any]]  # text as it is; numbers are kept whole and rounded to 3 digits in print
    plot: Plot | None = None
    command: str = ""
    machine: dict[str, str] = field(default_factory=dict)


def publish(result: Result) -> None:
    """Print the table, and keep the result with the command and the machine that made it."""
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    kept = asdict(result) | {"command": command, "machine": machine()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{result.name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(table(result.columns, result.rows))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table of figures."""
    return markdown_table(columns, [[figure(cell) for cell in row] for row in rows])


def figure(value: Any) -> str:
    """A number to three digits, thousands whole; text as it is.

    >>> figure(25416.2), figure(1.0762), figure("n/a")
    ('25,416', '1.08', 'n/a')
    """
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def in_turn(sides: dict[str, Callable[[], Any]], rounds: int, warm_up: int = 1) -> dict[str, float]:
    """Median seconds of each side, the sides taking turns so that noise meets them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(warm_up + rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            if round_ >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(all_) for name, all_ in seconds.items()}


def machine() -> dict[str, str]:
    """What the figures come from: processor, cores, memory, versions, day."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = named.get("flags", "").split()
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in flags]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{named.get('model name', platform.processor())} ({', '.join(units)})",
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "day": time.strftime("%Y-%m-%d"),
    }
