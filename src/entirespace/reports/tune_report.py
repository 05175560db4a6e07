"""The report of `tune`: its trials as a table and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from ..tables import markdown_table, text_table


class Goal(NamedTuple):
    """How an objective is named and printed; `up`: more is better."""

    name: str
    up: bool
    scale: float
    form: str

    def shown(self, value: float | None) -> str:
        return "-" if value is None else format(self.scale * value, self.form)


OBJECTIVES = {
    "ctcvr_auc": Goal("CTCVR AUC %", True, 100, ".3f"),
    "cvr_log_loss": Goal("CVR log loss", False, 1, ".6f"),
}


def text(about: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    return f"{_title(about)}\n\n{_table(about, text_table)}\n\n{_verdict(about)}"


def markdown(about: Mapping[str, Any]) -> str:
    """The report as Markdown, with the plot."""
    table = _table(about, markdown_table)
    return f"# {_title(about)}\n\n{_verdict(about)}\n\n![objective by trial and by setting](trials.svg)\n\n{table}\n"


def told(line: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """One trial in one line, as it ends."""
    goal = OBJECTIVES[about["objective"]]
    result = {"complete": f"{goal.name} {goal.shown(line['objective'])}", "fail": f"failed: {line['reason']}"}
    values = ", ".join(f"{name} {_short(value)}" for name, value in line["values"].items())
    best = ", best so far" if line["trial"] == about["best"] else ""
    return f"{result.get(line['state'], 'pruned')}{best} ({values})"


def _title(about: Mapping[str, Any]) -> str:
    states = [line["state"] for line in about["trials"]]
    counts = {word: states.count(state) for state, word in (("pruned", "pruned"), ("fail", "failed"))}
    some = "".join(f", {count} {word}" for word, count in counts.items() if count)
    goal = OBJECTIVES[about["objective"]].name
    name, path = about["method"]["name"], about["dataset"]["path"]
    return f"{name} on {path}: {len(states)} trials{some}; {goal} on the validation part"


def _table(about: Mapping[str, Any], table: Callable[[Sequence[str], Sequence[Sequence[object]]], str]) -> str:
    goal = OBJECTIVES[about["objective"]]
    rows = [
        [
            f"{line['trial']}{' (best)' if line['trial'] == about['best'] else ''}",
            {"pruned": "pruned", "fail": "failed"}.get(line["state"], goal.shown(line["objective"])),
            len(line["validation_losses"]) or "-",
            *(_short(line["values"].get(name)) for name in about["space"]),
        ]
        for line in about["trials"]
    ]
    return table(["trial", goal.name, "looks", *about["space"]], rows)


def _verdict(about: Mapping[str, Any]) -> str:
    goal = OBJECTIVES[about["objective"]]
    best, first = about["trials"][about["best"] - 1], about["trials"][0]
    said = f"Best: trial {best['trial']}, {goal.name} {goal.shown(best['objective'])}"
    if first["objective"] is not None and best is not first:
        said += f" (the first trial: {goal.shown(first['objective'])})"
    return f"{said}. It was chosen on the validation part, where it flatters: measure it on the test part."


def plot(about: Mapping[str, Any], path: Path) -> None:
    """The objective by trial, with the best so far; and against each setting. SVG, the same bytes each time."""
    import matplotlib
    from matplotlib.figure import Figure

    goal, names = OBJECTIVES[about["objective"]], list(about["space"])
    whole = [line for line in about["trials"] if line["state"] == "complete"]
    place = [line["trial"] for line in whole]
    values = [goal.scale * line["objective"] for line in whole]
    figure = Figure(figsize=(9, 3 + 2.6 * ((len(names) + 2) // 3)), layout="constrained")
    grid = figure.add_gridspec(1 + (len(names) + 2) // 3, 3)
    top = figure.add_subplot(grid[0, :])
    top.scatter(place, values, s=18, label="trial")
    top.step(place, list(accumulate(values, max if goal.up else min)), where="post", color="C1", label="best so far")
    for line in about["trials"]:
        if line["state"] != "complete":
            top.axvline(line["trial"], color="0.8", linewidth=1, zorder=0)
    top.set_xlabel("trial (grey: pruned or failed)")
    top.set_ylabel(goal.name)
    top.legend()
    for i, name in enumerate(names):
        axes = figure.add_subplot(grid[1 + i // 3, i % 3], sharey=top)
        searched = about["space"][name]
        at = [line["values"][name] for line in whole]
        if choices := searched.get("choices"):
            at = [choices.index(list(v) if isinstance(v, tuple) else v) for v in at]
            axes.set_xticks(range(len(choices)), [_short(c) for c in choices])
        elif searched.get("log"):
            low, high = searched["low"], searched["high"]
            axes.set_xscale("log")
            axes.set_xlim(low / 1.2, high * 1.2)
            axes.minorticks_off()
            axes.set_xticks([low, (low * high) ** 0.5, high], [_short(v) for v in (low, (low * high) ** 0.5, high)])
        axes.scatter(at, values, s=18, c=place, cmap="viridis")
        axes.set_xlabel(name)
    with matplotlib.rc_context({"svg.hashsalt": "entirespace"}):
        figure.savefig(path, metadata={"Date": None})


def _short(value: Any) -> str:
    """A value for a table.

    >>> _short(0.00123456), _short([200, 80]), _short(512)
    ('0.001235', '200 x 80', '512')
    """
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
