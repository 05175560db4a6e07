"""The audit of raw logs: how many rows were read, kept, changed, left out and quarantined, and why.

No row is dropped or changed silently. A reader counts every row it reads in the `Audit`. A row it cannot use is bad: it
is written to the `Quarantine` with its file name and line number. `Audit.check` raises an error if more than a given
share of the rows is bad, because then the log or its schema is probably wrong.
"""

from __future__ import annotations

import csv
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import DataError
from ..text import exact, printable, shortened

Outcome = Literal["kept", "changed", "left out", "quarantined"]
"""What happens to a row: kept as it is, kept but changed, left out on purpose, or quarantined as bad."""

EXAMPLES = 3  # examples shown for each reason
VALUES = 10  # different values shown for each reason
LONGEST = 1000  # characters of a bad line that are kept; a common-features line of Ali-CCP can have 13,000


@dataclass(frozen=True)
class Reason:
    """A problem or property of a row: a sentence that describes it, and what happens to such a row by default."""

    sentence: str
    outcome: Outcome


REASONS: dict[str, Reason] = {
    # Bad rows: they count against --max-bad.
    "unparsable_line": Reason("the line cannot be parsed as a row of the table", "quarantined"),
    "wrong_feature_count": Reason("the line's number of features differs from the number it states", "quarantined"),
    "unknown_field": Reason("a feature names a field that is not in the schema", "quarantined"),
    "bad_weight": Reason("a weight is NaN, infinite or negative", "quarantined"),
    "bad_label": Reason("a label is neither 0 nor 1", "quarantined"),
    "bad_value": Reason("the value of a number field is not a number", "quarantined"),
    "bad_id": Reason("an id is a float too large to be exact; store it as an integer or text", "quarantined"),
    "bad_key": Reason("the row's key is missing", "quarantined"),
    "bad_order": Reason("the time cannot be read or is missing", "quarantined"),
    "bad_time": Reason("the time of a stage that was reached cannot be read or is missing", "quarantined"),
    "duplicate_key": Reason("an earlier row has the same key, but other values; that row is used", "quarantined"),
    # Rows that are kept, and only reported.
    "conversion_without_click": Reason("conversion = 1 but click = 0; a kept row gets conversion = 0", "changed"),
    "missing_side_row": Reason("the side table has no row with this key; its fields are empty", "kept"),
    "out_of_time_order": Reason("an earlier row has a later time", "kept"),
    # Rows that are valid, but not used.
    "repeated_key": Reason("an earlier row of the side table has the same key and the same values", "left out"),
    "no_key": Reason("the impression has no key, so it has no row in the side table", "left out"),
    "no_impression": Reason("no impression of the log has the key of the conversion", "left out"),
    "no_click": Reason("no impression with the key was clicked before the conversion, within the window", "left out"),
    "duplicate_impression": Reason("an earlier impression has the same values in the `unique` columns", "left out"),
    "other_part": Reason("the split assigns the row to neither train nor test", "left out"),
}


@dataclass
class Count:
    """The rows of one table with one reason: what happened to them, how many there are, and which."""

    outcome: Outcome
    rows: int = 0
    first: list[tuple[int, int, str]] = field(default_factory=list)  # the first rows: number of the file, line, text
    values: dict[str, int] = field(default_factory=dict)  # "column = 'value'" -> rows
    do: str = ""  # what to do about the first of them

    @property
    def examples(self) -> list[str]:
        """The first rows, in the order of the log."""
        return [text for _, _, text in self.first]

    def is_early(self, file: int, line: int) -> bool:
        """Whether the row is one of the first of the log with this reason, so far."""
        return len(self.first) < EXAMPLES or (file, line) < self.first[-1][:2]


class Audit:
    """Counts rows by table and reason.

    A row is quarantined or left out for exactly one reason, so rows kept = rows read - quarantined - left out. A row
    that is kept may be counted under several reasons.

    Args:
        max_bad: the largest share of a table's rows, from 0 to 1, that may be quarantined.

    >>> audit = Audit(max_bad=0.5)
    >>> audit.read("impressions", 3)
    >>> audit.count("impressions", "bad_label", file="log.csv", line=2, text="1,7")
    >>> audit.kept("impressions")
    2
    >>> print(audit.report())
    impressions: 3 rows read, 2 kept, 1 quarantined
      1 quarantined: bad_label, a label is neither 0 nor 1
        log.csv, line 2: 1,7
    """

    def __init__(self, max_bad: float = 0.001) -> None:
        self.max_bad = max_bad
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._read: dict[str, int] = {}
        self._counts: dict[str, dict[str, Count]] = {}
        self._files: dict[str, int] = {}  # file -> its number, in the order of the log
        self._units: dict[str, str] = {}  # file -> what its rows are counted in

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of which rows were read."""
        return tuple(self._read)

    def begin(self, file: str, unit: str) -> None:
        """Say what the rows of a file are counted in, for examples: a "line" (the default), or a "row" of Parquet."""
        self._units[file] = unit

    def read(self, table: str, rows: int) -> None:
        """Add to the number of rows read from the table, good or bad."""
        self._read[table] = self._read.get(table, 0) + rows
        self._counts.setdefault(table, {})

    def count(
        self,
        table: str,
        reason: str,
        rows: int = 1,
        *,
        outcome: Outcome | None = None,
        file: str | None = None,
        line: int | None = None,
        text: str = "",
        why: str = "",
        do: str = "",
    ) -> None:
        """Count rows with this reason, a key of `REASONS`. Call `read` as well: it alone counts rows as read.

        Args:
            outcome: what happened to the rows, if not the default of the reason (`--on-orphan drop` leaves rows out).
            file, line, text: an example. The examples that come first in the log are reported, in whatever order the
                rows of one file are counted. Files must be counted in the order of the log.
            why: what is wrong with the example: "is_click = '7'".
            do: what to do about it.

        Raises: KeyError if the reason is not in `REASONS`.
        """
        if rows == 0:
            return
        self._read.setdefault(table, 0)
        here = self._counts.setdefault(table, {})
        found = here.setdefault(reason, Count(outcome or REASONS[reason].outcome))
        found.rows += rows
        found.do = found.do or do
        if file is None:
            return
        at = (self._files.setdefault(file, len(self._files)), line or 0)
        if found.is_early(*at):
            unit = self._units.get(file, "line")
            place = printable(file if line is None else f"{file}, {unit} {line}", keep="")
            words = exact(_with_why(shortened(why, 100), shortened(text, 100)))
            insort(found.first, (*at, f"{place}: {words}" if words else place))
            del found.first[EXAMPLES:]

    def count_lines(
        self,
        table: str,
        reason: str,
        file: str,
        lines: np.ndarray,
        outcome: Outcome | None = None,
        why: Sequence[str] = (),
    ) -> None:
        """Count one row for each of these lines of a file, the first few as examples.

        Args:
            lines: from 1, ascending. Shape: int (n,).
            why: what is wrong with the first lines, as for `count`; may be shorter than `lines`.
        """
        for i, line in enumerate(lines[:EXAMPLES]):
            said = why[i] if i < len(why) else ""
            self.count(table, reason, outcome=outcome, file=file, line=int(line), why=said)
        self.count(table, reason, len(lines[EXAMPLES:]), outcome=outcome)

    def found(self, table: str, reason: str, values: Mapping[str, int]) -> None:
        """Add the values that rows with this reason have: {"part = 'dev'": 3} for 3 rows. `count` counts the rows.

        Only the first `VALUES` different values are reported.
        """
        here = self._counts[table][reason].values if values else {}
        for value, rows in values.items():
            if value in here or len(here) < VALUES:
                here[value] = here.get(value, 0) + rows

    def note(self, text: str) -> None:
        """Add a remark that is not about single rows ("column z is not used"). Equal remarks are reported once."""
        if text not in self.notes:
            self.notes.append(text)

    def warn(self, sentence: str) -> None:
        """Add a sentence that every user of the dataset must see: `prepare`, training and reports repeat it."""
        self.warnings.append(sentence)

    def rows_read(self, table: str) -> int:
        """Rows read from the table, good or bad."""
        return self._read.get(table, 0)

    def rows(self, table: str, outcome: Outcome) -> int:
        """Rows with this outcome. For "kept" and "changed" a row is counted once per reason."""
        return sum(c.rows for c in self._counts.get(table, {}).values() if c.outcome == outcome)

    def kept(self, table: str) -> int:
        """Rows of the table that were neither quarantined nor left out."""
        return self.rows_read(table) - self.rows(table, "quarantined") - self.rows(table, "left out")

    def rows_with(self, table: str, reason: str) -> int:
        """How many rows of the table have this reason."""
        found = self._counts.get(table, {}).get(reason)
        return found.rows if found else 0

    def check(self, table: str, share: float = 1.0) -> None:
        """Raise an error if more than the share `max_bad` of the table's rows was quarantined.

        Args:
            share: the share of the table that was read so far, above 0 and up to 1, by bytes or by rows. The
                whole table then has about (rows read / share) rows. If more than max_bad of that many rows are bad
                already, the error is raised at once, so a file with the wrong delimiter fails early.

        Raises:
            DataError: with the counts by reason, the first examples, and what to do.
        """
        read, bad = self.rows_read(table), self.rows(table, "quarantined")
        if bad * share <= self.max_bad * read:
            return
        bad_counts = {slug: c for slug, c in self._counts[table].items() if c.outcome == "quarantined"}
        reasons = "; ".join(f"{c.rows:,} {slug} ({REASONS[slug].sentence})" for slug, c in _by_rows(bad_counts))
        first = "; ".join(text for _, _, text in sorted(c.first[0] for c in bad_counts.values() if c.first))
        so_far = "" if share >= 1 else " read so far"
        raise DataError(
            f"at most {100 * self.max_bad:.4g} % of the rows of table '{table}' may be bad",
            f"{bad:,} of {read:,}{so_far} ({100 * bad / read:.3g} %) are: {reasons}"
            + (f". First: {first}" if first else ""),
            do=_advice([c for _, c in _by_rows(bad_counts)], bad / read),
        )

    def as_dict(self) -> dict[str, Any]:
        """The audit as plain values for JSON: {"tables": {name: {"read", ..., "reasons"}}, "notes", "warnings"}."""
        tables = {
            table: {
                "read": self.rows_read(table),
                "kept": self.kept(table),
                "left_out": self.rows(table, "left out"),
                "quarantined": self.rows(table, "quarantined"),
                "reasons": {
                    slug: {
                        "rows": c.rows,
                        "outcome": c.outcome,
                        "sentence": REASONS[slug].sentence,
                        "examples": c.examples,
                        **({"values": dict(c.values)} if c.values else {}),
                    }
                    for slug, c in _by_rows(counts)
                },
            }
            for table, counts in self._counts.items()
        }
        return {"max_bad": self.max_bad, "tables": tables, "notes": list(self.notes), "warnings": list(self.warnings)}

    def report(self) -> str:
        """The audit as text for a reader."""
        return report(self.as_dict())


def report(audit: dict[str, Any]) -> str:
    """The text of `Audit.report`, from the result of `Audit.as_dict`, which the manifest stores."""
    lines: list[str] = []
    for table, t in audit["tables"].items():
        not_kept = [f"{t[k]:,} {k.replace('_', ' ')}" for k in ("left_out", "quarantined") if t[k]]
        lines.append(", ".join([f"{table}: {t['read']:,} rows read", f"{t['kept']:,} kept", *not_kept]))
        for slug, r in t["reasons"].items():
            lines.append(f"  {r['rows']:,} {r['outcome']}: {slug}, {r['sentence']}")
            if "values" in r:
                lines.append(f"    {values_of(r)}")
            lines.extend(f"    {example}" for example in r["examples"])
    lines.extend(f"note: {note}" for note in audit["notes"])
    lines.extend(f"warning: {warning}" for warning in audit.get("warnings", ()))
    return "\n".join(printable(line, keep="") for line in lines)


def values_of(reason: Mapping[str, Any]) -> str:
    """The values found for a reason in the result of `Audit.as_dict`, in words; empty if they are not known.

    >>> values_of({"rows": 9, "values": {"part = 'dev'": 5, "part = 'x'": 1}})
    "found: part = 'dev' (5 rows), part = 'x' (1 row), and other values (3 rows)"
    """
    values = dict(reason.get("values", {}))
    if not values:
        return ""
    other = reason["rows"] - sum(values.values())
    if other:
        values["and other values"] = other
    found = ", ".join(f"{value} ({n:,} row{'s' if n > 1 else ''})" for value, n in values.items())
    return f"found: {printable(found, keep='')}"


def _with_why(why: str, text: str) -> str:
    return f"{why} in: {text}" if why and text else why or text


def _by_rows(counts: dict[str, Count]) -> list[tuple[str, Count]]:
    return sorted(counts.items(), key=lambda item: -item[1].rows)


def _advice(counts: list[Count], share: float) -> str:
    """What to do about bad rows, the most frequent first; `share`: how many of all rows they are."""
    do = next((c.do for c in counts if c.do), "")
    if share > 0.5:
        return do or "Is it the right file, in the format that the schema describes?"
    allow = f"allow this share of bad rows: --max-bad {_enough(share)}"
    return f"{do}{'' if do.endswith('?') else '.'} Or {allow}" if do else f"Correct the file, or {allow}"


def _enough(share: float) -> str:
    """The share rounded up to a short number, as a value for `--max-bad`: 0.0312 -> '0.04'."""
    step = 10 ** len(f"{1 / share:.0f}")
    return f"{min(1.0, (int(share * step) + 1) / step):g}"


class Quarantine:
    """`quarantine.csv`: the bad rows, each with its file, line number, table and reason.

    The file is created when the first bad row is added; without bad rows there is no file. `add` also counts the row
    in the audit, so the two always agree. Control characters are escaped (`\\x01`), and long lines are cut.

    Args:
        folder: where `quarantine.csv` is written (the dataset's folder).
        audit: the audit that counts the rows.
    """

    NAME = "quarantine.csv"
    COLUMNS = ("file", "line", "table", "reason", "text")

    def __init__(self, folder: Path, audit: Audit) -> None:
        self.path = Path(folder) / self.NAME
        self._audit = audit
        self._file: Any = None
        self._writer: Any = None

    def add(self, file: str, line: int, table: str, reason: str, text: str, why: str = "", do: str = "") -> None:
        """Write one bad row.

        Args:
            line: its line, or row of a Parquet file, from 1.
            text: the raw line, with unreadable bytes escaped.
            why: what is wrong with it: "is_click = '7'". It is written before the text.
            do: what to do about it, for the error that too many rows are bad.
        """
        self._audit.count(table, reason, file=file, line=line, text=text, why=why, do=do)
        if self._writer is None:
            self._file = self.path.open("w", encoding="utf-8", newline="")
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerow(self.COLUMNS)
        words = exact(_with_why(shortened(why, LONGEST), shortened(text, LONGEST)))
        self._writer.writerow((printable(file, keep=""), line, table, reason, words))

    def close(self) -> None:
        """Close the file, if any row was written."""
        if self._file is not None:
            self._file.close()
            self._file = self._writer = None

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
