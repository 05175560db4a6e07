"""A study of `tune` as records, and its report, with the trials in a table and in a plot."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import Field

from ..metrics.values import Values
from ..text import markdown as literal
from . import sections as printed
from .sections import Section, Table

Objective: TypeAlias = Literal["ctcvr_auc", "cvr_log_loss"]


class Goal(NamedTuple):
    """How an objective is named, compared and printed."""

    name: str
    up: bool  # whether higher is better
    scale: float  # printed values are multiplied by it
    form: str  # format of printed values

    def shown(self, value: float | None) -> str:
        """The value as text; "-" for None."""
        return "-" if value is None else format(self.scale * value, self.form)


OBJECTIVES: dict[Objective, Goal] = {
    "ctcvr_auc": Goal("CTCVR AUC %", True, 100, ".3f"),
    "cvr_log_loss": Goal("CVR log loss", False, 1, ".6f"),
}


class Range(Values):
    """The search space of one setting: from `low` to `high`, on a logarithmic scale if `log`, or `choices`."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] = Field(default_factory=list)


class Trial(Values):
    """One trial: its settings and the result of its training."""

    trial: int
    """Its place in the study, from 1."""
    state: Literal["complete", "pruned", "fail"]
    objective: float | None
    """None if the trial was pruned or failed."""
    values: dict[str, Any]
    """The settings, by dotted name."""
    validation_losses: list[float]
    """The loss at each validation."""
    seconds: float | None
    reason: str | None
    """Why it failed."""


class DatasetPath(Values):
    """The folder of a dataset, and its digest."""

    path: str
    digest: str


class Tuned(Values):
    """A study: the content of trials.json (docs/formats.md); `str()` is the report."""

    format: str
    method: dict[str, Any]
    config: dict[str, Any]
    seed: int
    dataset: DatasetPath
    objective: Objective
    space: dict[str, Range]
    trials: list[Trial]
    best: int | None
    """The number of the best trial; None if no trial has an objective."""

    @property
    def goal(self) -> Goal:
        """How the objective is named, compared and printed."""
        return OBJECTIVES[self.objective]

    @property
    def complete(self) -> list[Trial]:
        """The trials that have an objective."""
        return [trial for trial in self.trials if trial.state == "complete"]

    def __str__(self) -> str:
        return printed.text([Section("trials", _title(self), _table(self)), Section("verdict", "", _verdict(self))])


def markdown(study: Tuned) -> str:
    """The report as Markdown, with a link to the plot."""
    verdict, picture = literal(_verdict(study)), "![objective by trial and by setting](trials.svg)"
    table = printed.markdown([Section("trials", "The trials", _table(study))])
    return f"# {literal(_title(study))}\n\n{verdict}\n\n{picture}\n\n{table}\n"


def in_one_line(trial: Trial, study: Tuned) -> str:
    """The result of one trial, in one line."""
    goal = study.goal
    result = {"complete": f"{goal.name} {goal.shown(trial.objective)}", "fail": f"failed: {trial.reason}"}
    values = ", ".join(f"{name} {_short(value)}" for name, value in trial.values.items())
    best = ", best so far" if trial.trial == study.best else ""
    return f"{result.get(trial.state, 'pruned')}{best} ({values})"


def _title(study: Tuned) -> str:
    states = [trial.state for trial in study.trials]
    counts = {word: states.count(state) for state, word in (("pruned", "pruned"), ("fail", "failed"))}
    some = "".join(f", {count} {word}" for word, count in counts.items() if count)
    where = f"{study.method['name']} on {study.dataset.path}"
    return f"{where}: {len(states)} trials{some}; {study.goal.name} on the validation part"


def _table(study: Tuned) -> Table:
    rows = [
        [
            f"{trial.trial}{' (best)' if trial.trial == study.best else ''}",
            {"pruned": "pruned", "fail": "failed"}.get(trial.state, study.goal.shown(trial.objective)),
            len(trial.validation_losses) or "-",
            *(_short(trial.values.get(name)) for name in study.space),
        ]
        for trial in study.trials
    ]
    return Table(["trial", study.goal.name, "validations", *study.space], rows)


def _verdict(study: Tuned) -> str:
    assert study.best is not None
    goal, best, first = study.goal, study.trials[study.best - 1], study.trials[0]
    text = f"Best: trial {best.trial}, {goal.name} {goal.shown(best.objective)}"
    if first.objective is not None and best is not first:
        text += f" (first trial: {goal.shown(first.objective)})"
    return f"{text}. It was chosen on the validation part, so this value is optimistic. Evaluate it on the test part."


def plot(study: Tuned, path: Path) -> None:
    """Plot the objective by trial, with the best so far, and by each setting. The same study gives the same SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    goal, names, whole = study.goal, list(study.space), study.complete
    place = [trial.trial for trial in whole]
    values = [goal.scale * trial.objective for trial in whole if trial.objective is not None]
    figure = Figure(figsize=(9, 3 + 2.6 * ((len(names) + 2) // 3)), layout="constrained")
    grid = figure.add_gridspec(1 + (len(names) + 2) // 3, 3)
    top = figure.add_subplot(grid[0, :])
    top.scatter(place, values, s=18, label="trial")
    top.step(place, list(accumulate(values, max if goal.up else min)), where="post", color="C1", label="best so far")
    for trial in study.trials:
        if trial.state != "complete":
            top.axvline(trial.trial, color="0.8", linewidth=1, zorder=0)
    top.set_xlabel("trial (grey: pruned or failed)")
    top.set_ylabel(goal.name)
    top.legend()
    for i, name in enumerate(names):
        axes = figure.add_subplot(grid[1 + i // 3, i % 3], sharey=top)
        searched = study.space[name]
        at = [trial.values[name] for trial in whole]
        if choices := searched.choices:
            at = [choices.index(list(v) if isinstance(v, tuple) else v) for v in at]
            axes.set_xticks(range(len(choices)), [_short(c) for c in choices])
        elif searched.log:
            low, high = searched.low, searched.high
            assert low is not None
            assert high is not None
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
