"""What a comparison found, in three or four plain sentences that stand at the top of its report.

A difference counts if it is significant in both tests, over seeds and over users, each with Holm's correction for all
methods of the table: would another training, and would other users, give it again?
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..metrics.calibration import count_interval
from ..metrics.distributions import poisson_p_value
from ..metrics.significance import holm, unpaired
from ..metrics.values import Undefined

if TYPE_CHECKING:
    from .comparison import Against, Comparison, Line, OverSeeds, TaskSpreads

RIVALS = {
    "RATES": "logistic regression on the rates of the history",
    "LightGBM": "boosted trees on the same columns",
}
"""The lines to beat, where they are compared: the first one wherever a dataset has a history."""
AGAINST = ("BASE", "ESMM", *RIVALS)
"""The methods that all others are tested against. The first one in the table is the reference of the findings."""
LEVEL = 0.95
OFF = 0.05
"""Probabilities further than this from what was observed, and by more than chance, are called miscalibrated."""
USABLE = 0.1
"""Probabilities this close to what was observed are right enough to bid with, even if chance cannot explain the gap.

Predicted over observed may have this standard deviation over seeds, at most: a bid uses one run, not the mean."""
NAMES = {"cvr": "CVR", "ctcvr": "CTCVR"}


def findings(comparison: Comparison) -> tuple[str, ...]:
    """Which methods rank better in the CVR task, in the CTCVR task, which probabilities to bid with; and which methods
    are better than the line to beat, if it was compared."""
    lines = comparison.methods
    return _ranking(lines, "cvr"), _ranking(lines, "ctcvr"), _bids(lines, bool(comparison.calibrated)), *_rivals(lines)


def enumerated(words: Sequence[str]) -> str:
    """Words as an enumeration.

    >>> enumerated(["BASE", "AMAN", "ESMM"])
    'BASE, AMAN and ESMM'
    """
    return " and ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), *words[-1:]])


def for_bids(line: Line) -> TaskSpreads | None:
    """The metrics of the pCTCVR that a bid uses: the method's own, else that with the reference CTR network's pCTR."""
    return line.tasks.get("ctcvr_own", line.tasks.get("ctcvr"))


def off_by(metrics: TaskSpreads | None, allowed: float = OFF) -> float | None:
    """Predicted over observed, if it is away from 1 by more than chance and by more than `allowed`; else None.

    Without any event, the lower end of its interval is returned.
    """
    if metrics is None or isinstance(metrics.pcoc_low, Undefined):
        return None
    low = metrics.pcoc_low.mean
    high = float("inf") if isinstance(metrics.pcoc_high, Undefined) else metrics.pcoc_high.mean
    if low <= 1 <= high:
        return None
    pcoc = low if isinstance(metrics.pcoc, Undefined) else metrics.pcoc.mean
    return pcoc if abs(pcoc - 1) > allowed else None


def chance(metrics: TaskSpreads | None) -> float | None:
    """The p value of the exact Poisson test that as many events are observed as are predicted; None without a test."""
    if metrics is None or isinstance(metrics.pcoc_low, Undefined) or isinstance(metrics.positives, Undefined):
        return None
    observed = metrics.positives.mean
    # the lower end of the interval of predicted/observed is predicted / (upper end of the interval of the count)
    return poisson_p_value(observed, metrics.pcoc_low.mean * count_interval(observed)[1])


class _Test(NamedTuple):
    """A method's difference to the reference in AUC, and whether each test finds it significant (None: no test)."""

    line: Line
    difference: float
    over_seeds: bool | None
    over_users: bool | None

    @property
    def found(self) -> bool:
        """Whether the difference is significant in both tests, or over seeds if there is no test over users."""
        return bool(self.over_seeds) and self.over_users is not False

    def __str__(self) -> str:
        return f"{self.line.label} ({100 * self.difference:+.2f})"


def _reference(lines: Sequence[Line]) -> Line | None:
    names = {line.name: line for line in lines}
    return next((names[name] for name in AGAINST if name in names), None)


def _tests(lines: Sequence[Line], reference: Line, task: str) -> list[_Test]:
    held: list[tuple[Line, float, Against]] = []
    for line in lines:
        against = line.against.get(reference.name, {}).get(task)
        if against and not isinstance(against.seeds, Undefined):
            held.append((line, against.seeds.difference, against))
    over_users = users_holm(lines, reference.name, task)
    return [
        _Test(line, difference, _small(against.p_holm), _small(over_users[line.name]))
        for line, difference, against in held
    ]


def users_holm(lines: Sequence[Line], other: str, task: str) -> dict[str, float | None]:
    """The p value over users of each line's difference to another one, with Holm's correction; None without a test."""
    tests = {line.name: line.against[other][task].users for line in lines if task in line.against.get(other, {})}
    corrected = holm([None if isinstance(test, Undefined) else test.p_value for test in tests.values()])
    return {name: p if isinstance(p, float) else None for name, p in zip(tests, corrected, strict=True)}


def _small(p: float | None) -> bool | None:
    return None if p is None else p <= 1 - LEVEL


def _ranking(lines: Sequence[Line], task: str) -> str:
    """The sentence on one task: which methods are better or worse than the reference."""
    start, reference = f"On the {NAMES[task]} task, ", _reference(lines)
    aucs = {line.label: line.tasks[task].auc for line in lines if task in line.tasks}
    known = {label: auc.mean for label, auc in aucs.items() if not isinstance(auc, Undefined)}
    if not known:
        return f"{start}no method has an AUC: {_reason(list(aucs.values()))}."
    top = max(known.values())
    best = [label for label, mean in known.items() if f"{mean:.4f}" == f"{top:.4f}"]
    highest = f"{enumerated(best)} {'has' if len(best) == 1 else 'have'} the highest AUC, {100 * top:.2f} %"
    if len(lines) == 1:
        return f"{start}{lines[0].label} has an AUC of {100 * top:.2f} %; no other method was compared with it."
    if reference is None:
        return f"{start}{highest}; no difference was tested, because neither BASE nor ESMM was compared."
    tests = _tests(lines, reference, task)
    if not any(test.over_seeds is not None for test in tests):
        theirs = known.get(reference.label)
        if theirs is not None and reference.label not in best:
            highest += f", and {reference.label} has {100 * theirs:.2f} %"
        return f"{start}{highest}; {_untested(lines, reference, task)}{_by_one_test(tests)}."
    return start + _verdict(tests, reference.label) + _by_one_test(tests) + "."


def _reason(values: Sequence[OverSeeds]) -> str:
    return next((value.reason for value in values if isinstance(value, Undefined)), "it was not measured")


def _untested(lines: Sequence[Line], reference: Line, task: str) -> str:
    """Why no difference was tested over seeds."""
    if len(reference.auc.get(task, ())) == 1:
        return "one seed was trained, so whether another training gives the same order was not tested"
    for line in lines:
        test = line.against.get(reference.name, {}).get(task)
        undefined = test and (test.seeds if isinstance(test.seeds, Undefined) else test.seeds.p_value)
        if isinstance(undefined, Undefined):
            return f"no difference could be tested over seeds: {undefined.reason}"
    return "no difference was tested over seeds"


def _verdict(tests: Sequence[_Test], reference: str) -> str:
    better = sorted((t for t in tests if t.found and t.difference > 0), key=lambda t: -t.difference)
    worse = sorted((t for t in tests if t.found and t.difference < 0), key=lambda t: t.difference)
    unsure = [t for t in tests if not t.found]
    if not better and not worse:
        subject = f"{unsure[0].line.label} cannot" if len(unsure) == 1 else "no method can"
        return f"{subject} be told apart from {reference}"
    if not better and not unsure and len(worse) > 1:
        return f"{reference} is better than every other method, in AUC points: {enumerated([str(t) for t in worse])}"
    parts: list[str] = []
    if better:
        verb = "leads" if len(better) == 1 else "lead"
        parts.append(f"{enumerated([t.line.label for t in better])} {verb} {reference} by {_points(better)}")
    if worse:
        names, verb = enumerated([t.line.label for t in worse]), "is" if len(worse) == 1 else "are"
        parts.append(f"{names} {verb} worse{' than ' + reference if not better else ''} by {_points(worse)}")
    if unsure:
        others = unsure[0].line.label if len(unsure) == 1 else f"the other {len(unsure)} methods"
        parts.append(f"{others} cannot be told apart from it")
    return "; ".join(parts)


def _points(tests: Sequence[_Test]) -> str:
    """The size of differences, the smallest and the largest."""
    sizes = sorted((f"{100 * abs(test.difference):.2f}" for test in tests), key=float)
    return f"{sizes[0]} AUC points" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]} AUC points"


def _rivals(lines: Sequence[Line]) -> list[str]:
    """For each line to beat, but for the reference: the sentences on the methods that are better or worse."""
    found = {line.name: line for line in lines if line.name in RIVALS and line is not _reference(lines)}
    return [_against_rival(lines, found[name], what) for name, what in RIVALS.items() if name in found]


def _against_rival(lines: Sequence[Line], rival: Line, what: str) -> str:
    said = [f"The line to beat is {rival.name}, {what}."]
    places = {task: f"On the {name} task" for task, name in NAMES.items()} | {"bid": "With the pCTCVR for bids"}
    for task, place in places.items():
        tests = _tests(lines, rival, task)
        if task == "bid" and not tests:
            continue
        tested = any(test.over_seeds is not None for test in tests)
        verdict = _verdict(tests, rival.name) if tested else _untested(lines, rival, task)
        said.append(f"{place}, {verdict}{_by_one_test(tests)}.")
    return " ".join(said)


def _by_one_test(tests: Sequence[_Test]) -> str:
    """Differences that only one of the two tests finds; the sentence before it is not closed yet."""
    users = [str(t) for t in tests if t.over_users and not t.over_seeds]
    seeds = [str(t) for t in tests if t.over_seeds and t.over_users is False]
    said = ""
    if users:
        said += f". Only the test over users finds a difference, in AUC points: {enumerated(users)}"
    if seeds:
        said += f". Only the test over seeds finds a difference, in AUC points: {enumerated(seeds)}"
    return said


def _bids(lines: Sequence[Line], calibrated: bool) -> str:
    """The sentence on bids: of the methods that rank best in the CTCVR task, one whose probabilities are right."""
    on = " on later outcomes" if calibrated else ""
    measured = {line.label: m for line in _probable(_eligible(lines)) if (m := for_bids(line))}
    known = {label: m for label, m in measured.items() if not isinstance(m.pcoc, Undefined)}
    if not known:
        why = _reason([m.pcoc for m in measured.values()])
        return f"For bids no method can be named, because no probability can be checked: {why}."
    right = {label: m for label, m in known.items() if off_by(m, USABLE) is None and _over_seeds(m) <= USABLE}
    if not right:
        near, tested = _lowest_log_loss(known)
        label = min(near, key=lambda label: _distance(near[label]))
        which = f"the lowest log loss is that of {label}"
        if tested or len(known) == 1:
            among = "of the methods whose log loss no test over seeds finds worse, " if tested else ""
            which = f"{among}the nearest are those of {label}"
        return (
            f"For bids no method's probabilities are right: {which}, whose pCTCVR is {_ratio(known[label])}. "
            f"Calibrate{on} before bidding.{_against_truth(lines, label)}"
        )
    label = min(right, key=lambda label: (_log_loss(right[label]), _distance(right[label])))
    percent = max(1, math.ceil(round(100 * _distance(right[label]), 6)))
    why = f"whose pCTCVR is within {percent} % of what was observed ({_interval(right[label])})"
    said = f"For bids use {label}, {why}.{_against_truth(lines, label)}"
    best = min(known, key=lambda label: _log_loss(known[label]))
    if best not in right and _log_loss(known[best]) < _log_loss(right[label]):
        said += (
            f" {best} has a lower log loss, but its pCTCVR is {_ratio(known[best])}: it needs calibration{on} first."
        )
    return said


def _eligible(lines: Sequence[Line]) -> list[Line]:
    """The methods that are better than the reference in the CTCVR task; without any, those that are not worse."""
    reference = _reference(lines)
    if reference is None:
        return list(lines)
    found = {test.line.name: test.difference for test in _tests(lines, reference, "ctcvr") if test.found}
    better = [line for line in lines if found.get(line.name, 0) > 0]
    return better or [line for line in lines if found.get(line.name, 0) == 0]


def _probable(lines: Sequence[Line]) -> Sequence[Line]:
    """The lines whose pCVR has a log loss, as it has not if it exceeds 1 (DIVISION, Eq. 2); all, if none has."""
    found = [line for line in lines if not (m := line.tasks.get("cvr")) or not isinstance(m.log_loss, Undefined)]
    return found or lines


def _lowest_log_loss(known: Mapping[str, TaskSpreads]) -> tuple[dict[str, TaskSpreads], bool]:
    """(the methods whose log loss is not worse than the lowest one, whether that was tested over seeds).

    The test is Welch's, with Holm's correction for all methods. Without a test it is the one with the lowest.
    """
    best = min(known, key=lambda label: _log_loss(known[label]))
    lowest, others = known[best].log_loss, [label for label in known if label != best]
    p_values = holm([_worse(known[label].log_loss, lowest) for label in others])
    if not any(isinstance(p, float) for p in p_values):
        return {best: known[best]}, False
    near = [label for label, p in zip(others, p_values, strict=True) if isinstance(p, float) and p > 1 - LEVEL]
    return {label: known[label] for label in known if label == best or label in near}, True


def _worse(one: OverSeeds, other: OverSeeds) -> float | None:
    """The p value of the difference of two means over seeds; None without a test."""
    if isinstance(one, Undefined) or isinstance(other, Undefined) or one.std is None or other.std is None:
        return None
    p = unpaired((one.mean, one.std, one.n), (other.mean, other.std, other.n))
    return None if isinstance(p, Undefined) else p


def _distance(metrics: TaskSpreads) -> float:
    """How far predicted over observed of one run is from 1: the distance of the mean, and one standard deviation."""
    pcoc = metrics.pcoc
    return float("inf") if isinstance(pcoc, Undefined) else abs(pcoc.mean - 1) + _over_seeds(metrics)


def _over_seeds(metrics: TaskSpreads) -> float:
    """The standard deviation of predicted over observed between seeds; 0 for one seed."""
    return 0.0 if isinstance(metrics.pcoc, Undefined) else metrics.pcoc.std or 0.0


def _log_loss(metrics: TaskSpreads) -> float:
    return float("inf") if isinstance(metrics.log_loss, Undefined) else metrics.log_loss.mean


def _ratio(metrics: TaskSpreads) -> str:
    assert not isinstance(metrics.pcoc, Undefined)
    std = _over_seeds(metrics)
    return f"{metrics.pcoc.mean:.2f}{f'±{std:.2f}' if std > USABLE else ''} times what was observed"


def _interval(metrics: TaskSpreads) -> str:
    ends = (metrics.pcoc, metrics.pcoc_low, metrics.pcoc_high)
    pcoc, low, high = ("undefined" if isinstance(end, Undefined) else f"{end.mean:.2f}" for end in ends)
    return f"predicted/observed {pcoc}, 95 % interval {low} to {high}"


def _against_truth(lines: Sequence[Line], label: str) -> str:
    """A sentence on pCVR over the true pCVR where the log gives it."""
    truth = next(line.truth for line in lines if line.label == label)
    places = [(place, m.pcoc.mean) for place, m in truth.items() if not isinstance(m.pcoc, Undefined)]
    ratios = enumerated([f"{ratio:.2f} times the true pCVR on {place}" for place, ratio in places if place != "all"])
    return f" Its mean pCVR is {ratios} impressions." if ratios else ""
