"""docs/benchmarks.md, and a plot for each section, of what the benchmarks left in benchmarks/results/.

python benchmarks/book.py
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from common import RESULTS, Plot, Result, table

DOCS = Path(__file__).parent.parent / "docs"
# the rest by name, after these
ORDER = ("training", "aliccp_structure", "memory", "preparing", "metrics", "scoring", "scale")
INTRODUCTION = """# Benchmarks

Made by `make bench`; change the scripts in `benchmarks/`, not this page. Ours and its rivals take turns in one
run, and medians are reported. The machines are noisy, so the ratios are more reliable than the figures.
"""


def main() -> None:
    results = [_read(path) for path in sorted(RESULTS.glob("*.json"))]
    results.sort(key=lambda r: (ORDER.index(r.name) if r.name in ORDER else len(ORDER), r.name))
    sections = [INTRODUCTION]
    for result in results:
        parts = [f"## {result.title}", result.text.strip()]
        if result.plot:
            _draw(result, DOCS / "benchmarks" / f"{result.name}.svg")
            parts.append(f"![{result.title}](benchmarks/{result.name}.svg)")
        parts.append(table(result.columns, result.rows))
        there = ", ".join(f"{key} {value}" for key, value in result.machine.items())
        parts.append(f"`{result.command}`; {there}.")
        sections.append("\n\n".join(parts) + "\n")
    (DOCS / "benchmarks.md").write_text("\n".join(sections))
    print(f"{DOCS / 'benchmarks.md'}: {len(results)} sections")


def _read(path: Path) -> Result:
    kept = json.loads(path.read_text())
    return Result(**{**kept, "plot": kept["plot"] and Plot(**kept["plot"])})


def _draw(result: Result, path: Path) -> None:
    """One panel for each value of the panel's column: bars beside each other, or lines."""
    plot = result.plot
    assert plot is not None
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    panels = list(dict.fromkeys(row[plot.panel] for row in rows)) if plot.panel else [None]
    size = max(5.0, 4.2 * len(panels)) + 1.5, 3.4
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, panel in zip(axes[0], panels, strict=True):
        here = [row for row in rows if plot.panel is None or row[plot.panel] == panel]
        for i, name in enumerate(plot.y):
            points = [(at, row[name]) for at, row in enumerate(here) if isinstance(row[name], (int, float))]
            if plot.kind == "bars":
                width = 0.8 / len(plot.y)
                places = [at + (i - (len(plot.y) - 1) / 2) * width for at, _ in points]
                axis.bar(places, [y for _, y in points], width, label=name)
            else:
                axis.plot([here[at][plot.x] for at, _ in points], [y for _, y in points], marker="o", label=name)
        if plot.kind == "bars":
            ticks = [_tick(row[plot.x]) for row in here]
            turned = 30 if sum(map(len, ticks)) > 40 else 0
            axis.set_xticks(range(len(here)), ticks, rotation=turned, ha="right" if turned else "center")
        elif plot.log:
            axis.set_xscale("log")
        if plot.log:
            axis.set_yscale("log")
        axis.set_xlabel(plot.x)
        if panel is not None:
            axis.set_title(f"{plot.panel} {_tick(panel)}", fontsize=10)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(plot.label)
    if len(plot.y) > 1:
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _tick(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
