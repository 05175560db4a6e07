"""The audit of raw logs: how many rows were read, kept, changed, left out and quarantined, and why.

No row is dropped or changed silently. A reader counts every row it reads in the `Audit`. A row it cannot use is
written to the `Quarantine` with its file name and line number. At the end of a table `Audit.check` raises an error if
so many rows were bad that the log itself must be wrong.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import DataError

Outcome = Literal["kept", "changed", "left out", "quarantined"]
"""What happens to a row: kept as it is, kept but changed, left out on purpose, or quarantined as bad."""

EXAMPLES = 3  # examples shown for each reason
LONGEST = 1000  # characters of a bad line that are kept; a common-features line of Ali-CCP has 13,000


@dataclass(frozen=True)
class Reason:
    """Something that a row of a log can have: a sentence that describes it, and what happens to the row by default."""

    sentence: str
    outcome: Outcome


REASONS: dict[str, Reason] = {
    # Bad rows: they count against --max-bad.
    "unparsable_line": Reason("the line cannot be parsed as a row of the table", "quarantined"),
    "wrong_feature_count": Reason("the line's number of features differs from the number it states", "quarantined"),
    "unknown_field": Reason("a feature names a field that is not in the schema", "quarantined"),
    "bad_weight": Reason("a weight is NaN, infinite or negative", "quarantined"),
    "bad_label": Reason("a label is neither 0 nor 1", "quarantined"),
    "bad_value": Reason("a value is not of its column's kind", "quarantined"),
    "bad_key": Reason("the row's key or time is missing", "quarantined"),
    "bad_time": Reason("the time of a stage that was reached is missing", "quarantined"),
    "duplicate_key": Reason("an earlier row of the side table has the same key; that row is used", "quarantined"),
    # Rows that are kept, and only reported.
    "conversion_without_click": Reason("conversion = 1 where click = 0; read as z := y & z", "changed"),
    "missing_side_row": Reason("the side table has no row with this key; its fields are empty", "kept"),
    "out_of_time_order": Reason("an earlier row has a later time", "kept"),
    # Rows that are valid, but not used.
    "duplicate_impression": Reason("an earlier impression has the same values in the `unique` columns", "left out"),
    "other_part": Reason("the schema assigns the row's part neither to train nor to test", "left out"),
    "missing_value": Reason("a field of this row is empty", "kept"),
}


def printable(text: str) -> str:
    r"""The text with control characters and backslashes as escapes, so that separators are visible.

    >>> print(printable("101\x0231319\x031.0"))
    101\x0231319\x031.0
    """
    if text.isprintable() and "\\" not in text:
        return text
    escaped = (c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, cut at `longest` characters, with a note of how many were cut off.

    >>> shortened("abcdef", 4)
    'abcd... (2 more characters)'
    """
    more = len(text) - longest
    return text if more <= 0 else f"{text[:longest]}... ({more:,} more characters)"


@dataclass
class Count:
    """How many rows of one table have one reason, and the first few examples."""

    outcome: Outcome
    rows: int = 0
    examples: list[str] = field(default_factory=list)


class Audit:
    """Counts rows by table and reason.

    A row is quarantined or left out for one reason only, so rows kept = rows read - quarantined - left out. A row
    that is kept may have several reasons.

    Args:
        max_bad: the share of a table's rows that may be quarantined; with more the log is refused.

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
        self._read: dict[str, int] = {}
        self._counts: dict[str, dict[str, Count]] = {}

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(self._read)

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
    ) -> None:
        """Count rows with this reason (a key of `REASONS`); `read` counts them as read.

        Args:
            outcome: if it is not the reason's default (`--on-orphan drop` leaves rows out).
            file, line, text: an example; the first few of each reason are shown.
        """
        if rows == 0:
            return
        self._read.setdefault(table, 0)
        here = self._counts.setdefault(table, {})
        found = here.setdefault(reason, Count(outcome or REASONS[reason].outcome))
        found.rows += rows
        if file is not None and len(found.examples) < EXAMPLES:
            place = file if line is None else f"{file}, line {line}"
            found.examples.append(f"{place}: {printable(shortened(text, 100))}" if text else place)

    def count_lines(
        self, table: str, reason: str, file: str, lines: np.ndarray, outcome: Outcome | None = None
    ) -> None:
        """Count the rows of these lines of a file; the first few are the examples. Shape: int (n,)."""
        for line in lines[:EXAMPLES]:
            self.count(table, reason, outcome=outcome, file=file, line=int(line))
        self.count(table, reason, len(lines[EXAMPLES:]), outcome=outcome)

    def note(self, text: str) -> None:
        """Report something that is not about single rows ("column z is not used"). Equal notes are reported once."""
        if text not in self.notes:
            self.notes.append(text)

    def rows_read(self, table: str) -> int:
        return self._read.get(table, 0)

    def rows(self, table: str, outcome: Outcome) -> int:
        """Rows with that outcome; with "kept" and "changed" a row counts once for each of its reasons."""
        return sum(c.rows for c in self._counts.get(table, {}).values() if c.outcome == outcome)

    def kept(self, table: str) -> int:
        return self.rows_read(table) - self.rows(table, "quarantined") - self.rows(table, "left out")

    def met(self, table: str, reason: str) -> int:
        """How many rows of the table have the reason."""
        found = self._counts.get(table, {}).get(reason)
        return found.rows if found else 0

    def check(self, table: str, share: float = 1.0) -> None:
        """Refuse the log if more than `max_bad` of the table's rows were quarantined.

        Args:
            share: the share of the table that was read so far, above 0 and up to 1, by bytes or by rows. The
                whole table is then estimated to have read / share rows, and the log is refused as soon as more
                rows are bad than that many may have. So a file with the wrong delimiter fails early.

        Raises:
            DataError: with the counts by reason, the first examples, and what to do.
        """
        read, bad = self.rows_read(table), self.rows(table, "quarantined")
        if bad * share <= self.max_bad * read:
            return
        met = {slug: c for slug, c in self._counts[table].items() if c.outcome == "quarantined"}
        reasons = "; ".join(f"{c.rows:,} {slug} ({REASONS[slug].sentence})" for slug, c in _by_rows(met))
        first = "; ".join(c.examples[0] for _, c in _by_rows(met) if c.examples)
        so_far = "" if share >= 1 else " read so far"
        raise DataError(
            f"at most {100 * self.max_bad:.4g} % of the rows of table '{table}' may be bad",
            f"{bad:,} of {read:,}{so_far} ({100 * bad / read:.3g} %) are: {reasons}"
            + (f". First: {first}" if first else ""),
            do="Is it the right file, in the right format?"
            if bad > read / 2
            else f"Correct the file, or allow this share of bad rows: --max-bad {_enough(bad / read)}",
        )

    def as_dict(self) -> dict[str, Any]:
        """The audit as plain values for JSON: {"tables": {name: {"read", ..., "reasons"}}, "notes"}."""
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
                        "examples": list(c.examples),
                    }
                    for slug, c in _by_rows(counts)
                },
            }
            for table, counts in self._counts.items()
        }
        return {"max_bad": self.max_bad, "tables": tables, "notes": list(self.notes)}

    def report(self) -> str:
        """The audit as lines for a person."""
        return report(self.as_dict())


def report(audit: dict[str, Any]) -> str:
    """The lines of `Audit.report`, from the result of `Audit.as_dict`, which a manifest stores."""
    lines: list[str] = []
    for table, t in audit["tables"].items():
        aside = [f"{t[k]:,} {k.replace('_', ' ')}" for k in ("left_out", "quarantined") if t[k]]
        lines.append(", ".join([f"{table}: {t['read']:,} rows read", f"{t['kept']:,} kept", *aside]))
        for slug, r in t["reasons"].items():
            lines.append(f"  {r['rows']:,} {r['outcome']}: {slug}, {r['sentence']}")
            lines.extend(f"    {example}" for example in r["examples"])
    lines.extend(f"note: {note}" for note in audit["notes"])
    return "\n".join(lines)


def _by_rows(counts: dict[str, Count]) -> list[tuple[str, Count]]:
    return sorted(counts.items(), key=lambda item: -item[1].rows)


def _enough(share: float) -> str:
    """A round number a little above the share, as a value for `--max-bad`. 0.0312 -> '0.04'."""
    step = 10 ** len(f"{1 / share:.0f}")
    return f"{min(1.0, (int(share * step) + 1) / step):g}"


class Quarantine:
    """`quarantine.csv`: the bad rows, each with its file, line number, table and reason.

    The file is created with the first bad row; if no row is bad there is no file. `add` also counts the row in the
    audit, so the two always agree. Control characters are escaped (`\\x01`), and a long text is cut, with a note.

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

    def add(self, file: str, line: int, table: str, reason: str, text: str) -> None:
        """Write one bad row. `line` counts from 1; `text` is the raw line, as far as it is readable."""
        self._audit.count(table, reason, file=file, line=line, text=text)
        if self._writer is None:
            self._file = self.path.open("w", encoding="utf-8", newline="")
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerow(self.COLUMNS)
        self._writer.writerow((file, line, table, reason, printable(shortened(text))))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = self._writer = None

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
