"""The report of `compare` in sections: Table 2 in the paper's form and what stands around it, in any kind of table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..dotted import flat
from ..tables import markdown_table, text_table

Table = Callable[[Sequence[str], Sequence[Sequence[object]]], str]


def text(about: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    return "\n\n".join(f"{s.title}\n{s.body}" if s.title else s.body for s in sections(about, text_table))


def markdown(about: Mapping[str, Any], details: Sequence[Section] = ()) -> str:
    """The report as Markdown, with sections that a terminal has no room for."""
    found = [*sections(about, markdown_table), *details]
    body = "\n\n".join(f"## {s.title}\n\n{s.body}" if s.title else s.body for s in found)
    return f"# {title(about)}\n\n{body}\n\n## Configuration\n\n```\n{configuration(about)}\n```\n"


def title(about: Mapping[str, Any]) -> str:
    return f"Entire-space CVR: {len(about['methods'])} methods"


def configuration(about: Mapping[str, Any]) -> str:
    """The effective configuration, a value a line, as `--set` takes it."""
    return "\n".join(f"{name} = {value}" for name, value in flat(about["config"]).items())


class Section(NamedTuple):
    key: str  # what it shows, for who puts a picture beside it
    title: str
    body: str


def sections(about: Mapping[str, Any], table: Table) -> list[Section]:
    lines = about["methods"]
    sections = [
        Section("preface", "", _preface(about)),
        Section("table2", "AUC %, mean ± standard deviation over seeds", _table2(about, table)),
    ]
    for other in ("BASE", "ESMM"):
        if any(other in line["against"] for line in lines):
            sections.append(
                Section(
                    f"against {other}",
                    f"Difference to {other}, AUC points, paired over seeds (p of a t-test; Holm: over all methods)",
                    _against(lines, other, table),
                )
            )
            sections.append(
                Section(
                    f"users {other}",
                    f"Difference to {other} over users, AUC points (95 % interval, p)",
                    _over_users(lines, other, table),
                )
            )
    if about["sampling_curve"]:
        sections += [
            Section(
                f"curve {task}",
                f"{task.upper()} task: AUC % by share of the training impressions (Fig. 3)",
                _curve(about["sampling_curve"], task, table),
            )
            for task in ("cvr", "ctcvr")
        ]
    sections.append(Section("beyond", "Beyond ranking, mean over seeds: CTR / CVR / CTCVR", _beyond(lines, table)))
    sections += [
        Section(
            f"calibration {task}",
            f"Calibration, {task.upper()} task, mean over seeds",
            _calibration(lines, task, table),
        )
        for task in ("cvr", "ctcvr")
    ]
    if any(line["truth"] for line in lines):
        sections.append(
            Section(
                "truth",
                "pCVR against the true pCVR, mean over seeds: clicked / un-clicked / all impressions",
                _truth(lines, table),
            )
        )
    searched = [line for line in lines if line["candidates"]]
    if searched:
        found = _searched(searched, table)
        sections.append(Section("searched", f"Searched, by mean CTCVR AUC on the {_selection(about)} part", found))
    undefined = sorted(
        {m["undefined"] for line in lines for t in line["tasks"].values() for m in t.values() if "undefined" in m}
    )
    if undefined:
        sections.append(Section("undefined", "Undefined", "\n".join(f"- {reason}" for reason in undefined)))
    return sections


def _preface(about: Mapping[str, Any]) -> str:
    parts = "; ".join(
        f"{part}: {c['impressions']:,} impressions, {c['clicks']:,} clicks, {c['conversions']:,} conversions"
        for part, c in ((p, about["dataset"][p]) for p in ("train", "validation", "test"))
    )
    how = (
        "Rates of AMAN and OVERSAMPLING are the best on the TEST part, as in the paper: they are optimistic."
        if about["select"] == "paper"
        else "The test part chose nothing: epochs and rates were chosen on the validation part."
    )
    seeds = ", ".join(map(str, about["seeds"]))
    return f"{about['dataset']['path']}: {parts}.\nSeeds: {seeds}. {how}"


def _table2(about: Mapping[str, Any], table: Table) -> str:
    rows = []
    for line in about["methods"]:
        paper = about["paper"].get(line["name"].partition("(")[0], {"cvr": "", "ctcvr": ""})
        own = line["tasks"].get("ctcvr_own")
        rows.append(
            [
                line["label"],
                _spread(line["tasks"].get("cvr")),
                _spread(line["tasks"].get("ctcvr")),
                _spread(own) if own else "-",
                paper["cvr"],
                paper["ctcvr"],
            ]
        )
    return table(["method", "CVR task", "CTCVR task", "CTCVR, own pCTR", "paper: CVR", "paper: CTCVR"], rows)


def _spread(task: Mapping[str, Any] | None, metric: str = "auc") -> str:
    m = (task or {}).get(metric, {"undefined": ""})
    if "undefined" in m:
        return "undefined"
    return f"{100 * m['mean']:.2f}" + (f"±{100 * m['std']:.2f}" if m["std"] is not None else "")


def _against(lines: Sequence[Mapping[str, Any]], other: str, table: Table) -> str:
    rows = [
        [line["label"], *(_difference(line["against"][other][task]) for task in ("cvr", "ctcvr"))]
        for line in lines
        if other in line["against"]
    ]
    return table(["method", "CVR task", "CTCVR task"], rows)


def _over_users(lines: Sequence[Mapping[str, Any]], other: str, table: Table) -> str:
    def shown(found: Mapping[str, Any]) -> str:
        if "undefined" in found:
            return "undefined"
        mean, low, high = (100 * found[key] for key in ("difference", "low", "high"))
        p = found["p_value"]
        return f"{mean:+.2f} ({low:+.2f} to {high:+.2f}, " + (f"p {p:.3f})" if isinstance(p, float) else "p undefined)")

    rows = [
        [line["label"], *(shown(line["against"][other][task]["users"]) for task in ("cvr", "ctcvr"))]
        for line in lines
        if other in line["against"]
    ]
    return table(["method", "CVR task", "CTCVR task"], rows)


def _difference(found: Mapping[str, Any]) -> str:
    if "undefined" in found:
        return "undefined"
    p = found["p_value"]
    how = f"p {p:.3f}, Holm {found['p_holm']:.3f}" if isinstance(p, float) else "p undefined"
    return f"{100 * found['difference']:+.2f} ({how})"


def _curve(curve: Sequence[Mapping[str, Any]], task: str, table: Table) -> str:
    shares = [f"{100 * point['share']:g} %" for point in curve]
    rows = [[label, *(_spread({"auc": point["auc"][label][task]}) for point in curve)] for label in curve[0]["auc"]]
    return table(["method", *shares], rows)


def _beyond(lines: Sequence[Mapping[str, Any]], table: Table) -> str:
    """CTR / CVR / CTCVR; where a method has no CTR of its own, the reference network's."""

    def three(line: Mapping[str, Any], metric: str, form: str, scale: float = 1) -> str:
        tasks = line["tasks"]
        found = (tasks.get("ctr") or tasks.get("ctr_reference", {}), tasks.get("cvr", {}), tasks.get("ctcvr", {}))
        return " / ".join(_mean(task.get(metric), form, scale) for task in found)

    rows = [
        [
            line["label"],
            three(line, "log_loss", ".4f"),
            three(line, "pcoc", ".3f"),
            three(line, "grouped_auc", ".2f", 100),
        ]
        for line in lines
    ]
    return table(["method", "log loss", "predicted/observed", "AUC in users %"], rows)


def _calibration(lines: Sequence[Mapping[str, Any]], task: str, table: Table) -> str:
    rows = []
    for line in lines:
        m = line["tasks"].get(task, {})
        interval = f"{_mean(m.get('pcoc_low'), '.3f')}–{_mean(m.get('pcoc_high'), '.3f')}"
        few = (("log_loss", ".5f"), ("normalised_entropy", ".4f"), ("brier", ".6f"), ("ece", ".6f"), ("pcoc", ".3f"))
        rows.append([line["label"], *(_mean(m.get(metric), form) for metric, form in few), interval])
    return table(
        ["method", "log loss", "normalised entropy", "Brier", "ECE", "predicted/observed", "95 % interval"], rows
    )


def _mean(metric: Mapping[str, Any] | None, form: str, scale: float = 1) -> str:
    return format(scale * metric["mean"], form) if metric and "mean" in metric else "undefined"


def _truth(lines: Sequence[Mapping[str, Any]], table: Table) -> str:
    def three(line: Mapping[str, Any], metric: str, form: str) -> str:
        return " / ".join(_mean(line["truth"][where][metric], form) for where in ("clicked", "un-clicked", "all"))

    rows = [
        [
            line["label"],
            three(line, "rank_correlation", ".3f"),
            three(line, "log_loss", ".5f"),
            three(line, "mean", ".4f"),
        ]
        for line in lines
        if line["truth"]
    ]
    known = next(line for line in lines if line["truth"])
    rows.append(
        ["the truth itself", "1 / 1 / 1", three(known, "log_loss_of_truth", ".5f"), three(known, "true_mean", ".4f")]
    )
    return table(["method", "rank correlation", "log loss", "mean pCVR"], rows)


def _searched(lines: Sequence[Mapping[str, Any]], table: Table) -> str:
    rows = [
        [
            c["label"] + (" (chosen)" if c["label"] == line["label"] else ""),
            *(_spread({"auc": c["selection_auc"][task]}) for task in ("cvr", "ctcvr")),
        ]
        for line in lines
        for c in line["candidates"]
    ]
    return table(["candidate", "CVR task", "CTCVR task"], rows)


def _selection(about: Mapping[str, Any]) -> str:
    return "test" if about["select"] == "paper" else "validation"
