"""The coefficients of the logistic baseline as tables: which rates it uses, the most important first."""

from __future__ import annotations

from collections.abc import Mapping

from ..runs.coefficients import Coefficients
from .sections import Beside, Section, Table

SHOWN = 20
"""Rates of a table, at most; coefficients.json and report.json have all of them."""
WHAT = {"ctr": "pCTR, from all impressions", "cvr": "pCVR, from the clicked ones"}
NOTE = "change of the log odds for one standard deviation of a rate's log odds, or for 0.3 if that is smaller"


def coefficients_section(found: Mapping[str, Coefficients], title: str) -> Section:
    """A table for pCTR and one for pCVR."""
    beside = [Section(f"coefficients {head}", WHAT[head], _table(one)) for head, one in found.items()]
    return Section("coefficients", title, Beside(beside), NOTE)


def _table(one: Coefficients) -> Table:
    rows = [[name, f"{weight:+.4f}"] for name, weight in list(one.weights.items())[:SHOWN]]
    if len(one.weights) > SHOWN:
        rows.append([f"and {len(one.weights) - SHOWN} more", ""])
    return Table(["rate", "weight"], [*rows, ["intercept", f"{one.intercept:+.4f}"]])
