"""The report of `compare` in sections: Table 2 as in the paper, differences, calibration and further metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..dotted import flat
from ..metrics.significance import Difference, Paired
from ..metrics.values import Undefined
from . import sections as printed
from .cautions import warnings
from .coefficients import coefficients_section
from .findings import AGAINST, enumerated, findings, for_bids, users_holm
from .sections import Beside, Points, Section, Table

if TYPE_CHECKING:
    from .comparison import Comparison, CurvePoint, Line, OverSeeds, TaskSpreads

TASKS = ("cvr", "ctcvr")
TESTED = {"cvr": "CVR task", "ctcvr": "CTCVR task", "bid": "pCTCVR for bids"}
"""The tasks in which differences are tested, and their columns."""
PLACES = ("clicked", "un-clicked", "all")


def text(comparison: Comparison) -> str:
    """The report for a terminal."""
    return printed.text(sections(comparison))


def markdown(comparison: Comparison, details: Sequence[Section] = ()) -> str:
    """The report as Markdown, with sections that the report for a terminal does not have."""
    first, body = opening(comparison), [*tables(comparison), *details]
    code = printed.fenced(configuration(comparison))
    listed = printed.contents([*body, CONFIGURATION])
    parts = (f"# {title(comparison)}", printed.markdown(first), f"## Contents\n\n{listed}")
    return "\n\n".join([*parts, printed.markdown(body), f"## {CONFIGURATION.title}", code]) + "\n"


CONFIGURATION = Section("configuration", "Configuration", "")


def title(comparison: Comparison) -> str:
    """The title of the report."""
    count = len(comparison.methods)
    return f"Entire-space CVR: {count} method{'' if count == 1 else 's'}"


def configuration(comparison: Comparison) -> str:
    """The configuration, one value per line, as `--set` accepts it."""
    return "\n".join(f"{name} = {value}" for name, value in flat(comparison.config).items())


def sections(comparison: Comparison) -> list[Section]:
    """The sections of the report, without the diagnosis (`reports.diagnosis.details`)."""
    return [*opening(comparison), *tables(comparison)]


def opening(comparison: Comparison) -> list[Section]:
    """How the report begins: what came out, what to be careful with, and what was compared."""
    found = [
        Section("findings", "What came out", Points(findings(comparison))),
        Section("warnings", "Warnings", Points(warnings(comparison))),
        Section("preface", "", _preface(comparison)),
    ]
    return [section for section in found if not isinstance(section.body, Points) or section.body.sentences]


def tables(comparison: Comparison) -> list[Section]:
    """The tables of the report: Table 2 first, and the tests of its differences."""
    lines, curve = comparison.methods, comparison.sampling_curve
    found = [Section("table2", "AUC", _table2(comparison), "AUC %, mean ± standard deviation over seeds")]
    for other in AGAINST:
        if any(other in line.against for line in lines):
            over_seeds = "AUC points, paired by seed (p: of the t test; Holm: corrected for all methods)"
            over_users = (
                "AUC points (95 % interval, p; Holm: corrected for all methods); without users, over impressions"
            )
            found += [
                Section(f"against {other}", f"Difference to {other}", _against(lines, other), over_seeds),
                Section(
                    f"users {other}", f"Difference to {other}, tested over users", _over_users(lines, other), over_users
                ),
            ]
    if curve:
        beside = [Section(f"curve {task}", f"{task.upper()} task", _curve(curve, task)) for task in TASKS]
        what = "AUC by share of the training impressions (Fig. 3)"
        found.append(Section("curve", what, Beside(beside), "AUC %, mean ± standard deviation over seeds"))
    measured = {f"{task.upper()} task": [line.tasks.get(task) for line in lines] for task in TASKS}
    if any("ctcvr_own" in line.tasks for line in lines):
        measured["pCTCVR for bids"] = [for_bids(line) for line in lines]
    labels = [line.label for line in lines]
    beside = [Section(f"calibration {what}", what, _calibration(labels, found)) for what, found in measured.items()]
    found += [
        Section("beyond", "Further metrics", _beyond(lines), "mean over seeds: CTR / CVR / CTCVR"),
        Section("calibration", "Calibration", Beside(beside), "mean over seeds"),
    ]
    if comparison.calibrated:
        how = "by how many seeds' validation scores; none: as it is"
        found.append(Section("calibrators", "Calibrators chosen", _calibrators(comparison.calibrated), how))
    if any(line.truth for line in lines):
        beside = [
            Section(f"truth {place}", f"{place} impressions".capitalize(), _truth(lines, place)) for place in PLACES
        ]
        found.append(Section("truth", "pCVR against the true pCVR", Beside(beside), "mean over seeds"))
    if any(line.candidates for line in lines):
        part = "test" if comparison.select == "paper" else "validation"
        how = f"chosen by mean CTCVR AUC on the {part} part"
        found.append(Section("searched", "Candidates", _searched(lines), how))
    if any(line.weights for line in lines):
        found.append(Section("blends", "Weights of blends", _blends(lines), "share of the first part, of 1"))
    for label, coefficients in comparison.coefficients.items():
        found.append(coefficients_section(coefficients, f"Coefficients of {label}"))
    metrics = (value for line in lines for task in line.tasks.values() for _, value in task)
    undefined = sorted({value.reason for value in metrics if isinstance(value, Undefined)})
    if undefined:
        found.append(Section("undefined", "Reasons for undefined values", Points(undefined)))
    return found


def _preface(comparison: Comparison) -> str:
    parts = "; ".join(
        f"{part}: {c.impressions:,} impressions, {c.clicks:,} clicks, {c.conversions:,} conversions"
        for part, c in comparison.dataset.parts.items()
    )
    how = (
        "AMAN's rate and OVERSAMPLING's copies were chosen on the TEST part, as in the paper: AUCs are optimistic."
        if comparison.select == "paper"
        else f"{_chosen(comparison.methods)} were chosen on the validation part; the test part was only used to test."
    )
    if comparison.calibrated:
        how += (
            " Probabilities of every row are calibrated by temperature or Platt scaling, where that lowers the log "
            "loss over folds of the validation part; the pCTR of the reference CTR network likewise, the same for "
            "every row. All else that was chosen was chosen by uncalibrated scores."
        )
    seeds = ", ".join(map(str, comparison.seeds))
    return f"{comparison.dataset.path}: {parts}.\nSeeds: {seeds}. {how}"


def _chosen(lines: Sequence[Line]) -> str:
    """What was chosen on the validation part."""
    kinds = {line.kind for line in lines}
    beside = {"rival": "settings of LightGBM", "blend": "weights of blends"}
    return enumerated(["Epochs", "rates", "copies", *(what for kind, what in beside.items() if kind in kinds)])


def _table2(comparison: Comparison) -> Table:
    rows: list[list[str]] = []
    for line in comparison.methods:
        paper = comparison.paper.get(line.name.partition("(")[0], {})
        auc = {task: m.auc for task, m in line.tasks.items()}
        own = _spread(auc["ctcvr_own"]) if "ctcvr_own" in auc else "-"
        ours = [_spread(auc.get("cvr")), _spread(auc.get("ctcvr")), own]
        rows.append([line.label, *ours, *(paper.get(task, "") for task in TASKS)])
    return Table(["method", "CVR task", "CTCVR task", "CTCVR, own pCTR", "paper: CVR", "paper: CTCVR"], rows)


def _spread(auc: OverSeeds | None) -> str:
    if auc is None or isinstance(auc, Undefined):
        return "undefined"
    return f"{100 * auc.mean:.2f}" + (f"±{100 * auc.std:.2f}" if auc.std is not None else "")


def _against(lines: Sequence[Line], other: str) -> Table:
    def difference(found: Paired | Undefined, p_holm: float | None) -> str:
        if isinstance(found, Undefined):
            return "undefined"
        known = not isinstance(found.p_value, Undefined)
        how = f"p {found.p_value:.3f}, Holm {p_holm:.3f}" if known else "p undefined"
        return f"{100 * found.difference:+.2f} ({how})"

    tested = _tested(lines, other)
    rows = [
        [line.label, *(difference(found[task].seeds, found[task].p_holm) for task in tested)]
        for line in lines
        if (found := line.against.get(other))
    ]
    return Table(["method", *tested.values()], rows)


def _tested(lines: Sequence[Line], other: str) -> dict[str, str]:
    """The tasks in which differences to another method were tested, and their columns."""
    return {
        task: column for task, column in TESTED.items() if any(task in line.against.get(other, {}) for line in lines)
    }


def _over_users(lines: Sequence[Line], other: str) -> Table:
    tested = _tested(lines, other)
    holm = {task: users_holm(lines, other, task) for task in tested}

    def difference(found: Difference | Undefined, p_holm: float | None) -> str:
        if isinstance(found, Undefined):
            return "undefined"
        mean, low, high = (100 * value for value in (found.difference, found.low, found.high))
        known = not isinstance(found.p_value, Undefined)
        p = f"p {found.p_value:.3f}, Holm {p_holm:.3f}" if known else "p undefined"
        return f"{mean:+.2f} ({low:+.2f} to {high:+.2f}, {p})"

    rows = [
        [line.label, *(difference(found[task].users, holm[task][line.name]) for task in tested)]
        for line in lines
        if (found := line.against.get(other))
    ]
    return Table(["method", *tested.values()], rows)


def _curve(curve: Sequence[CurvePoint], task: str) -> Table:
    shares = [f"{100 * point.share:g} %" for point in curve]
    rows = [[label, *(_spread(point.auc[label][task]) for point in curve)] for label in curve[0].auc]
    return Table(["method", *shares], rows)


def _beyond(lines: Sequence[Line]) -> Table:
    """CTR / CVR / CTCVR. If a method has no pCTR, its CTR is that of the reference CTR network."""

    def metrics(line: Line) -> list[TaskSpreads | None]:
        tasks = line.tasks
        return [tasks.get("ctr", tasks.get("ctr_reference")), tasks.get("cvr"), tasks.get("ctcvr")]

    rows = [
        [
            line.label,
            " / ".join(_mean(m and m.log_loss, ".4f") for m in metrics(line)),
            " / ".join(_mean(m and m.pcoc, ".3f") for m in metrics(line)),
            " / ".join(_mean(m and m.grouped_auc, ".2f", 100) for m in metrics(line)),
        ]
        for line in lines
    ]
    return Table(["method", "log loss", "predicted/observed", "AUC inside users %"], rows)


def _calibration(labels: Sequence[str], measured: Sequence[TaskSpreads | None]) -> Table:
    rows: list[list[str]] = []
    for label, m in zip(labels, measured, strict=True):
        rows.append(
            [
                label,
                _with_std(m and m.log_loss, ".5f"),
                _mean(m and m.normalised_entropy, ".4f"),
                _mean(m and m.brier, ".6f"),
                _mean(m and m.ece, ".6f"),
                _mean(m and m.pcoc, ".3f"),
                f"{_mean(m and m.pcoc_low, '.3f')}–{_mean(m and m.pcoc_high, '.3f')}",
            ]
        )
    return Table(
        ["method", "log loss", "normalised entropy", "Brier", "ECE", "predicted/observed", "95 % interval"], rows
    )


def _calibrators(chosen: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Table:
    def counted(kinds: Mapping[str, int]) -> str:
        return ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())) or "-"

    rows = [[who, *(counted(of.get(name, {})) for name in ("pctr", "pcvr"))] for who, of in chosen.items()]
    return Table(["method", "pCTR", "pCVR"], rows)


def _mean(metric: OverSeeds | None, form: str, scale: float = 1) -> str:
    return "undefined" if metric is None or isinstance(metric, Undefined) else format(scale * metric.mean, form)


def _with_std(metric: OverSeeds | None, form: str) -> str:
    std = None if metric is None or isinstance(metric, Undefined) else metric.std
    return _mean(metric, form) + ("" if std is None else f"±{std:{form}}")


def _truth(lines: Sequence[Line], place: str) -> Table:
    """pCVR against the true pCVR on the impressions of one place."""
    known = {line.label: line.truth[place] for line in lines if line.truth}
    rows = [
        [label, _mean(m.rank_correlation, ".3f"), _mean(m.log_loss, ".5f"), _mean(m.mean, ".4f")]
        for label, m in known.items()
    ]
    true = next(iter(known.values()))
    rows.append(["the true pCVR", "1", _mean(true.log_loss_of_truth, ".5f"), _mean(true.true_mean, ".4f")])
    return Table(["method", "rank correlation", "log loss", "mean pCVR"], rows)


def _blends(lines: Sequence[Line]) -> Table:
    rows = [
        [line.label, *(_with_std(line.weights[head], ".3f") for head in ("ctr", "cvr"))]
        for line in lines
        if line.weights
    ]
    return Table(["blend", "pCTR", "pCVR"], rows)


def _searched(lines: Sequence[Line]) -> Table:
    rows = [
        [
            c.label + (" (chosen)" if c.label == line.label else ""),
            *(_spread(c.selection_auc[task]) for task in TASKS),
        ]
        for line in lines
        for c in line.candidates
    ]
    return Table(["candidate", "CVR task", "CTCVR task"], rows)
