"""The bias study: the paper's methods on simulated logs whose clicks select conversions ever more strongly.

`python studies/bias.py WORK` simulates, prepares and compares; interrupted, it goes on where it stopped.
`python studies/bias.py WORK --draw docs/study` draws what stands in WORK, and prints the tables.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CONVERSION_RATE = "0.1"
PLACES, TASKS = ("clicked", "un-clicked", "all"), ("cvr", "ctcvr")
CONSTANT = "the true mean, for all"
COLOURS = ("#4477aa", "#ee6677", "#228833", "#b58900", "#3fa7c4", "#aa3377", "#444444")  # Tol's
MARKS = "osD^vPX"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bias",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def entirespace(*words: str | Path) -> None:
    print("$ entirespace", *words, flush=True)
    subprocess.run(
        [sys.executable, "-c", "from entirespace.cli import main; main()", *map(str, words), "-q"], check=True
    )


def measure(work: Path, strength: str, world: str, impressions: str, methods: str, seeds: str) -> None:
    """Simulate, prepare and compare: each step is skipped where its result stands."""
    log, data, report = (work / f"{name}-{strength}-{world}" for name in ("log", "dataset", "report"))
    if not log.exists():
        rows = ("--impressions", impressions, "--conversion-rate", CONVERSION_RATE)
        entirespace("simulate", log, *rows, "--bias", strength, "--seed", world)
    if not data.exists():
        entirespace("prepare", log / "schema.toml", log, data)
    if not (report / "report.json").exists():
        entirespace("compare", data, "-o", report, "--seeds", seeds, *(("--methods", methods) if methods else ()))


# What is read of a method's line of a report: the mean over its seeds, None where it is undefined

Read = Callable[[dict[str, Any]], float | None]
Reports = dict[str, list[dict[str, Any]]]  # strength -> a report a world


def mean(metric: dict[str, Any]) -> float | None:
    return metric.get("mean")


def excess(truth: dict[str, Any]) -> float | None:
    """Expected log loss less that of the truth, in thousandths of a nat: the mean divergence from the true pCVR."""
    got, least = mean(truth["log_loss"]), mean(truth["log_loss_of_truth"])
    return None if got is None or least is None else 1000 * (got - least)


def constant(truth: dict[str, Any]) -> float | None:
    """The excess of one number for all impressions of the place, their true mean: what a method must beat."""
    t, least = mean(truth["true_mean"]), mean(truth["log_loss_of_truth"])
    if t is None or least is None:
        return None
    return 1000 * (-t * math.log(t) - (1 - t) * math.log1p(-t) - least)


MEASURES: dict[str, Read] = {
    "excess log loss, 1/1000 nat": excess,
    "predicted / true pCVR, sums": lambda truth: mean(truth["pcoc"]),
    "rank correlation": lambda truth: mean(truth["rank_correlation"]),
}


def at(place: str, read: Read) -> Read:
    return lambda line: read(line["truth"][place])


def auc(task: str) -> Read:
    def percent(line: dict[str, Any]) -> float | None:
        found = mean(line["tasks"][task]["auc"])
        return None if found is None else 100 * found

    return percent


def over_worlds(reports: list[dict[str, Any]], name: str, read: Read) -> np.ndarray:
    """A method's values, one a world that has it; nan where undefined. AMAN at the rate chosen there."""
    values = [read(line) for report in reports for line in report["methods"] if line["name"] == name]
    return np.array([np.nan if value is None else value for value in values])


def paired(reports: list[dict[str, Any]], name: str, read: Read) -> np.ndarray:
    """ESMM's values less the method's, in the worlds that have it."""
    both = [report for report in reports if any(line["name"] == name for line in report["methods"])]
    return over_worlds(both, "ESMM", read) - over_worlds(both, name, read)


def methods(reports: Reports) -> list[str]:
    """In the paper's order."""
    return [line["name"] for line in next(iter(reports.values()))[0]["methods"]]


def curves(axis: Axes, reports: Reports, read: Read) -> None:
    """A line a method over the strengths, with a bar of one deviation over worlds."""
    for i, name in enumerate(methods(reports)):
        values = [over_worlds(held, name, read) for held in reports.values()]
        axis.errorbar(
            np.arange(len(values)) + 0.06 * (i - 3),  # so that bars do not hide each other
            [v.mean() for v in values],
            yerr=[v.std(ddof=1) if len(v) > 1 else 0 for v in values],
            color=COLOURS[i % 7],
            marker=MARKS[i % 7],
            markersize=4,
            linewidth=1.2,
            elinewidth=0.7,
            label=name,
        )
    axis.set_xticks(range(len(reports)), reports)


def draw_truth(reports: Reports, path: Path) -> None:
    """A row a measure, a panel a place."""
    figure, axes = plt.subplots(3, 3, figsize=(9.5, 8.5), layout="constrained", sharex=True, sharey="row")
    highest = 0.0
    for row, (what, read) in zip(axes, MEASURES.items(), strict=True):
        for axis, place in zip(row, PLACES, strict=True):
            curves(axis, reports, at(place, read))
            if what.startswith("excess"):
                flat = [over_worlds(held, methods(reports)[0], at(place, constant)) for held in reports.values()]
                axis.plot([v.mean() for v in flat], color="black", linestyle=":", linewidth=1.2, label=CONSTANT)
                highest = max(highest, *(v.max() for v in flat))
            elif what.startswith("predicted"):
                axis.axhline(1, color="black", linewidth=0.8)
                axis.set_yscale("log")
                axis.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5], ["0.05", "0.1", "0.2", "0.5", "1", "2", "5"])
                axis.minorticks_off()
        row[0].set_ylabel(what)
    axes[0][0].set_ylim(0, 1.6 * highest)  # AMAN and OVERSAMPLING, wrong by design, are far above
    for axis, place in zip(axes[0], PLACES, strict=True):
        axis.set_title(f"{place} impressions")
    for axis in axes[-1]:
        axis.set_xlabel("strength of the selection bias")
    finish(figure, axes[0][0], path)


def draw_auc(reports: Reports, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for axis, task in zip(axes, TASKS, strict=True):
        curves(axis, reports, auc(task))
        axis.set(title=f"{task.upper()} task", xlabel="strength of the selection bias", ylabel="AUC %")
    finish(figure, axes[0], path)


def finish(figure: Figure, axis: Axes, path: Path) -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def tables(reports: Reports) -> str:
    """In Markdown: how far pCVR is from the truth, AUC, and ESMM less the others, paired by world."""
    counts = {name: worlds(reports, name) for name in methods(reports)}
    ran = ", ".join(f"{name} {count}" for name, count in counts.items())
    text = [f"Means over worlds, ± one deviation. Worlds a method ran in: {ran}."]
    for what, read in MEASURES.items():
        rows = {
            name: [
                " / ".join(number(over_worlds(held, name, at(place, read))) for place in PLACES)
                for held in reports.values()
            ]
            for name in methods(reports)
        }
        if what.startswith("excess"):
            first = methods(reports)[0]
            rows[CONSTANT] = [
                " / ".join(number(over_worlds(held, first, at(place, constant))) for place in PLACES)
                for held in reports.values()
            ]
        text.append(table(f"{what}: clicked / un-clicked / all impressions", reports, rows))
    singles = {"predicted / true: un-clicked over clicked": gap}
    singles |= {f"AUC %, {task.upper()} task": auc(task) for task in TASKS}
    for title, read in singles.items():
        text.append(table(title, reports, each(reports, lambda held, name, r=read: over_worlds(held, name, r))))
    differences = {f"{what}, {PLACES[1]} impressions": at(PLACES[1], read) for what, read in MEASURES.items()} | singles
    for title, read in differences.items():
        rows = each(reports, lambda held, name, r=read: paired(held, name, r))
        del rows["ESMM"]
        text.append(table(f"ESMM less the method: {title}", reports, rows))
    return "\n\n".join(text)


def worlds(reports: Reports, name: str) -> int:
    held = next(iter(reports.values()))
    return sum(line["name"] == name for report in held for line in report["methods"])


def each(reports: Reports, values: Callable[[list[dict[str, Any]], str], np.ndarray]) -> dict[str, list[str]]:
    return {name: [spread(values(held, name)) for held in reports.values()] for name in methods(reports)}


def table(title: str, reports: Reports, rows: dict[str, list[str]]) -> str:
    head = ["method", *(f"bias {strength}" for strength in reports)]
    lines = [" | ".join(row) for row in (head, ["---"] + ["---:"] * len(reports), *([n, *r] for n, r in rows.items()))]
    return f"{title}\n\n" + "\n".join(f"| {line} |" for line in lines)


def number(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return "undefined"
    return f"{values.mean():.2f}" if values.mean() < 10 else f"{values.mean():.1f}"


def gap(line: dict[str, Any]) -> float | None:
    """How much more too high pCVR is on un-clicked than on clicked impressions: 1 for a pCVR without selection bias."""
    clicked, rest = (mean(line["truth"][place]["pcoc"]) for place in ("clicked", "un-clicked"))
    return None if clicked is None or rest is None else rest / clicked


def spread(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return "undefined"
    return f"{values.mean():.2f}" + (f"±{values.std(ddof=1):.2f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="where logs, datasets and reports stand")
    parser.add_argument("--strengths", default="0,0.5,1,3", help="of the selection bias")
    parser.add_argument("--worlds", default="0,1,2", help="seeds of the simulation")
    parser.add_argument("--impressions", default="120000", help="of each log")
    parser.add_argument("--seeds", default="3", help="of each comparison, as of `entirespace compare`")
    parser.add_argument("--methods", default="", help="as of `entirespace compare`; default: the paper's seven")
    parser.add_argument("--draw", type=Path, help="draw what stands in WORK to this folder instead")
    parser.add_argument("--name", default="bias", help="what the pictures' names begin with")
    given = parser.parse_args()
    strengths, worlds = given.strengths.split(","), given.worlds.split(",")
    if not given.draw:
        for world in worlds:
            for strength in strengths:
                measure(given.work, strength, world, given.impressions, given.methods, given.seeds)
        return
    reports: Reports = {}
    for strength in strengths:
        paths = [given.work / f"report-{strength}-{world}" / "report.json" for world in worlds]
        if held := [json.loads(path.read_text()) for path in paths if path.exists()]:
            reports[strength] = held
    given.draw.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        draw_truth(reports, given.draw / f"{given.name}-truth.svg")
        draw_auc(reports, given.draw / f"{given.name}-auc.svg")
    print(tables(reports))


if __name__ == "__main__":
    main()
