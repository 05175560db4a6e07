"""What each column becomes: a field of x of some kind, or nothing, and why."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from . import words as known
from .column import Column
from .consequences import consequence
from .labels import Labels
from .missing import SURE
from .splits import Parts

FEW_LEVELS = 20  # whole numbers with so few different values are levels
FEW_QUANTITIES = 5  # unless they are called a quantity, and are more than this
LEAST_ROWS = 30  # rows that tell whether a column differs in each of them
MANY_IDS = 100  # ids for which rare ones share a row
AFTER = "it is known only after the outcome"


@dataclass(frozen=True)
class FieldGuess:
    """What a column becomes."""

    column: Column
    name: str  # of the field
    options: Mapping[str, object]  # of `FieldSchema`
    doubts: tuple[str, ...] = ()
    left_out: str | None = None  # why it is no field; None: it is one
    split: Mapping[str, object] = field(default_factory=dict[str, object])  # [split] by this column instead


@dataclass
class Names:
    """Names of fields, each used once in the whole log."""

    used: set[str] = field(default_factory=set)

    def take(self, name: str) -> str:
        """A valid name for the field of a column."""
        made = "".join("_" if c in "/\\" or not c.isprintable() else c for c in name)[:100].lstrip(".") or "field"
        if made.startswith(("link.", "fingerprint.", "time.", "segment.")) or made.endswith(".weights"):
            made = made.replace(".", "_")
        while made in self.used:
            made += "_"
        self.used.add(made)
        return made


def of_impressions(
    column: Column,
    labels: Labels,
    roles: Collection[str],
    parts: Parts | None,
    again: float | None,
    names: Names,
    whole: bool,
) -> FieldGuess:
    """The field of a column of the impressions that has no other use.

    Args:
        roles: the columns of the user and the item.
        parts: how it divides the log into parts; None: it does not.
        again: the share of its later values that occurred before; None: not known.
        whole: the sample has all rows.
    """
    guess = of_column(column, names, role=column.name in roles, whole=whole)
    if guess.left_out is not None or column.name in roles:
        return guess
    if column.name in labels.others:
        return _out(guess, f"{AFTER}: it seems to be another outcome")
    why = consequence(column, labels)
    if why is not None:
        doubt = () if "only" in why else (f"{why}; if it is known before the impression is shown, make it a field",)
        return _out(guess, f"{AFTER}: {why}", doubt)
    if column.time is not None and (column.time.dates or is_the_time(column)):
        part = f'. A part of it can be a field: {{ from = "{column.name}", part = "weekday" }}'
        return _out(guess, f"it is a time{part if column.time.dates else ''}")
    if parts is not None:
        return replace(_out(guess, parts.why, parts.doubts), split=parts.split)
    if (
        guess.options["kind"] == "id"
        and set(known.words(column.name)) & known.SESSION
        and again is not None
        and again < 0.05
    ):
        return _out(guess, "its ids do not come again later, so all would be unseen in the test part")
    return guess


def is_the_time(column: Column) -> bool:
    """Whether a column of times is, by its name, the time of the row, and not a time such as that of a birth."""
    return not set(known.words(column.name)) & known.NOT_THE_TIME


def _out(guess: FieldGuess, why: str, doubts: tuple[str, ...] = ()) -> FieldGuess:
    return FieldGuess(guess.column, guess.name, guess.options, doubts, why)


def of_column(column: Column, names: Names, *, role: bool = False, whole: bool = True) -> FieldGuess:
    """The field of a column, by what it holds alone.

    Args:
        role: it identifies a user or an item.
        whole: the sample has all rows.
    """
    options, doubts, out = _kind(column, role)
    if not role and out is None and column.different and len(column.values) >= LEAST_ROWS:
        quantity = set(known.words(column.name)) & known.QUANTITY
        counts_up = column.whole and not column.lists and not quantity and bool((np.diff(column.numbers) == 1).all())  # type: ignore[arg-type]
        if options["kind"] != "number" or counts_up:
            out, doubts = "it is different in each row, so nothing can be learned from it", ()
    if not len(column.distinct):
        out, doubts = "it has no value in the sample", ()
    if out is None and whole and len(column.distinct) == 1 and not column.missing:
        out, doubts = "it has the same value in each row", ()
    name = column.name if out is not None else names.take(column.name)
    if name != column.name:
        options = {"from": column.name, **options}
    return FieldGuess(column, name, options, doubts, out)


def _kind(column: Column, role: bool) -> tuple[dict[str, object], tuple[str, ...], str | None]:
    """(options, doubts, why it cannot be a field)."""
    mine = set(known.words(column.name))
    if column.lists:
        return {"kind": "ids", **({"separator": column.separator} if column.separator else {})}, column.doubts, None
    if column.numbers is None or role:
        return _id(column), column.doubts if column.numbers is None else (), None
    number: dict[str, object] = {"kind": "number"}
    if column.form.decimal != ".":
        number["decimal"] = column.form.decimal
    if column.form.thousands is not None:
        number["thousands"] = column.form.thousands
    doubts = column.doubts + _sentinel(column)
    if not column.whole:
        return (_id(column), doubts, None) if "categorical" in mine else (number, doubts, None)
    n = len(column.distinct)
    named_id = (
        bool(mine & known.ID)
        or known.role(column.name, (*known.USER, *known.ITEM)) is not None
        or any(w.endswith("id") and len(w) > 3 for w in mine)
    )
    if named_id or "categorical" in mine:
        return _id(column), (), None
    counted = (mine & known.COUNTED and n > 2) or (mine & known.QUANTITY and n > FEW_QUANTITIES)
    if counted or column.form.thousands is not None or column.form.decimal != ".":
        return number, doubts, None
    if n <= FEW_LEVELS or mine & known.CATEGORY:
        return _id(column), (), None
    if not mine & known.QUANTITY and _looks_like_ids(column):
        return _id(column), ('if this is a quantity, write { kind = "number" }',), None
    return number, doubts, None


def _id(column: Column) -> dict[str, object]:
    return {"kind": "id", "min_count": 2} if len(column.distinct) > MANY_IDS else {"kind": "id"}


def _looks_like_ids(column: Column) -> bool:
    """Whole numbers that are large, and spread without small ones in between."""
    assert column.numbers is not None
    there = column.numbers[column.there]
    return bool(there.min() >= 1000 and math.log10(there.max() + 1) >= 5 and len(column.distinct) > MANY_IDS)


def _sentinel(column: Column) -> tuple[str, ...]:
    """A number such as -1 or -999 below all others, which may stand for a missing value."""
    assert column.numbers is not None
    there = column.numbers[column.there]
    low = there.min() if len(there) else 0
    if low not in (-1, -9, -99, -999, -9999) or len(column.distinct) <= 3:
        return ()
    rest = there[there != low]
    if len(rest) and rest.min() >= 0:
        share = 100 * float((there == low).mean())
        return (f'{low:g} occurs in {share:.3g} % of the rows; if it means "not known", add missing = [{low:g}]',)
    return ()


def weights_of(columns: Mapping[str, Column]) -> dict[str, str]:
    """Column of lists -> the column with their weights: lists of Parquet of the same lengths, named x and x_weights."""
    found = {}
    for name, column in columns.items():
        for other in (f"{name}_weights", f"{name}.weights", f"{name}_weight"):
            weights = columns.get(other)
            if weights is None or not isinstance(column.values.dtype, pl.List | pl.Array):
                continue
            kind = weights.values.dtype
            numeric = isinstance(kind, pl.List | pl.Array) and kind.inner.is_numeric()
            if numeric and column.list_lengths.equals(weights.list_lengths):
                found[name] = other
    return found


def with_weights(guesses: Sequence[FieldGuess], weights: Mapping[str, str]) -> list[FieldGuess]:
    """The fields with the columns of their weights."""
    return [
        replace(g, options={**g.options, "weights": weights[g.column.name]}) if g.column.name in weights else g
        for g in guesses
    ]


def words_needed(column: Column, kind: str) -> tuple[str, ...]:
    """The words for missing values that must be declared so that the column can be read as a field of this kind."""
    return column.words if kind == "number" else tuple(w for w in column.words if w.strip().lower() in SURE)
