"""Describes a dataset: Table 1 of the paper for this data, the fields, and the audit."""

from __future__ import annotations

from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

from ..core.labels import Counts
from ..core.rows import PARTS, POSITIONS, RATE
from ..logs.audit import report
from ..tables import text_table
from .dataset import Dataset
from .rates_alone import rates_alone

FEW = 100  # conversions of the test part


def few_conversions(conversions: int) -> str | None:
    """The warning that a test part has few conversions, by their number; None if there are enough.

    >>> few_conversions(0)
    'The test part has no conversion: the CVR and CTCVR tasks cannot be measured on it.'
    """
    if not conversions:
        return "The test part has no conversion: the CVR and CTCVR tasks cannot be measured on it."
    if conversions < FEW:
        return (
            f"Few conversions: the test part has {conversions:,}, fewer than {FEW}. AUCs and calibration of the CVR "
            "and CTCVR tasks have large errors: trust their intervals, not their order."
        )
    return None


def describe(dataset: Dataset) -> dict[str, Any]:
    """Counts, rates, fields, history and the audit of a dataset, as plain values.

    `table1` has users, items, impressions, clicks and conversions of all parts together, as Table 1 of the paper.
    `fields` are those that are read from the log; the rates of the history are in `history`, key by key.
    """
    manifest, roles = dataset.manifest, dataset.manifest.roles
    everything = reduce(add, (part.counts for part in dataset.parts))
    history = rates_alone(dataset)
    first = next((name for name, part in manifest.parts.items() if part.impressions), "train")  # train, if it has any
    return {
        "path": str(dataset.path),
        "digest": dataset.digest,
        "layout": manifest.layout,
        "table1": {
            "users": manifest.users if roles.user else None,
            "items": manifest.items if roles.item else None,
            **_counts(everything, manifest.labelled),
        },
        "rates": _rates(everything, manifest.labelled),
        "parts": {
            name: {
                **_counts(part.counts, manifest.labelled),
                "users": part.users if roles.user else None,
                "items": part.items if roles.item else None,
                **_rates(part.counts, manifest.labelled),
            }
            for name, part in manifest.parts.items()
        },
        "fields": [
            {
                "field": f.name,
                "table": f.table,
                "kind": f.kind,
                "rows": f.size,
                "weighted": f.weighted,
                "ids_per_impression": f.ids[first] / max(1, manifest.parts[first].impressions),
                ("missing" if f.kind in POSITIONS else "unseen") + "_in_test": (
                    f.unseen["test"] / f.ids["test"] if f.ids["test"] else 0.0
                ),
            }
            for f in manifest.fields
            if f.kind != RATE
        ],
        "history": None if history is None else asdict(history),
        "labelled": manifest.labelled,
        "truth": manifest.truth,
        "audit": manifest.audit,
    }


def _counts(counts: Counts, labelled: bool) -> dict[str, int | None]:
    """Impressions, clicks and conversions; None for what is not known of a log without outcomes."""
    stages = {f"{stage}s": n if labelled else None for stage, n in counts.reached.items()}
    return {"impressions": counts.impressions, **stages}


def _rates(counts: Counts, labelled: bool) -> dict[str, float | None]:
    """CTR = clicks / impressions, CVR = conversions / clicks, CTCVR = conversions / impressions; None for x / 0."""
    impressions, clicks, conversions = counts.impressions, counts["click"], counts["conversion"]

    def rate(part: int, whole: int) -> float | None:
        return part / whole if whole and labelled else None

    return {
        "ctr": rate(clicks, impressions),
        "cvr": rate(conversions, clicks),
        "ctcvr": rate(conversions, impressions),
    }


def text(about: dict[str, Any]) -> str:
    """The result of `describe` as text."""
    order = ("users", "items", "impressions", "clicks", "conversions")
    rates = ("ctr", "cvr", "ctcvr")
    parts: dict[str, dict[str, Any]] = {"all": {**about["table1"], **about["rates"]}, **about["parts"]}
    table1 = text_table(
        ["part", *order, "CTR %", "CVR %", "CTCVR %"],
        [[part, *(_count(c[k]) for k in order), *(_percent(c[k]) for k in rates)] for part, c in parts.items()],
    )
    fields = text_table(
        ["field", "table", "kind", "rows", "ids per impression", "unseen in test %"],
        [
            [
                f["field"],
                f["table"],
                f["kind"] + (", weighted" if f["weighted"] else ""),
                f"{f['rows']:,}",
                f"{f['ids_per_impression']:.2f}",
                f"{100 * f['missing_in_test']:.2f}{' missing' if f['missing_in_test'] else ''}"
                if f["kind"] in POSITIONS
                else f"{100 * f['unseen_in_test']:.2f}",
            ]
            for f in about["fields"]
        ],
        left=3,
    )
    rows = sum(f["rows"] for f in about["fields"])
    history = [] if about["history"] is None else [_history_text(about["history"])]
    return "\n\n".join(
        [
            f"{about['path']} (digest {about['digest'][:12]})"
            + ("" if about["labelled"] else ", outcomes are not known")
            + (", the true probabilities of every impression are known" if about["truth"] else ""),
            table1,
            f"{len(about['fields'])} fields, {rows:,} rows of the embedding (one per field is for unseen ids)\n"
            + fields,
            *history,
            "Audit of the raw log\n" + report(about["audit"]),
        ]
    )


def _history_text(history: dict[str, Any]) -> str:
    """The rates of the history, one row per key."""
    keys = history["keys"]
    rates = list(keys[0]["auc"])
    table = text_table(
        ["key", "parents", "ids", *(f"none in {part} %" for part in PARTS), *(f"{rate} AUC %" for rate in rates)],
        [
            [
                k["key"],
                ", ".join(k["parents"]) or "-",
                f"{k['ids']:,}",
                *(_share(k["without_history"][part], 2) for part in PARTS),
                *(_share(k["auc"][rate], 1) for rate in rates),
            ]
            for k in keys
        ],
        left=2,
    )
    on = f"{history['impressions']:,} impressions of the {history['part']} part"
    return (
        f"History: {history['rates']:,} rates by {len(keys):,} keys, {history['rows']:,} rows of the embedding\n"
        "none: share of impressions of whose ids nothing is counted; AUC: of each rate alone, "
        + (f"on {on}\n" if history["impressions"] else "not known, because outcomes are not known\n")
        + table
    )


def _share(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3g}"
