"""The diagnosis of `compare` as sections of its report, which show every number of the pictures as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..metrics.segments import DECILE, SegmentLine, SegmentTask
from ..metrics.values import shown
from .comparison import Bin, Check, Comparison, Diagnosis, MethodDiagnosis
from .evaluation import sentences
from .report import PLACES
from .sections import Beside, Section, Table

NAMES = {"ctr": "CTR", "cvr": "CVR on clicked impressions", "ctcvr": "CTCVR on all impressions"}


def details(comparison: Comparison) -> list[Section]:
    """Sections on one seed's runs: reliability, calibration by decile of pCTR and by field, distribution of pCVR.

    The last one is on the runs of all seeds: their losses during training.
    """
    diagnosis = comparison.diagnosis
    found, seed = diagnosis.methods, f"seed {diagnosis.seed}"
    ratio = f"predicted/observed (95 % interval), {seed}"
    reliability = [Section(f"reliability {task}", name, _reliability(found, task)) for task, name in NAMES.items()]
    deciles = [
        Section(f"deciles {task}", NAMES[task], _by_decile(found, lambda line, task=task: _pcoc(line.tasks[task])))
        for task in ("cvr", "ctcvr")
    ]
    how = f"predicted % → observed % (95 % interval), {seed}"
    sections = [
        Section("reliability", "Reliability", Beside(reliability), how),
        Section("deciles", "Calibration by decile of pCTR", Beside(deciles), ratio),
    ]
    if diagnosis.truth:
        beside = [
            Section(
                f"truth-deciles {place}",
                f"{place} impressions".capitalize(),
                _by_decile(found, lambda line, place=place: shown(line.truth[place].pcoc, ".3f", absent="-")),
            )
            for place in PLACES
        ]
        sections.append(Section("truth-deciles", "pCVR / true pCVR by decile of pCTR", Beside(beside), seed))
    for by in next(iter(found.values())).segments:
        by_method = {label: sentences(by, m.segments[by]) for label, m in found.items()}
        rows = [[label, line] for label, lines in by_method.items() for line in lines or ["no significant difference"]]
        how = f"exact Poisson tests, Holm's correction for each method, {seed}"
        sections.append(
            Section(f"segments {by}", f"Miscalibrated by {by}", Table(["method", "segment"], rows, words=2), how)
        )
    how = f"% of the clicked / % of the un-clicked impressions, {seed}"
    sections.append(Section("histogram", "Distribution of pCVR", _spread(diagnosis), how))
    watched = {c.watch for seeds in comparison.learning.values() for checks in seeds.values() for c in checks}
    if any(_validated(checks) for seeds in comparison.learning.values() for checks in seeds.values()):
        of = "".join(f"{watch.upper()} " for watch in sorted(watched - {"own"}))
        how = f"{of}validation loss in nats: first → lowest (which validation / how many)"
        sections.append(Section("learning", "Learning curves", _learning(comparison), how))
    return sections


def _validated(checks: Sequence[Check]) -> list[float]:
    return [check.validation_loss for check in checks if check.validation_loss is not None]


def _learning(comparison: Comparison) -> Table:
    def cell(checks: Sequence[Check]) -> str:
        losses = _validated(checks)
        if not losses:
            return "-"
        least = min(losses)
        return f"{losses[0]:.5g} → {least:.5g} ({losses.index(least) + 1} / {len(losses)})"

    rows = [
        [label, *(cell(seeds.get(str(seed), [])) for seed in comparison.seeds)]
        for label, seeds in comparison.learning.items()
    ]
    return Table(["method", *(f"seed {seed}" for seed in comparison.seeds)], rows)


def _reliability(found: dict[str, MethodDiagnosis], task: str) -> Table:
    """A table of reliability. For CTR it has one column: all methods use the pCTR of the reference CTR network."""
    labels = list(found)[:1] if task == "ctr" else list(found)
    curves = [found[label].reliability[task] for label in labels]
    rows = [
        [str(i + 1), *(_point(curve[i]) if i < len(curve) else "-" for curve in curves)]
        for i in range(max(map(len, curves)))
    ]
    return Table(["bin", *(["reference CTR network"] if task == "ctr" else labels)], rows)


def _point(bin_: Bin) -> str:
    ends = (bin_.predicted, bin_.observed, bin_.low, bin_.high)
    predicted, observed, low, high = (f"{100 * value:.3g}" for value in ends)
    return f"{predicted} → {observed} ({low}–{high})"


def _by_decile(found: dict[str, MethodDiagnosis], cell: Callable[[SegmentLine], str]) -> Table:
    lines = [m.segments[DECILE] for m in found.values()]
    rows = [[line[0].name, *map(cell, line)] for line in zip(*lines, strict=True)]
    return Table([DECILE, *found], rows)


def _pcoc(m: SegmentTask) -> str:
    pcoc, low, high = (shown(value, ".2f", absent="-") for value in (m.pcoc, m.pcoc_low, m.pcoc_high))
    return f"{pcoc} ({low}–{high})"


def _spread(diagnosis: Diagnosis) -> Table:
    edges, all_ = diagnosis.edges, diagnosis.histograms()
    held = [i for i in range(len(edges) - 1) if any(counts[i] for h in all_.values() for counts in h.values())]
    rows = [
        [
            f"{edges[i]:.2g}–{edges[i + 1]:.2g}",
            *(" / ".join(_share(h[where], i) for where in PLACES[:2]) for h in all_.values()),
        ]
        for i in held
    ]
    return Table(["pCVR", *all_], rows)


def _share(counts: Sequence[int], i: int) -> str:
    return f"{100 * counts[i] / max(1, sum(counts)):.1f}"
