"""Reads the rows of a table's files, checks their columns, and puts bad rows into quarantine."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ..config import nearest
from ..core.rows import IMPRESSIONS
from ..errors import ConfigError
from ..features.history.keys import PAIR
from ..progress import Progress
from .audit import Audit, Quarantine
from .csvform import CsvForm
from .files import File, Frame, columns_of, frames, must_be_different
from .find import find
from .hints import no_hint
from .schema import FilesSchema

KEY = "roles.history."
"""How the purposes begin of columns that are keys of the history, of those that `LogSource` reads beside fields."""


@dataclass(frozen=True)
class Check:
    """Rows of a frame that are bad for one reason, and the columns whose values are the reason."""

    reason: str  # a key of `audit.REASONS`
    failed: np.ndarray  # bool (n,)
    columns: tuple[str, ...]
    do: Callable[[object], str] = no_hint
    """What to do about a bad row, given the value of its first column."""


class TableReader:
    """Reads tables row by row, and counts every row in the audit.

    Args:
        raw: the folder that file patterns are relative to.
        allow_outside: patterns may name files of this machine outside `raw`.
    """

    def __init__(
        self, raw: Path, audit: Audit, quarantine: Quarantine, progress: Progress, allow_outside: bool = False
    ) -> None:
        self._allow_outside = allow_outside
        self._raw, self._audit, self._quarantine, self._progress = raw, audit, quarantine, progress
        self.share = 1.0  # of the table that is being read: the share of its bytes that was read so far

    def find(self, patterns: tuple[str, ...]) -> list[File]:
        """The files of a table, in order. Raises: DataError if there is none."""
        return find(patterns, self._raw, allow_outside=self._allow_outside, note=self._audit.note)

    def frames(
        self,
        name: str,
        table: FilesSchema,
        wanted: Mapping[str, str],
        *,
        lists: Collection[str] = (),
        fields: Sequence[str] = (),
    ) -> Iterator[Frame]:
        """All rows of a table, counted in the audit.

        Args:
            name: the table.
            table: its files.
            wanted: purpose -> column. Every file must have every column.
            lists: the purposes whose columns may hold lists.
            fields: the names of all fields, which a key of the history could mean instead of a column.
        """
        files = self.find(table.files)
        total, done = sum(f.size for f in files) or 1, 0.0
        self._progress.start(f"reading {name}", total, "B")
        form = table.csv()
        for file in files:
            self._audit.begin(file.name, file.unit)
            self._check_columns(name, file, form, wanted, fields)
            for frame in frames(
                file,
                list(dict.fromkeys(wanted.values())),
                form,
                lambda line, fault, file=file: self._quarantine.add(
                    file.name, line, name, "unparsable_line", fault.text, do=fault.do
                ),
            ):
                check_types(frame, wanted, lists)
                self._audit.read(name, frame.raw_rows)
                done = min(done + frame.bytes, total)
                self.share = max(done / total, 1e-6)
                yield frame
                self._audit.check(name, self.share)
                self._progress.advance(frame.bytes, f"{self._audit.rows_read(name):,} rows")
        self._audit.check(name)
        self._progress.done(f"{self._audit.rows_read(name):,} rows")

    def _check_columns(
        self, name: str, file: File, form: CsvForm, wanted: Mapping[str, str], fields: Sequence[str]
    ) -> None:
        there = columns_of(file, form)
        used = set(wanted.values())
        must_be_different(there, used, file)
        known = set(there)
        for purpose, column in wanted.items():
            if column not in known and purpose.startswith(KEY):
                must = (
                    "a key or a parent in [history] must be a field, a column of the impressions or a pair among keys"
                )
                pair = column.split(PAIR)
                do = f"A pair is a list of two columns: {json.dumps(pair)}" if len(pair) == 2 else ""
                do = do or nearest(column, list(dict.fromkeys([*fields, *there])))
                raise ConfigError(must, f"'{column}' is none of these", where=file.name, do=do)
            if column not in known:
                place = name if name in (IMPRESSIONS, "conversions") else f"tables.{name}"
                raise ConfigError(
                    f"the file must have the column that the schema's [{place}] names for {purpose}",
                    f"no column '{column}'; it has {_names(there)}",
                    where=file.name,
                    do='Set delimiter = "..." if the columns are separated by another character'
                    if len(there) == 1
                    else nearest_name(column, there) or "Correct the schema",
                )
        unused = [c for c in there if c not in used]
        if unused:
            named = ", ".join(name or "''" for name in unused)
            self._audit.note(f"{file.name}: columns not used: {named}")

    def quarantine(
        self, frame: Frame, table: str, checks: Iterable[Check], before: np.ndarray | None = None
    ) -> np.ndarray:
        """Quarantine each row with the reason of the first check that it fails, and return all bad rows.

        `before` are the rows that are bad already. Shape: bool (n,) each.
        """
        bad = np.zeros(len(frame.rows), bool) if before is None else before.copy()
        first: dict[int, Check] = {}
        for check in checks:
            for i in np.flatnonzero(check.failed & ~bad).tolist():
                first[i] = check
            bad |= check.failed
        for i in sorted(first):
            row = frame.rows.row(i, named=True)
            text = " ".join(f"{k}={v}" for k, v in row.items())
            why = ", ".join(f"{column} = {row[column]!r}" for column in first[i].columns)
            do = first[i].do(row[first[i].columns[0]])
            self._quarantine.add(frame.file, int(frame.lines[i]), table, first[i].reason, text, why, do)
        return bad


def among(good: np.ndarray, which: np.ndarray) -> np.ndarray:
    """A mask over the good rows -> a mask over all rows. Shape: bool (n,), bool (good.sum(),) -> bool (n,)."""
    mask = good.copy()
    mask[good] = which
    return mask


def _names(columns: Sequence[str]) -> str:
    """The first names in quotes where they have blanks, so that a blank is seen."""
    return ", ".join(repr(name) if name != name.strip() or not name else name for name in columns[:40])


def nearest_name(name: str, columns: Sequence[str]) -> str:
    """Advice that names a column that differs in capitals, blanks or a few letters; empty if there is none."""
    for column in columns:
        if column.strip().lower() == name.strip().lower():
            return f"Did you mean {column!r}?"
    match = difflib.get_close_matches(name, columns, n=1, cutoff=0.7)
    return f"Did you mean {match[0]!r}?" if match else ""


def check_types(frame: Frame, wanted: Mapping[str, str], lists: Collection[str]) -> None:
    """Refuse a column of lists or structures, unless it holds the ids or weights of a field of kind "ids"."""
    for purpose, column in wanted.items():
        kind = frame.rows[column].dtype
        is_list = isinstance(kind, pl.List | pl.Array) and not kind.inner.is_nested()
        if kind.is_nested() and not (is_list and purpose in lists):
            raise ConfigError(
                f"the column for {'[history]' if purpose.startswith(KEY) else purpose} must hold one value per row",
                f"column '{column}' holds {kind}",
                where=frame.file,
                do='kind = "ids" reads lists of ids',
            )
