"""The paper's experiment (Table 2): methods x seeds, both tasks, means and standard deviations; it can be resumed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeGuard

from loky import cpu_count

from .._version import __version__
from ..config import Config
from ..dataset.dataset import Dataset
from ..dataset.describe import describe, few_conversions
from ..dataset.describe import text as description_text
from ..errors import ConfigError, RunError
from ..features.chosen import ChosenFields
from ..methods import CTR, RATES, Family, Method
from ..metrics.evaluation import Truths
from ..metrics.segments import Segments, by_field
from ..places import Rule
from ..presets import preset
from ..progress import SILENT, Progress
from ..records import whole
from ..reports.comparison import (
    HEADLINES,
    REFERENCE_CTR,
    Comparison,
    CurvePoint,
    DatasetCounts,
    Diagnosis,
    PartCounts,
    Select,
    Spread,
)
from ..reports.diagnosis import details
from ..reports.page import page
from ..reports.report import markdown
from ..rivals import BLEND
from ..rivals.typed import Entry, Row, leaves
from ..training.needs import check_training, memory, warnings_of
from ..training.precision import configurations, resolved, slow_precision
from .diagnosis import diagnose, edges, true_histogram
from .keys import Keys
from .runs import Found, Runs, evaluate_all
from .table2 import auc, table2

PAPER_TABLE_2: dict[str, tuple[str, str]] = {
    "BASE": ("66.00±0.37", "62.07±0.45"),
    "AMAN": ("65.21±0.59", "63.53±0.57"),
    "OVERSAMPLING": ("67.18±0.32", "63.05±0.48"),
    "UNBIAS": ("66.65±0.28", "63.56±0.70"),
    "DIVISION": ("67.56±0.48", "63.62±0.09"),
    "ESMM-NS": ("68.25±0.44", "64.44±0.62"),
    "ESMM": ("68.56±0.37", "65.32±0.49"),
}
"""AUC % on the paper's Public Dataset, (CVR task, CTCVR task); reports show it for comparison."""

FOLDER = Rule("a report's folder must be new, empty or hold a report", RunError)
REPORT = "report.json"


def compare(
    methods: Iterable[Family | Row | Entry],
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
    """Train every method from every seed and compare them on the test part.

    Args:
        methods: `PAPER`, or methods and families of methods, also your own; `LightGBM()`, and `BLEND(a, b)` of any two
            of them. If the dataset has a history, `RATES` is compared too: it is the line to beat.
        seeds: how many seeds (0, 1, ...), or which ones.
        config: absent: the preset `paper`.
        select: the part on which the best method of a family (AMAN's rates, OVERSAMPLING's copies) is chosen, by its
            mean CTCVR AUC over all seeds: "validation" is the validation part, "paper" the test part, as in the paper.
        out: the folder for report.html, report.md, report.json and the runs. Absent: no report is written, and the
            runs are deleted.
        jobs: how many runs are trained at the same time, each in its own process with an equal share of the cores. Two
            runs at a time on one core each are faster than one after the other on two cores. Absent: one per core, if
            they fit into half of the memory; but a small log is trained in this process, because to start others would
            take longer.
        sampling_rates: shares of the training impressions, in (0, 1], for the paper's Fig. 3. The best method of each
            family and the reference CTR network are also trained on each share.
        by: fields; the calibration of each method is also measured by their values.

    Raises: ConfigError for two families of the same name, no seeds, a seed given twice, a share outside (0, 1] or an
    unknown field. RunError as `fit`, and if the folder holds other files and no report, or
    another process compares in it.
    """
    if out is not None:
        FOLDER.begun(Path(out), _is_marked, _is_own, [data.path])
    config = resolved(config or preset("paper"), configurations(() if out is None else Path(out).glob("runs/*")))
    rows = [Row.of(method) for method in methods]
    if data.layout.rates and not any(_is_baseline(entry) for row in rows for entry in row.candidates):
        rows.append(Row.of(RATES()))
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise ConfigError("the methods must have different names", f"{', '.join(names)}")
    for share in sampling_rates:
        if not 0 < share <= 1:
            raise ConfigError("a sampling rate must be above 0 and at most 1", f"{share:g}")
    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError("there must be at least one seed, and no seed twice", str(seeds))
    if out is not None and Path(out).is_file():
        raise RunError("a report's folder must be a folder", "it is a file", where=str(out), do="Name another folder")
    segments = [by_field(data.test, name) for name in by]
    if out is None:
        with TemporaryDirectory(prefix="entirespace-compare-") as folder:
            return _compare(rows, data, seeds, config, select, Path(folder), jobs, sampling_rates, segments, progress)
    with FOLDER.alone(Path(out)):
        found = _compare(rows, data, seeds, config, select, Path(out), jobs, sampling_rates, segments, progress)
        _write(found, Path(out))
    return found


def _compare(
    rows: list[Row],
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
    entries = [entry for row in rows for entry in row.candidates]
    trained = dict.fromkeys(leaf for entry in (CTR(), *entries) for leaf in leaves(entry))
    rivals = [leaf for leaf in trained if not isinstance(leaf, Method)]
    for method in trained:
        if isinstance(method, Method):
            check_training(method, data.train, config)
    for rival in rivals:
        rival.check(data, config)
    _check_blends(entries, data)
    warnings = [*warnings_of(data, config), *(warning for rival in rivals for warning in rival.warnings(data, config))]
    few = few_conversions(data.test.counts["conversion"])
    for warning in filter(None, (*warnings, few, slow_precision(config))):  # the report has the first ones and `few`
        progress.warn(warning)
    processes, jobs = (
        jobs is not None,
        jobs or _jobs(data, config, max((rival.bytes(data, config) for rival in rivals), default=0)),
    )
    keys = Keys.of(data, config, [leaf for leaf in trained if isinstance(leaf, Method)])
    runs, truths = Runs(data, config, out / "runs", keys), Truths.of(data.test)
    found = evaluate_all(runs, entries, seeds, jobs, progress, processes=processes)
    lines = table2(rows, found, seeds, select, truths, runs.scores)
    for entry, line in lines.items():
        if isinstance(entry, BLEND):
            by_seed = [runs.weights(entry, seed) for seed in seeds]
            weights = {head: Spread.of(one[head] for one in by_seed) for head in by_seed[0]}
            lines[entry] = line.model_copy(update={"weights": weights})
    for warning in _of_trainings(runs, [CTR(), *lines], seeds, known=warnings):
        progress.warn(warning)
        warnings.append(warning)
    curve: list[CurvePoint] = []
    for share in sorted(set(sampling_rates)):
        progress.say(f"sampling curve: {100 * share:g} % of the training impressions")
        some = config.model_copy(update={"training": config.training.model_copy(update={"share": share})})
        runs_on_some = Runs(data, some, out / "runs", keys.with_config(some))
        on_some = evaluate_all(runs_on_some, list(lines), seeds, jobs, progress, processes=processes)
        curve.append(_curve_point(share, len(data.train.sampled(share)), on_some))
    about = describe(data)
    beside: dict[str, Any] = {}
    if calibrated := _calibrated(lines, found):
        beside["calibrated"] = calibrated
    if baselines := {m.label: runs.coefficients(m, seeds[0]) for m in lines if _is_baseline(m)}:
        beside["coefficients"] = baselines
    return Comparison(
        entirespace=__version__,
        dataset=_counts(data, about),
        description=description_text(about),
        seeds=seeds,
        select=select,
        config=config.model_dump(mode="json"),
        methods=list(lines.values()),
        sampling_curve=curve,
        diagnosis=Diagnosis(
            seed=seeds[0],
            edges=edges().tolist(),
            truth=true_histogram(truths),
            methods={m.label: diagnose(truths, runs.scores(m, seeds[0]), segments) for m in lines},
        ),
        learning={m.label: {str(s): runs.learning(m, s) for s in seeds} for m in lines if isinstance(m, Method)},
        paper={name: dict(zip(HEADLINES, values, strict=True)) for name, values in PAPER_TABLE_2.items()},
        warnings=warnings,
        **beside,
    )


def _calibrated(lines: Iterable[Entry], found: Found) -> dict[str, dict[str, dict[str, int]]]:
    """`Comparison.calibrated`; empty without training.calibrate."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for first, entry in enumerate(lines):
        for by_part in found[entry].values():
            for name, choice in by_part["test"].calibration.get("choices", {}).items():
                who, what = (REFERENCE_CTR, "pctr") if name == "pctr_reference" else (entry.label, name)
                if who != REFERENCE_CTR or not first:  # all entries have the same one for it
                    counts.setdefault(who, {}).setdefault(what, Counter())[choice["chosen"]] += 1
    return {who: {what: dict(kinds) for what, kinds in of.items()} for who, of in counts.items()}


def _is_baseline(entry: Entry) -> TypeGuard[Method]:
    """Whether it is a method that is the logistic baseline alone."""
    return isinstance(entry, Method) and entry.baseline is not None


def _check_blends(entries: Sequence[Entry], data: Dataset) -> None:
    """Raises: ConfigError if there is a blend, but no validation part to fit its weights on."""
    for entry in entries:
        if isinstance(entry, BLEND) and not len(data.validation):
            must = f"the weights of {entry.label} must be fitted on the validation part"
            do = "Prepare the dataset with a [split] validation"
            raise ConfigError(must, "it is empty", where=str(data.path), do=do)


def _write(comparison: Comparison, out: Path) -> None:
    comparison.write(out / REPORT)
    (out / "report.md").write_text(markdown(comparison, details(comparison)), encoding="utf-8")
    (out / "report.html").write_text(page(comparison), encoding="utf-8")


def _is_marked(folder: Path) -> bool:
    return whole(folder / REPORT, "entirespace-report") is not None


def _is_own(name: str) -> bool:
    """Whether a file may be in the folder before report.json: those of runs."""
    return name in (f"{REPORT}.partial", "runs/") or re.match(r"runs/[^/]+-seed\d+-[0-9a-f]{12}/", name) is not None


def _of_trainings(runs: Runs, methods: Sequence[Entry], seeds: Sequence[int], known: Sequence[str]) -> Iterator[str]:
    """The warnings of the runs of these methods, those of one method in one sentence."""
    for method in methods:
        found = {seed: [w for w in runs.warnings(method, seed) if w not in known] for seed in seeds}
        found = {seed: own for seed, own in found.items() if own}
        if found:
            first, *others = found
            and_others = f" (and those of {len(others)} other seeds)" if others else ""
            yield f"{method.label}, the run of seed {first}{and_others}: {' '.join(found[first])}"


def _jobs(data: Dataset, config: Config, rival: int = 0) -> int:
    """One job per core that this process may use, or fewer if they would need more than half of the memory.

    Args:
        rival: how many bytes a rival needs.
    """
    chosen = ChosenFields.of(data.layout.fields, config.network)
    table = 4 * chosen.rows * config.network.embedding_size  # bytes
    # bytes of one job: two tables with Adam's two moments and a saved copy each, rows held for shuffling, libraries
    one = 2 * 4 * table + 8 * config.training.shuffle_rows * len(data.fields) + (1 << 29)
    return max(1, min(cpu_count(), memory() // 2 // max(one, rival)))


def _curve_point(share: float, impressions: int, found: Found) -> CurvePoint:
    means = {
        method.label: {t: Spread.of(auc(parts["test"], t) for parts in by_seed.values()) for t in HEADLINES}
        for method, by_seed in found.items()
    }
    return CurvePoint(share=share, impressions=impressions, auc=means)


def _counts(data: Dataset, about: dict[str, Any]) -> DatasetCounts:
    train, validation, test = (
        PartCounts(impressions=len(part), clicks=part.counts["click"], conversions=part.counts["conversion"])
        for part in (data.train, data.validation, data.test)
    )
    return DatasetCounts(
        path=str(data.path),
        digest=data.digest,
        train=train,
        validation=validation,
        test=test,
        unseen={f["field"]: f["unseen_in_test"] for f in about["fields"] if "unseen_in_test" in f},
    )
