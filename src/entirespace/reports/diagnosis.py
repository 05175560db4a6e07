"""The diagnosis of `compare` as sections of its report: every number of the pictures as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..metrics.segments import DECILE, SegmentLine, SegmentTask
from ..metrics.values import shown
from .comparison import Bin, Comparison, Diagnosis, MethodDiagnosis
from .evaluation import sentences
from .report import PLACES
from .sections import Section, Table

NAMES = {"ctr": "CTR", "cvr": "CVR on clicked impressions", "ctcvr": "CTCVR on all impressions"}


def details(comparison: Comparison) -> list[Section]:
    """Reliability, calibration by decile of pCTR and by the fields named, and how pCVR spreads, of one seed's runs."""
    diagnosis = comparison.diagnosis
    found, seed = diagnosis.methods, diagnosis.seed
    sections = [
        Section(
            f"reliability {task}",
            f"Reliability of {name}, seed {seed}: predicted % → observed % (95 % interval)",
            _reliability(found, task),
        )
        for task, name in NAMES.items()
    ]
    sections += [
        Section(
            f"deciles {task}",
            f"{NAMES[task]} by decile of pCTR, seed {seed}: predicted/observed (95 % interval)",
            _by_decile(found, lambda line, task=task: _pcoc(line.tasks[task])),
        )
        for task in ("cvr", "ctcvr")
    ]
    if diagnosis.truth:
        sections += [
            Section(
                f"truth {place}",
                f"pCVR over the true pCVR by decile of pCTR, {place} impressions, seed {seed}",
                _by_decile(found, lambda line, place=place: shown(line.truth[place].pcoc, ".3f", absent="-")),
            )
            for place in PLACES
        ]
    for by in next(iter(found.values())).segments:
        said = {label: sentences(by, m.segments[by]) for label, m in found.items()}
        rows = [[label, sentence] for label, all_ in said.items() for sentence in all_ or ["none by more than chance"]]
        title = f"Miscalibrated by {by}, seed {seed} (exact Poisson tests, Holm's correction for each method)"
        sections.append(Section(f"segments {by}", title, Table(["method", "segment"], rows)))
    title = f"pCVR on clicked / un-clicked impressions, % of each, seed {seed}"
    sections.append(Section("histogram", title, _spread(diagnosis)))
    return sections


def _reliability(found: dict[str, MethodDiagnosis], task: str) -> Table:
    """The pCTR is the reference network's, one for all methods."""
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
