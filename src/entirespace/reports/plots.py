"""The pictures of the report, as SVG: the text colour is that of the page, and text can be selected and searched."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..metrics.distributions import student_quantile
from ..metrics.segments import DECILE, SegmentLine, SegmentTask, SegmentTruth
from ..metrics.values import Undefined
from .comparison import Comparison, Spread

INK = "#123456"  # stands for the page's text colour
COLOURS = ("#4477aa", "#ee6677", "#228833", "#b58900", "#3fa7c4", "#aa3377", "#888888")  # Tol's, on white and black
MARKS = "osD^vP*X"
LEAST, MOST = 4.25, 6.75  # rem in the page for an inch of a figure
TASKS = {"cvr": "CVR task", "ctcvr": "CTCVR task"}
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar sign in the name of a method is no formula
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


def table2(comparison: Comparison) -> str | None:
    """AUC of each method in both tasks: the mean over seeds, one standard deviation, and a dot for each seed."""
    lines = comparison.methods
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 0.36 * len(lines) + 0.9), layout="constrained")
        for axis, (task, name) in zip(_row(figure, 2), TASKS.items(), strict=True):
            for at, line in enumerate(lines):
                measured = line.tasks.get(task)
                if measured is None or isinstance(measured.auc, Undefined):
                    continue
                mean = measured.auc
                seeds = [100 * value for value in line.auc[task] if isinstance(value, float)]
                axis.plot(seeds, [at] * len(seeds), "o", color=COLOURS[at % 7], alpha=0.35, markersize=4)
                spread = 100 * (mean.std or 0.0)
                axis.errorbar(100 * mean.mean, at, xerr=spread, fmt="D", color=COLOURS[at % 7], capsize=3)
            axis.set(title=name, xlabel="AUC %", yticks=range(len(lines)), ylim=(len(lines) - 0.5, -0.5))
            axis.set_yticklabels([line.label for line in lines] if task == "cvr" else [])
        return _svg(figure, "table2")


def against(comparison: Comparison, other: str) -> str | None:
    """Differences to a method with the 95 % interval of Student's t over paired seeds. None for a single seed."""
    lines = [line for line in comparison.methods if other in line.against]
    colours = {line.label: COLOURS[i % 7] for i, line in enumerate(comparison.methods)}  # as in `table2`
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 0.36 * len(lines) + 0.9), layout="constrained")
        drawn = 0
        for axis, (task, name) in zip(_row(figure, 2), TASKS.items(), strict=True):
            axis.axvline(0, color=INK, linewidth=0.8)
            for at, line in enumerate(lines):
                found = line.against[other][task].seeds
                if isinstance(found, Undefined) or not found.std:
                    continue
                half = student_quantile(0.95, found.n - 1) * found.std / found.n**0.5
                axis.errorbar(
                    100 * found.difference, at, xerr=100 * half, fmt="D", color=colours[line.label], capsize=3
                )
                drawn += 1
            axis.set(title=name, xlabel=f"AUC points above {other}", yticks=range(len(lines)))
            axis.set(ylim=(len(lines) - 0.5, -0.5))
            axis.set_yticklabels([line.label for line in lines] if task == "cvr" else [])
        return _svg(figure, f"against-{other}") if drawn else None


def sampling_curve(comparison: Comparison, task: str) -> str | None:
    """AUC by share of the training impressions (the paper's Fig. 3), with bands of one standard deviation."""
    curve = comparison.sampling_curve
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axis = figure.subplots()
        for i, label in enumerate(curve[0].auc):
            found = [(100 * p.share, auc) for p in curve if isinstance(auc := p.auc[label][task], Spread)]
            shares, means = [share for share, _ in found], [100 * auc.mean for _, auc in found]
            stds = [100 * (auc.std or 0.0) for _, auc in found]
            axis.plot(shares, means, marker=MARKS[i % 8], color=COLOURS[i % 7], label=label, markersize=4)
            low, high = ([m + sign * s for m, s in zip(means, stds, strict=True)] for sign in (-1, 1))
            axis.fill_between(shares, low, high, color=COLOURS[i % 7], alpha=0.12, linewidth=0)
        axis.set(xscale="log", xlabel="% of the training impressions", ylabel="AUC %", title=TASKS[task])
        shares = [100 * p.share for p in curve]
        axis.set_xticks(shares, [f"{share:g}" for share in shares])
        axis.minorticks_off()
        _legend(axis)
        return _svg(figure, f"curve-{task}")


def reliability(comparison: Comparison, task: str) -> str | None:
    """Observed rate and mean prediction in bins with equal numbers of impressions, one panel per method.

    For CTR there is one panel: all methods use the pCTR of the reference CTR network. None without positive values.
    """
    curves = {label: m.reliability[task] for label, m in comparison.diagnosis.methods.items()}
    if task == "ctr":
        curves = {"reference CTR network": next(iter(curves.values()))}
    held = [value for curve in curves.values() for b in curve for value in (b.predicted, b.observed) if value > 0]
    if not held:
        return None
    ends = 0.7 * min(held), 1.4 * max(held)
    with rc_context(STYLE):
        figure, panels = _panels(curves, across=2)
        for i, (axis, (label, curve)) in enumerate(zip(panels, curves.items(), strict=True)):
            x, y = [b.predicted for b in curve], [b.observed for b in curve]
            whiskers = [[b.observed - b.low for b in curve], [b.high - b.observed for b in curve]]
            axis.plot(ends, ends, color=INK, linewidth=0.8, alpha=0.6)
            axis.errorbar(x, y, yerr=whiskers, fmt="o-", color=COLOURS[i % 7], markersize=3, linewidth=1)
            axis.set_title(label, fontsize=8)
            axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
            for one in (axis.xaxis, axis.yaxis):
                _plain(one, subs=(1.0,) if ends[1] > 20 * ends[0] else (1.0, 2.0, 5.0))
        figure.supxlabel("predicted", fontsize=9)
        figure.supylabel("observed", fontsize=9)
        return _svg(figure, f"reliability-{task}")


def by_decile(comparison: Comparison, task: str) -> str | None:
    """Predicted over observed by decile of pCTR, with exact intervals, one panel per method."""
    found = comparison.diagnosis.methods
    points = {label: [_point(line, line.tasks[task]) for line in m.segments[DECILE]] for label, m in found.items()}
    return _deciles(points, "predicted/observed", f"deciles-tasks-{task}")


def over_truth_by_decile(comparison: Comparison, place: str) -> str | None:
    """pCVR / true pCVR by decile of pCTR, one panel per method."""
    found = comparison.diagnosis.methods
    points = {label: [_point(line, line.truth[place]) for line in m.segments[DECILE]] for label, m in found.items()}
    return _deciles(points, "pCVR / true pCVR", f"deciles-truth-{place}")


class _Point(NamedTuple):
    decile: int
    ratio: float
    ends: tuple[float, float] | None


def _point(line: SegmentLine, m: SegmentTask | SegmentTruth) -> _Point | None:
    if isinstance(m.pcoc, Undefined) or not m.pcoc > 0:
        return None
    ends = None
    if isinstance(m, SegmentTask):
        assert not isinstance(m.pcoc_low, Undefined)  # if the ratio is defined, so is its interval
        assert not isinstance(m.pcoc_high, Undefined)
        ends = m.pcoc_low, m.pcoc_high
    return _Point(int(line.name), m.pcoc, ends)


def _deciles(found: Mapping[str, Sequence[_Point | None]], ratio: str, name: str) -> str:
    with rc_context(STYLE):
        figure, panels = _panels(found, across=2)
        for i, (axis, (label, all_)) in enumerate(zip(panels, found.items(), strict=True)):
            points = [point for point in all_ if point is not None]
            ends = [(p.ratio - p.ends[0], p.ends[1] - p.ratio) for p in points if p.ends]
            axis.axhline(1, color=INK, linewidth=0.8, alpha=0.6)
            axis.errorbar(
                [p.decile for p in points],
                [p.ratio for p in points],
                yerr=[[low for low, _ in ends], [high for _, high in ends]] if ends else None,
                fmt="o-",
                color=COLOURS[i % 7],
                markersize=3,
                linewidth=1,
            )
            axis.set_title(label, fontsize=8)
            axis.set(yscale="log", xticks=range(1, 11, 3))
            _plain(axis.yaxis, subs=(1.0, 3.0))
        figure.supxlabel("decile of pCTR", fontsize=9)
        figure.supylabel(ratio, fontsize=9)
        return _svg(figure, name)


def histogram(comparison: Comparison) -> str | None:
    """The distribution of pCVR on clicked (filled) and un-clicked impressions (line), one panel per method.

    If the log gives the true pCVR, a further panel shows its distribution.
    """
    found, edges = comparison.diagnosis.histograms(), comparison.diagnosis.edges
    held = [i for i in range(len(edges) - 1) if any(counts[i] for h in found.values() for counts in h.values())]
    with rc_context(STYLE):
        figure, panels = _panels(found)
        for i, (axis, (label, h)) in enumerate(zip(panels, found.items(), strict=True)):
            for place, style in (("clicked", {"fill": True, "alpha": 0.35}), ("un-clicked", {"linewidth": 1.3})):
                shares = [100 * count / max(1, sum(h[place])) for count in h[place]]
                axis.stairs(shares, edges, color=COLOURS[i % 7], label=place, **style)  # type: ignore[arg-type]
            axis.set_title(label, fontsize=8)
            axis.set(xscale="log", xlim=(edges[held[0]], edges[held[-1] + 1]))
            _plain(axis.xaxis)
        figure.supxlabel("pCVR (filled: clicked impressions; line: un-clicked)", fontsize=9)
        figure.supylabel("% of the impressions", fontsize=9)
        return _svg(figure, "histogram")


def _panels(named: Mapping[str, Any], across: int = 4) -> tuple[Figure, list[Axes]]:
    """A small panel for each name, up to `across` in a row, with common axes."""
    across = min(across, len(named))
    down = -(-len(named) // across)
    figure = Figure(figsize=(2.0 * max(across, 1.5) + 0.4, 1.9 * down + 0.4), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    panels = [axis for row in grid for axis in row]
    for i, axis in enumerate(panels):
        axis.set_visible(i < len(named))
        if i + across >= len(named):  # the lowest panel of its column
            axis.tick_params(labelbottom=True)
    return figure, panels[: len(named)]


def _plain(axis: Axis, subs: Sequence[float] = (1.0,)) -> None:
    """Label a logarithmic axis with plain numbers: each of `subs` times powers of ten."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def learning(comparison: Comparison) -> str | None:
    """Each method's validation loss at each validation, relative to the first one, for every seed. None without any."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        axis, drawn = figure.subplots(), 0
        for i, (label, seeds) in enumerate(comparison.learning.items()):
            for at, checks in enumerate(seeds.values()):
                points = [(k + 1, c.validation_loss) for k, c in enumerate(checks) if c.validation_loss]
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
        axis.set(xlabel="validation", ylabel="change of the loss since the first validation, %")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(axis)
        return _svg(figure, "learning") if drawn else None


def _row(figure: Figure, columns: int) -> Sequence[Axes]:
    return figure.subplots(1, columns, squeeze=False)[0]


def _legend(axis: Axes) -> None:
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def _svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element for a page, with ids that no other figure has.

    It is as wide as its place in the page, within limits between which its text can be read.
    """
    with rc_context({"svg.hashsalt": name}):
        sink = io.StringIO()
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    svg = sink.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", svg)
    inches = figure.get_figwidth()
    style = f'style="min-width: {LEAST * inches:.3g}rem; max-width: {MOST * inches:.3g}rem" '
    svg = re.sub(r' height="[^"]*pt"', "", svg, count=1)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', rf"<svg {style}\1", svg, count=1)
