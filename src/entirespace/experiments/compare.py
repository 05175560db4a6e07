"""The paper's experiment (Table 2): methods x seeds, both tasks, means and deviations; goes on where it stopped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from .._version import __version__
from ..config import Config
from ..dataset.dataset import Dataset
from ..dataset.describe import describe
from ..dataset.describe import text as description_text
from ..errors import ConfigError
from ..methods import Family, Method
from ..metrics.delong import delong
from ..metrics.metrics import Undefined
from ..metrics.segments import Segments, by_field
from ..metrics.significance import Difference, Paired, holm, paired
from ..progress import SILENT, Progress
from ..records import save_json
from ..reports.diagnosis_report import details
from ..reports.page import page
from ..reports.report import markdown, text
from ..tables import markdown_table
from .diagnosis import diagnose, edges, true_histogram
from .protocol import Truths
from .runs import HEADLINES, Runs, evaluate_all

Select = Literal["validation", "paper"]
AGAINST = ("BASE", "ESMM")

PAPER_TABLE_2: dict[str, tuple[str, str]] = {
    "BASE": ("66.00±0.37", "62.07±0.45"),
    "AMAN": ("65.21±0.59", "63.53±0.57"),
    "OVERSAMPLING": ("67.18±0.32", "63.05±0.48"),
    "UNBIAS": ("66.65±0.28", "63.56±0.70"),
    "DIVISION": ("67.56±0.48", "63.62±0.09"),
    "ESMM-NS": ("68.25±0.44", "64.44±0.62"),
    "ESMM": ("68.56±0.37", "65.32±0.49"),
}
"""AUC % on the paper's Public Dataset, CVR task and CTCVR task: for orientation."""


@dataclass(frozen=True)
class Comparison:
    """What came out, as plain values (see docs/formats.md); `str()` is the table."""

    about: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return dict(self.about)

    def __str__(self) -> str:
        return text(self.about)


def compare(
    methods: Iterable[Family | Method],
    data: Dataset,
    *,
    seeds: int | Sequence[int] | range = 10,
    config: Config | None = None,
    select: Select = "validation",
    out: Path | str | None = None,
    jobs: int | None = None,
    sampling_rates: Sequence[float] = (),
    by: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Comparison:
    """Train every method from every seed and hold them against each other on the test part.

    Args:
        methods: `PAPER`, or families and methods of one's own.
        seeds: how many (0, 1, ...), or which.
        select: how the best of a family (AMAN's rates, OVERSAMPLING's copies) is chosen, one for all seeds, by its mean
            CTCVR AUC: "validation" looks at the validation part; "paper" at the test part, as the paper did.
        out: a folder for report.html, report.md, report.json and the runs. Absent: a temporary one.
        jobs: runs trained at a time, each in a process of its own on its share of the cores: two runs on one core
            each are quicker than one after the other on two. Absent: one a core, if half the memory holds them.
        sampling_rates: shares of the training impressions, in (0, 1], for the paper's Fig. 3: every method, the best
            of its family as chosen on all of them, and the reference CTR network, are trained on each share, too.
        by: fields whose values each method's calibration is looked at by.

    Raises: ConfigError for two families of one name, no seeds, or an unknown field. RunError as `fit`.
    """
    config = config or Config()
    families = [Family.of(method) for method in methods]
    names = [family.name for family in families]
    if len(set(names)) < len(names):
        raise ConfigError("the methods must have names of their own", f"{', '.join(names)}")
    for share in sampling_rates:
        if not 0 < share <= 1:
            raise ConfigError("a sampling rate must be above 0 and at most 1", f"{share:g}")
    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError("there must be at least one seed, and none twice", str(seeds))
    segments = [by_field(data.test, name) for name in by]
    if out is None:
        with TemporaryDirectory(prefix="entirespace-compare-") as folder:
            return _compare(
                families, data, seeds, config, select, Path(folder), jobs, sampling_rates, segments, progress
            )
    return _compare(families, data, seeds, config, select, Path(out), jobs, sampling_rates, segments, progress)


def _compare(
    families: list[Family],
    data: Dataset,
    seeds: list[int],
    config: Config,
    select: Select,
    out: Path,
    jobs: int | None,
    sampling_rates: Sequence[float],
    segments: Sequence[Segments],
    progress: Progress,
) -> Comparison:
    methods = [method for family in families for method in family.candidates]
    jobs = jobs or _jobs(data, config)
    runs = Runs(data, config, out / "runs")
    found = evaluate_all(runs, methods, seeds, jobs, progress)
    lines = [_line(family, found, seeds, select) for family in families]
    _hold_against(lines)
    chosen = {line["label"]: method for line in lines for method in methods if method.label == line["label"]}
    truths = Truths.of(data.test)
    _over_users(lines, chosen, truths, runs, seeds)
    diagnosis = {
        "seed": seeds[0],
        "edges": edges().tolist(),
        "truth": true_histogram(truths),
        "methods": {
            label: diagnose(truths, runs.scores(method, seeds[0]), segments) for label, method in chosen.items()
        },
    }
    curve = []
    for share in sorted(set(sampling_rates)):
        progress.say(f"sampling curve: {100 * share:g} % of the training impressions")
        some = config.model_copy(update={"training": config.training.model_copy(update={"share": share})})
        on_some = evaluate_all(Runs(data, some, out / "runs"), list(chosen.values()), seeds, jobs, progress)
        curve.append(
            {
                "share": share,
                "impressions": len(data.train.sampled(share)),
                "auc": {
                    label: {t: _mean_std(_auc(on_some[method][s]["test"], t) for s in seeds) for t in HEADLINES}
                    for label, method in chosen.items()
                },
            }
        )
    about = {
        "entirespace": __version__,
        "dataset": {"path": str(data.path), "digest": data.digest, **_table1(data)},
        "description": description_text(describe(data)),
        "seeds": seeds,
        "select": select,
        "config": config.model_dump(mode="json"),
        "methods": lines,
        "sampling_curve": curve,
        "diagnosis": diagnosis,
        "learning": {label: {str(s): runs.learning(method, s) for s in seeds} for label, method in chosen.items()},
        "paper": {name: dict(zip(HEADLINES, values, strict=True)) for name, values in PAPER_TABLE_2.items()},
    }
    save_json(out / "report.json", about)
    (out / "report.md").write_text(markdown(about, details(about, markdown_table)))
    (out / "report.html").write_text(page(about))
    return Comparison(about)


def _jobs(data: Dataset, config: Config) -> int:
    """As many jobs as cores, if half of the machine's memory holds them."""
    table = 4 * data.rows * config.network.embedding_size  # bytes
    # two tables with Adam's two moments each and a saved copy, the batches held for shuffling, the libraries
    one = 2 * 4 * table + 8 * config.training.shuffle_rows * len(data.fields) + (1 << 29)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, memory // 2 // one))


def _line(
    family: Family, found: Mapping[Method, Mapping[int, Any]], seeds: list[int], select: Select
) -> dict[str, Any]:
    """One line of Table 2: the family's best method, its metrics over the seeds, and what it was chosen from."""
    part = "test" if select == "paper" else "validation"
    candidates = []
    for method in family.candidates:
        candidates.append(
            {
                "label": method.label,
                "method": method.spec(),
                "selection_auc": {t: _mean_std(_auc(found[method][s].get(part), t) for s in seeds) for t in HEADLINES},
            }
        )
    best = max(range(len(candidates)), key=lambda i: _worth(candidates[i]["selection_auc"]))
    method = family.candidates[best]
    per_seed = [found[method][s]["test"] for s in seeds]
    return {
        "name": family.name,
        "label": method.label,
        "method": method.spec(),
        "candidates": candidates if len(candidates) > 1 else [],
        "tasks": _over_seeds([e["tasks"] for e in per_seed]),
        "truth": _over_seeds([e["truth"] for e in per_seed]),
        "auc": {t: [_auc(e, t) for e in per_seed] for t in HEADLINES},
    }


def _worth(selection: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """CTCVR first, for it covers the entire space; CVR where that does not decide."""
    cvr, ctcvr = (selection[t].get("mean", -1.0) for t in HEADLINES)
    return ctcvr, cvr


def _auc(evaluation: Mapping[str, Any] | None, task: str) -> Any:
    return evaluation["tasks"].get(task, {}).get("auc") if evaluation else None


def _over_seeds(evaluations: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and deviation of each metric of each task (or place) over the seeds."""
    return {
        task: {metric: _mean_std(e[task][metric] for e in evaluations) for metric in evaluations[0][task]}
        for task in evaluations[0]
    }


def _mean_std(values: Iterable[Any]) -> dict[str, Any]:
    """{"mean", "std", "n"} over seeds, the deviation with n - 1; {"undefined"} if any of them is."""
    held = list(values)
    for value in held:
        if value is None:
            return {"undefined": "not measured"}
        if isinstance(value, Mapping):
            return dict(value)
    numbers = np.array(held, np.float64)
    return {
        "mean": float(numbers.mean()),
        "std": float(numbers.std(ddof=1)) if len(numbers) > 1 else None,
        "n": len(numbers),
    }


def _hold_against(lines: list[dict[str, Any]]) -> None:
    """Add each method's difference to BASE and to ESMM, paired by seed; Holm's p value is over a table's methods."""
    by_name = {line["name"]: line for line in lines}
    for line in lines:
        line["against"] = {}
        for other in AGAINST:
            if other in by_name and other != line["name"]:
                line["against"][other] = {
                    task: _paired(line["auc"][task], by_name[other]["auc"][task]) for task in HEADLINES
                }

    for other in AGAINST:
        for task in HEADLINES:
            tests = [line["against"][other][task] for line in lines if other in line["against"]]
            adjusted = holm([p if isinstance(p := test.get("p_value"), float) else None for test in tests])
            for test, p in zip(tests, adjusted, strict=True):
                test["p_holm"] = p


def _over_users(
    lines: list[dict[str, Any]], chosen: Mapping[str, Method], truths: Truths, runs: Runs, seeds: list[int]
) -> None:
    """Add to each difference of the mean AUC over seeds its interval over users: would others have said the same?

    Over impressions where the dataset names no user.
    """
    place = {line["name"]: i for i, line in enumerate(lines)}
    for i, task in enumerate(HEADLINES):
        rows = truths.click if task == "cvr" else slice(None)
        scores = [runs.scores(chosen[line["label"]], s)[i][rows] for line in lines for s in seeds]
        found = delong(scores, truths.conversion[rows], None if truths.user is None else truths.user[rows])
        for line in lines:
            for other, tests in line["against"].items():
                if isinstance(found, Undefined):
                    tests[task]["users"] = found.as_dict()
                    continue
                weights = np.zeros((len(lines), len(seeds)))
                weights[place[line["name"]]] += 1 / len(seeds)
                weights[place[other]] -= 1 / len(seeds)
                apart = found.contrast(weights.ravel())
                tests[task]["users"] = apart.as_dict() if isinstance(apart, Undefined) else _values(apart)


def _paired(mine: list[Any], theirs: list[Any]) -> dict[str, Any]:
    if not all(isinstance(v, float) for v in (*mine, *theirs)):
        return {"undefined": "an AUC is undefined"}
    return _values(paired(mine, theirs))


def _values(found: Paired | Difference) -> dict[str, Any]:
    return {k: v.as_dict() if isinstance(v, Undefined) else v for k, v in vars(found).items()}


def _table1(data: Dataset) -> dict[str, Any]:
    return {
        part.name: {
            "impressions": len(part),
            "clicks": part.counts["click"],
            "conversions": part.counts["conversion"],
        }
        for part in (data.train, data.validation, data.test)
    }
