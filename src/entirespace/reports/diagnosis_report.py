"""The diagnosis of `compare` as sections of its report: every number of the pictures as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics.segments import DECILE, sentences
from .report import Section, Table

NAMES = {"ctr": "CTR", "cvr": "CVR on clicked impressions", "ctcvr": "CTCVR on all impressions"}
PLACES = ("clicked", "un-clicked", "all")


def details(about: Mapping[str, Any], table: Table) -> list[Section]:
    """Reliability, calibration by decile of pCTR and by the fields named, and how pCVR spreads, of one seed's runs."""
    found, seed = about["diagnosis"]["methods"], about["diagnosis"]["seed"]
    sections = [
        Section(
            f"reliability {task}",
            f"Reliability of {name}, seed {seed}: predicted % → observed % (95 % interval)",
            _reliability(found, task, table),
        )
        for task, name in NAMES.items()
    ]
    sections += [
        Section(
            f"deciles {task}",
            f"{NAMES[task]} by decile of pCTR, seed {seed}: predicted/observed (95 % interval)",
            _by_decile(found, table, lambda line, task=task: _pcoc(line["tasks"][task])),
        )
        for task in ("cvr", "ctcvr")
    ]
    if about["diagnosis"]["truth"]:
        sections += [
            Section(
                f"truth {place}",
                f"pCVR over the true pCVR by decile of pCTR, {place} impressions, seed {seed}",
                _by_decile(found, table, lambda line, place=place: _number(line["truth"][place]["pcoc"], ".3f")),
            )
            for place in PLACES
        ]
    for by in next(iter(found.values()))["segments"]:
        told = {label: sentences(by, m["segments"][by]) for label, m in found.items()}
        rows = [[label, sentence] for label, all_ in told.items() for sentence in all_ or ["none by more than chance"]]
        title = f"Miscalibrated by {by}, seed {seed} (exact Poisson tests, Holm's correction for each method)"
        sections.append(Section(f"segments {by}", title, table(["method", "segment"], rows)))
    sections.append(
        Section("histogram", f"pCVR on clicked / un-clicked impressions, % of each, seed {seed}", _spread(about, table))
    )
    return sections


def _reliability(found: Mapping[str, Any], task: str, table: Table) -> str:
    """The pCTR is the reference network's, one for all methods."""
    labels = list(found)[:1] if task == "ctr" else list(found)
    curves = [found[label]["reliability"][task] for label in labels]
    rows = [
        [str(i + 1), *(_point(curve[i]) if i < len(curve) else "-" for curve in curves)]
        for i in range(max(map(len, curves)))
    ]
    return table(["bin", *(["reference CTR network"] if task == "ctr" else labels)], rows)


def _point(bin_: Mapping[str, float]) -> str:
    predicted, observed, low, high = (f"{100 * bin_[key]:.3g}" for key in ("predicted", "observed", "low", "high"))
    return f"{predicted} → {observed} ({low}–{high})"


def _by_decile(found: Mapping[str, Any], table: Table, cell: Any) -> str:
    lines = [m["segments"][DECILE] for m in found.values()]
    rows = [[line[0]["name"], *map(cell, line)] for line in zip(*lines, strict=True)]
    return table([DECILE, *found], rows)


def _pcoc(m: Mapping[str, Any]) -> str:
    return f"{_number(m['pcoc'], '.2f')} ({_number(m['pcoc_low'], '.2f')}–{_number(m['pcoc_high'], '.2f')})"


def _number(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "-"


def _spread(about: Mapping[str, Any], table: Table) -> str:
    edges, all_ = about["diagnosis"]["edges"], histograms(about)
    held = [i for i in range(len(edges) - 1) if any(counts[i] for h in all_.values() for counts in h.values())]
    rows = [
        [
            f"{edges[i]:.2g}–{edges[i + 1]:.2g}",
            *(" / ".join(_share(h[w], i) for w in PLACES[:2]) for h in all_.values()),
        ]
        for i in held
    ]
    return table(["pCVR", *all_], rows)


def histograms(about: Mapping[str, Any]) -> dict[str, Mapping[str, Sequence[int]]]:
    """Of each method, and of the truth where it is known: clicked and un-clicked -> counts by bin."""
    found = {label: m["histogram"] for label, m in about["diagnosis"]["methods"].items()}
    return found | ({"the truth": about["diagnosis"]["truth"]} if about["diagnosis"]["truth"] else {})


def _share(counts: Sequence[int], i: int) -> str:
    return f"{100 * counts[i] / max(1, sum(counts)):.1f}"
