"""The outcomes of impressions: which stages were reached, when, and with which weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from ..core.labels import Labels
from ..core.rows import ValueFormat
from ..features.values import number, text, without_missing
from .clock import Times
from .files import Frame
from .hints import of_label, of_number, of_time
from .reading import Check
from .schema import STAGES, ImpressionsSchema, LabelSchema
from .schema.values import value_format

ONES, ZEROS = ("1", "true", "yes", "y", "t"), ("0", "false", "no", "n", "f")


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of n impressions as logged, and the labels made from them."""

    happened: Mapping[str, np.ndarray]  # stage -> bool (n,), each stage on its own, as the log has it
    labels: Labels  # a stage counts as reached only if every earlier one is


def read_outcomes(
    frame: Frame, schema: ImpressionsSchema, form: ValueFormat, clocked: Times
) -> tuple[Outcomes, list[Check]]:
    """The outcomes of the rows of a frame, and the rows of which they cannot be read."""
    rows, happened, times, checks = frame.rows, dict[str, np.ndarray](), dict[str, np.ndarray](), list[Check]()
    for stage, label in schema.labels.by_stage().items():
        happened[stage], unread, missing = read_label(rows[label.source], label, value_format(label, schema))
        if label.unclicked is None:
            unread |= missing
        else:
            unread |= missing & happened["click"]
        checks.append(Check("bad_label", unread, (label.source,), of_label(stage, label)))
    for stage in STAGES:  # a stage without a column: its outcomes are joined later
        happened.setdefault(stage, np.zeros(len(rows), bool))
    for stage, column in schema.times.items():
        times[stage], missing = clocked[column]
        checks.append(Check("bad_time", missing & happened[stage], (column,), of_time))
    weight = None
    if schema.weight is not None:
        weight, unread = number(rows[schema.weight], form)
        checks.append(Check("bad_weight", unread | ~((weight >= 0) & np.isfinite(weight)), (schema.weight,), of_number))
        weight = weight.astype(np.float32)
    return Outcomes(happened, Labels.of(happened, times, None, weight)), checks


def read_label(
    column: pl.Series, label: LabelSchema, form: ValueFormat = ValueFormat()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(label, rows where it cannot be read, rows where it is missing). Shape: (n,) -> bool (n,) each."""
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    column = without_missing(column, form)
    none = np.zeros(len(column), bool)
    if label.at_least is not None:
        numbers, unread = number(column, form)
        return numbers >= label.at_least, unread, np.isnan(numbers) & ~unread
    if label.values is None and label.present is None:
        if column.dtype == pl.Boolean and not column.null_count():
            return column.to_numpy(), none, none
        if column.dtype.is_integer() and not column.null_count():
            return (column == 1).to_numpy(), ((column != 0) & (column != 1)).to_numpy(), none
    values = text(column)
    missing = (values == "").to_numpy()
    if label.present:
        return ~missing, none, none
    ones, zeros = (label.values, label.others) if label.values is not None else (ONES, ZEROS)
    one, zero = values.is_in(ones), values.is_in(zeros)
    if label.values is None and not (one | zero).all():
        values = values.str.to_lowercase()
        one, zero = values.is_in(ones), values.is_in(zeros)
    known = (one | zero).to_numpy()
    return one.to_numpy(), ~known & ~missing, missing & ~known
