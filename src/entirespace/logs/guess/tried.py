"""Tries a first schema on the sample with the reader that `prepare` uses: what `prepare` would refuse is found here."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...config import parse
from ...core.rows import IMPRESSIONS
from ...errors import EntirespaceError
from ...progress import SILENT
from ..audit import Audit, Quarantine
from ..conversions import TABLE
from ..files import Frame
from ..reading import TableReader, check_types
from ..schema import FilesSchema, Schema
from ..star import LogSource
from .plan import Plan
from .sample import Sample

REASONS = 5  # shown


def tried(text: str, made: Plan) -> str | None:
    """Read the sample as `prepare` would read the log. Returns: what is wrong; None: nothing is.

    Args:
        text: the first schema.
        made: the plan that it was written from, with the sample.
    """
    tables = {IMPRESSIONS: made.impressions, **{side.name: side.join.table for side in made.sides}}
    if made.conversions is not None:
        tables[TABLE] = made.conversions.table
    audit = Audit(max_bad=1.0)
    quarantine = _Counted(Path(), audit)
    reader = _Sampled({name: table.samples for name, table in tables.items()}, audit, quarantine)
    try:
        schema = parse(Schema, tomllib.loads(text), "the first schema")
        source = LogSource(schema, Path(), audit, quarantine, reader=reader)
        for _ in source.side_tables():
            pass
        for _ in source.impressions():
            pass
        for name, join in source.joins.items():
            if made.impressions.whole and tables[name].whole:
                join.check(audit)
    except EntirespaceError as error:
        return str(error)
    return next(filter(None, (_bad_rows(audit, table) for table in audit.tables)), None)


class _Sampled(TableReader):
    """Gives the rows of the sample in place of those of the files."""

    def __init__(self, samples: Mapping[str, Sequence[Sample]], audit: Audit, quarantine: Quarantine) -> None:
        super().__init__(Path(), audit, quarantine, SILENT)
        self._samples = samples

    def frames(
        self,
        name: str,
        table: FilesSchema,
        wanted: Mapping[str, str],
        *,
        lists: Collection[str] = (),
        fields: Sequence[str] = (),
    ) -> Iterator[Frame]:
        columns = list(dict.fromkeys(wanted.values()))
        for found in self._samples[name]:
            self._audit.read(name, found.bad)
            self._audit.count(name, "unparsable_line", found.bad)
            for frame in found.frames:
                check_types(frame, wanted, lists)
                self._audit.begin(frame.file, frame.unit)
                self._audit.read(name, len(frame.rows))
                yield replace(frame, rows=frame.rows.select(columns))


class _Counted(Quarantine):
    """Counts bad rows, and writes none of them."""

    def add(self, file: str, line: int, table: str, reason: str, text: str, why: str = "", do: str = "") -> None:
        self._audit.count(table, reason, file=file, line=line, text=text, why=why, do=do)


def _bad_rows(audit: Audit, table: str) -> str | None:
    """What is wrong with the rows of a table, if so many are bad that `prepare` stops."""
    most, read, bad = Audit().max_bad, audit.rows_read(table), audit.rows(table, "quarantined")
    if bad <= most * read:
        return None
    reasons = audit.as_dict()["tables"][table]["reasons"]
    found = {slug: about for slug, about in reasons.items() if about["outcome"] == "quarantined"}
    why = ", ".join(f"{slug}: {about['rows']:,}" for slug, about in list(found.items())[:REASONS])
    first = next((f"; first {about['examples'][0]}" for about in found.values() if about["examples"]), "")
    of = "" if table == IMPRESSIONS else f" of table '{table}'"
    stops = f"`prepare` stops at {100 * most:g} % of bad rows, unless --max-bad allows more"
    return f"{bad:,} of {read:,} rows{of} would be bad: {why}{first}. {stops}"
