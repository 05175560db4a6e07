"""The report's pictures, as SVG that takes its text colour from the page and whose text stays text."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import t as student

INK = "#123456"  # stands for the page's text colour
COLOURS = ("#4477aa", "#ee6677", "#228833", "#b58900", "#3fa7c4", "#aa3377", "#888888")  # Tol's, on white and black
MARKS = "osD^vP*X"
TASKS = {"cvr": "CVR task", "ctcvr": "CTCVR task"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def table2(about: Mapping[str, Any]) -> str | None:
    """AUC of each method on both tasks: mean over seeds, bar of one deviation, and a dot for each seed."""
    lines = about["methods"]
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 0.36 * len(lines) + 0.9), layout="constrained")
        for axis, (task, name) in zip(_row(figure, 2), TASKS.items(), strict=True):
            for at, line in enumerate(lines):
                mean = line["tasks"].get(task, {}).get("auc", {})
                if "mean" not in mean:
                    continue
                seeds = [100 * value for value in line["auc"][task] if isinstance(value, float)]
                axis.plot(seeds, [at] * len(seeds), "o", color=COLOURS[at % 7], alpha=0.35, markersize=4)
                spread = 100 * (mean["std"] or 0.0)
                axis.errorbar(100 * mean["mean"], at, xerr=spread, fmt="D", color=COLOURS[at % 7], capsize=3)
            axis.set(title=name, xlabel="AUC %", yticks=range(len(lines)), ylim=(len(lines) - 0.5, -0.5))
            axis.set_yticklabels([line["label"] for line in lines] if task == "cvr" else [])
        return _svg(figure, "table2")


def against(about: Mapping[str, Any], other: str) -> str | None:
    """Differences to a method, with the 95 % interval of Student's t over paired seeds; none for a single seed."""
    lines = [line for line in about["methods"] if other in line["against"]]
    colours = {line["label"]: COLOURS[i % 7] for i, line in enumerate(about["methods"])}  # a method keeps its own
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 0.36 * len(lines) + 0.9), layout="constrained")
        drawn = 0
        for axis, (task, name) in zip(_row(figure, 2), TASKS.items(), strict=True):
            axis.axvline(0, color=INK, linewidth=0.8)
            for at, line in enumerate(lines):
                found = line["against"][other][task]
                if not found.get("std"):
                    continue
                half = student.ppf(0.975, found["n"] - 1) * found["std"] / found["n"] ** 0.5
                axis.errorbar(
                    100 * found["difference"], at, xerr=100 * half, fmt="D", color=colours[line["label"]], capsize=3
                )
                drawn += 1
            axis.set(title=name, xlabel=f"AUC points above {other}", yticks=range(len(lines)))
            axis.set(ylim=(len(lines) - 0.5, -0.5))
            axis.set_yticklabels([line["label"] for line in lines] if task == "cvr" else [])
        return _svg(figure, f"against-{other}") if drawn else None


def sampling_curve(about: Mapping[str, Any], task: str) -> str | None:
    """AUC over the share of the training impressions (the paper's Fig. 3), with bands of one deviation."""
    curve = about["sampling_curve"]
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axis = figure.subplots()
        for i, label in enumerate(curve[0]["auc"]):
            found = [(100 * p["share"], p["auc"][label][task]) for p in curve if "mean" in p["auc"][label][task]]
            shares = [share for share, _ in found]
            means, stds = ([100 * (auc[key] or 0.0) for _, auc in found] for key in ("mean", "std"))
            axis.plot(shares, means, marker=MARKS[i % 8], color=COLOURS[i % 7], label=label, markersize=4)
            low, high = ([m + sign * s for m, s in zip(means, stds, strict=True)] for sign in (-1, 1))
            axis.fill_between(shares, low, high, color=COLOURS[i % 7], alpha=0.12, linewidth=0)
        axis.set(xscale="log", xlabel="% of the training impressions", ylabel="AUC %", title=TASKS[task])
        shares = [100 * p["share"] for p in curve]
        axis.set_xticks(shares, [f"{share:g}" for share in shares])
        axis.minorticks_off()
        _legend(axis)
        return _svg(figure, f"curve-{task}")


def learning(about: Mapping[str, Any]) -> str | None:
    """Each method's own validation loss after each epoch, relative to the first look, for every seed."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        axis, drawn = figure.subplots(), 0
        for i, (label, seeds) in enumerate(about["learning"].items()):
            for at, looks in enumerate(seeds.values()):
                points = [(k + 1, look["validation_loss"]) for k, look in enumerate(looks) if look["validation_loss"]]
                if not points:
                    continue
                first = points[0][1]
                xs, ys = [k for k, _ in points], [100 * loss / first - 100 for _, loss in points]
                axis.plot(
                    xs,
                    ys,
                    color=COLOURS[i % 7],
                    marker=MARKS[i % 8],
                    alpha=0.7,
                    markersize=4,
                    label=label if not at else None,
                )
                drawn += 1
        axis.set(xlabel="look at the validation part", ylabel="validation loss, % from the first look")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(axis)
        return _svg(figure, "learning") if drawn else None


def _row(figure: Figure, columns: int) -> Sequence[Axes]:
    return figure.subplots(1, columns, squeeze=False)[0]


def _legend(axis: Axes) -> None:
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def _svg(figure: Figure, name: str) -> str:
    """The figure as an element for a page: ids of its own, and no size but the page's."""
    with rc_context({"svg.hashsalt": name}):
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    svg = sink.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", svg)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", re.sub(r' height="[^"]*pt"', "", svg, count=1), count=1)
