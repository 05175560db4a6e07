"""Columns that are known only after the outcome: they must be no fields. Found by what they hold beside the labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .column import Column
from .labels import Label, Labels

FEW, MANY = 0.01, 0.3  # of rows without the outcome, and of rows with it
SUSPECT = 0.95  # AUC of one column alone, as `train` warns of
POSITIVES = 20  # and negatives: fewer do not tell
PER_VALUE = 20  # rows for each different value, at least
BINS = 20


def consequence(column: Column, labels: Labels) -> str | None:
    """Why a column seems to be known only after the outcome; None: it does not seem so."""
    n = len(column.values)
    before = np.ones(n, bool)
    stages: Mapping[str, Label | None] = {"click": labels.click, "conversion": labels.conversion}
    for stage, label in stages.items():
        if label is None:
            continue
        y = label.ones
        with_, without = int(y.sum()), int((~y).sum())
        if min(with_, without) >= POSITIVES:
            for what, where in _given(column).items():
                share, other = where[y].mean(), where[~y].mean()
                if other <= FEW and share >= max(MANY, 10 * other):
                    return (
                        f"it {what} only where {label.name} is 1"
                        if label.content >= 4
                        else f"it {what} only with {label.name}"
                    )
        among = before if stage == "conversion" else np.ones(n, bool)
        auc = _auc(column, y, among)
        if auc is not None and auc > SUSPECT:
            return f"it alone predicts the {stage} with an AUC of {100 * auc:.1f} %"
        before = y
    return None


def _given(column: Column) -> dict[str, np.ndarray]:
    """What a value can be only after an outcome -> the rows where it is. Shape: bool (n,)."""
    given = {}
    if column.missing:
        given["is there"] = column.there
    if column.numbers is not None:
        there = column.there & (column.numbers != 0)
        if len(column.distinct) > 2 and not there.all():
            given["is not 0"] = there
    return given


def _auc(column: Column, y: np.ndarray, among: np.ndarray) -> float | None:
    """The AUC of the mean of y for each value of the column; None if the sample is too small to tell."""
    label = y[among]
    positives = int(label.sum())
    if min(positives, len(label) - positives) < POSITIVES:
        return None
    codes = column.codes
    if len(column.distinct) * PER_VALUE > len(label):
        if column.numbers is None:
            return None
        knots = (
            np.unique(np.nanquantile(column.numbers, np.linspace(0, 1, BINS + 1)[1:-1])) if column.there.any() else []
        )
        codes = np.where(column.there, np.searchsorted(knots, np.nan_to_num(column.numbers)), len(knots) + 1)
    size = int(codes.max()) + 1
    rows = np.bincount(codes[among], minlength=size)
    ones = np.bincount(codes[among], label, minlength=size)
    order = np.argsort(ones / np.maximum(rows, 1), kind="stable")
    zeros, ones = (rows - ones)[order], ones[order]
    above = (ones * (np.cumsum(zeros) - zeros / 2)).sum()  # pairs in which the positive has the higher rate
    return float(above / (positives * (len(label) - positives)))
