"""Table 2 from the evaluations of all runs: the best method of each family, and its differences to some others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..methods import Method
from ..metrics.delong import delong
from ..metrics.evaluation import Probabilities, TaskValues, Truths, TruthValues
from ..metrics.significance import Difference, Paired, holm, paired
from ..metrics.values import Undefined, Value
from ..reports.comparison import (
    BID,
    HEADLINES,
    Against,
    Candidate,
    Line,
    OverSeeds,
    Select,
    Spread,
    TaskSpreads,
    TruthSpreads,
)
from ..reports.evaluation import Evaluation
from ..reports.findings import AGAINST, RIVALS
from ..rivals.typed import Entry, Row
from .runs import Found

Scores = Callable[[Entry, int], Probabilities]
"""Gives the probabilities for the test part, by entry and seed."""


def table2(
    rows: Sequence[Row], found: Found, seeds: Sequence[int], select: Select, truths: Truths, scores: Scores
) -> dict[Entry, Line]:
    """The lines of Table 2: the best candidate of each row -> its line."""
    lines: dict[Entry, Line] = {}
    for row in rows:
        method, line = _line(row, found, seeds, select)
        lines[method] = line
    against = _against(lines, truths, seeds, scores)
    return {method: line.model_copy(update={"against": against[line.name]}) for method, line in lines.items()}


def auc(evaluation: Evaluation | None, task: str) -> Value | None:
    """The AUC of a task; None if it was not measured."""
    return evaluation.tasks[task].auc if evaluation and task in evaluation.tasks else None


def _bid_auc(evaluation: Evaluation) -> Value | None:
    """The AUC of the pCTCVR for bids."""
    return auc(evaluation, "ctcvr_own" if "ctcvr_own" in evaluation.tasks else "ctcvr")


def _line(row: Row, found: Found, seeds: Sequence[int], select: Select) -> tuple[Entry, Line]:
    """The best candidate of a row, and its line: its metrics over the seeds, and the candidates."""
    part = "test" if select == "paper" else "validation"
    candidates = [
        Candidate(
            label=method.label,
            method=method.spec(),
            selection_auc={t: Spread.of(auc(found[method][s].get(part), t) for s in seeds) for t in HEADLINES},
        )
        for method in row.candidates
    ]
    best = max(range(len(candidates)), key=lambda i: _worth(candidates[i].selection_auc))
    method = row.candidates[best]
    tests = [found[method][s]["test"] for s in seeds]
    line = Line(
        name=row.name,
        label=method.label,
        kind="method" if isinstance(method, Method) else method.kind,
        method=method.spec(),
        candidates=candidates if len(candidates) > 1 else [],
        tasks={task: TaskSpreads(**_over_seeds([e.tasks[task] for e in tests])) for task in tests[0].tasks},
        truth={place: TruthSpreads(**_over_seeds([e.truth[place] for e in tests])) for place in tests[0].truth},
        auc={t: [auc(e, t) for e in tests] for t in HEADLINES} | {BID: [_bid_auc(e) for e in tests]},
        against={},
    )
    return method, line


def _worth(selection: Mapping[str, OverSeeds]) -> tuple[float, float]:
    """The key to choose the best by: CTCVR AUC, which covers the entire space; for equal ones, CVR AUC."""
    cvr, ctcvr = (-1.0 if isinstance(auc, Undefined) else auc.mean for auc in (selection[t] for t in HEADLINES))
    return ctcvr, cvr


def _over_seeds(metrics: Sequence[TaskValues] | Sequence[TruthValues]) -> dict[str, OverSeeds]:
    """Each metric by name, over the seeds."""
    return {name: Spread.of(getattr(m, name) for m in metrics) for name in type(metrics[0]).model_fields}


def _against(
    lines: Mapping[Entry, Line], truths: Truths, seeds: Sequence[int], scores: Scores
) -> dict[str, dict[str, dict[str, Against]]]:
    """The differences to the methods in `AGAINST`: name of the line -> name of the other -> task.

    The pCTCVR for bids is tested against the lines to beat.

    Holm's correction counts the tests of all lines with the same other method in the same task.
    """
    by_name = {line.name: line for line in lines.values()}
    others = [name for name in AGAINST if name in by_name]
    against: dict[str, dict[str, dict[str, Against]]] = {
        name: {other: {} for other in others if other != name} for name in by_name
    }
    for task in (*HEADLINES, BID):
        tested = [other for other in others if task != BID or other in RIVALS]
        if not tested:
            continue
        users = _over_users(lines, truths, seeds, scores, task)
        for other in tested:
            tests = {
                name: _paired(line.auc[task], by_name[other].auc[task])
                for name, line in by_name.items()
                if name != other
            }
            p_values = [
                None if isinstance(t, Undefined) or isinstance(t.p_value, Undefined) else t.p_value
                for t in tests.values()
            ]
            for (name, test), p_holm in zip(tests.items(), holm(p_values), strict=True):
                assert not isinstance(p_holm, Undefined)
                against[name][other][task] = Against(seeds=test, p_holm=p_holm, users=users(name, other))
    return against


def _paired(mine: Sequence[Value | None], theirs: Sequence[Value | None]) -> Paired | Undefined:
    a, b = ([v for v in values if isinstance(v, float)] for values in (mine, theirs))
    if len(a) < len(mine) or len(b) < len(theirs):
        return Undefined("an AUC is undefined")
    return paired(a, b)


def _over_users(
    lines: Mapping[Entry, Line], truths: Truths, seeds: Sequence[int], scores: Scores, task: str
) -> Callable[[str, str], Difference | Undefined]:
    """A function that gives, for two lines, the difference of their mean AUC over seeds, with its interval over users.

    The interval is over impressions if the dataset names no user.
    """
    rows = truths.click if task == "cvr" else slice(None)
    held = [scores(method, s)[task][rows] for method in lines for s in seeds]
    found = delong(held, truths.conversion[rows], None if truths.user is None else truths.user[rows])
    place = {line.name: i for i, line in enumerate(lines.values())}

    def difference(name: str, other: str) -> Difference | Undefined:
        if isinstance(found, Undefined):
            return found
        weights = np.zeros((len(lines), len(seeds)))
        weights[place[name]] += 1 / len(seeds)
        weights[place[other]] -= 1 / len(seeds)
        return found.contrast(weights.ravel())

    return difference
