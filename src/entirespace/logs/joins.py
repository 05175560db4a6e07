"""Counts how many impressions find their row in a side table: if many do not, the join is probably wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from ..errors import DataError
from .audit import EXAMPLES, Audit

SUSPICIOUS, WRONG = 0.1, 0.5  # shares of the impressions with a key that the side table lacks


@dataclass
class Join:
    """The join of the impressions with one side table. An impression without a key is not counted."""

    table: str
    key: str  # the column of the key in the side table
    on: str  # the column of the key in the impressions
    keyed: int = 0  # impressions that have a key
    missing: int = 0  # of these, impressions whose key the side table lacks
    held: list[str] = field(default_factory=list)  # examples of keys of the side table
    lacked: list[str] = field(default_factory=list)  # examples of keys that it lacks
    do: str = "Name the columns that hold the same ids, as key and on of the table in the schema, or the right files"

    def has(self, keys: Iterable[object]) -> None:
        """Remember the first of these keys of the side table as examples."""
        _extend(self.held, keys)

    def count(self, keys: pl.Series, good: np.ndarray, missing: np.ndarray) -> None:
        """Count the good impressions with a key; `missing`: the good ones whose key the side table lacks.

        Shape: keys as `raw_ids` gives them (n,), bool (n,) each.
        """
        there = good & (keys != "" if keys.dtype == pl.String else keys.is_not_null()).to_numpy()
        lacked = there & missing
        more = lacked.any() and len(self.lacked) < EXAMPLES
        examples = keys.filter(pl.Series(lacked)).unique(maintain_order=True).head(EXAMPLES) if more else ()
        self.add(int(there.sum()), int(lacked.sum()), examples)

    def add(self, keyed: int, missing: int, lacked: Iterable[object]) -> None:
        """Count impressions that have a key, and those whose key the side table lacks, with these keys."""
        self.keyed += keyed
        self.missing += missing
        _extend(self.lacked, lacked)

    def check(self, audit: Audit) -> None:
        """Warn in the audit if more than a tenth of the keys are missing. Raises: DataError if more than half are.

        A table without any row is not wrong, but a warning.
        """
        if self.missing <= SUSPICIOUS * self.keyed:
            return
        share = f"{self.missing:,} of {self.keyed:,} impressions with a key"
        lacked, held = (", ".join(repr(key) for key in keys) for keys in (self.lacked, self.held))
        of_table = f"'{self.key}' of the table is {held}" if held else "the table is empty"
        examples = f"'{self.on}' of the impressions is {lacked}; {of_table}"
        if self.held and self.missing > WRONG * self.keyed:
            raise DataError(
                f"most impressions must find their row in the side table '{self.table}'",
                f"{share} do not: {examples}",
                do=self.do,
            )
        audit.warn(f"{share} have no row in the side table '{self.table}', and its fields are empty: {examples}.")


def _extend(examples: list[str], keys: Iterable[object]) -> None:
    if len(examples) == EXAMPLES:
        return
    for key in keys:
        if str(key) not in examples:
            examples.append(str(key))
        if len(examples) == EXAMPLES:
            return
