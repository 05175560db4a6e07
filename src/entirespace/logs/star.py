"""The reader of star-schema logs: CSV or Parquet, one impressions table and side tables joined by a key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.labels import Labels
from ..core.rows import IMPRESSIONS
from ..errors import ConfigError
from ..features.codes import Codes
from ..features.columns import where
from ..features.fingerprints import fingerprints
from ..features.history.keys import HistorySpec
from ..features.layout import Encoders, format_changes
from ..features.values import inexact, raw_ids, text, without_missing
from ..progress import SILENT, Progress
from .audit import Audit, Quarantine
from .clock import Clock, Times
from .coding import Coding, columns_of_fields
from .conversions import Conversions, Late
from .files import Frame
from .hints import of_time
from .keys import keys_of
from .outcomes import Outcomes, read_outcomes
from .parts import part_of_rows
from .reading import Check, TableReader, among
from .schema import STAGES, Schema, SideSchema, SplitSchema
from .schema.values import value_format
from .sides import SideTable
from .source import Block, OnOrphan, Source, refuse_orphan
from .truth import Truth

IDS = ("tables.", "unique.", "roles.", "conversions.on.", "split.column")
"""How the purposes begin of columns that hold ids, of those that `LogSource` reads beside fields."""


class LogSource(Source):
    """Reads a star-schema log block by block for `prepare`; see `source.Source`.

    Args:
        schema: the files and columns of the log.
        raw: the folder that file patterns are relative to.
        audit: counts every row that is read.
        quarantine: where bad rows are written.
        on_orphan: what to do with a conversion without a click: keep the row with conversion = 0 (keep), leave the
            row out (drop), or raise an error (error).
        split: replaces the split of the schema.
        labelled: False if outcomes are not known yet; the log then needs no columns for them.
        encoders: the encoders of an earlier layout, whose fields and order of fields are used.
        allow_outside: the schema may name files of this machine outside `raw`.
        reader: reads the rows of the tables, as one that was made for a sample does. Default: all rows of the files.

    Raises: ConfigError if the schema does not fit `encoders` or the files. DataError if a file cannot be read or too
    many rows are bad.
    """

    def __init__(
        self,
        schema: Schema,
        raw: Path,
        audit: Audit,
        quarantine: Quarantine,
        *,
        on_orphan: OnOrphan = "keep",
        split: SplitSchema | None = None,
        labelled: bool = True,
        encoders: Encoders | None = None,
        allow_outside: bool = False,
        reader: TableReader | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self._schema, self._raw, self._audit = schema, raw, audit
        self._on_orphan, self._labelled = on_orphan, labelled
        self._reader = reader or TableReader(raw, audit, quarantine, progress, allow_outside)
        self._split = split or schema.split
        self.fields = schema.fields() if encoders is None else encoders.adopted(schema.fields(), "the schema")
        for change in () if encoders is None else format_changes(encoders.read_fields, self.fields):
            audit.note(change)
        self.keys, self.stages = schema.keys(), STAGES
        self.on_repeat = schema.impressions.on_repeat or "first"
        named = {f.name for f in self.fields}
        roles = {"user": schema.roles.user, "item": schema.roles.item}
        self.user, self.item = roles["user"], roles["item"]
        self.request = None if schema.request is None else schema.request.fields
        self._role_columns = {role: name for role, name in roles.items() if name is not None and name not in named}
        self.segments = tuple(name for name in schema.roles.segments if name not in named)
        self._role_columns |= {f"segment.{name}": name for name in self.segments}
        self._history = keys_of(schema, self.fields, encoders, audit.note)
        counted = () if self._history is None else self._history.fields
        self._role_columns |= {f"history.{f.name}": f.name for f in counted if f.name not in named}
        self._role_codes = {role: Codes() for role in self._role_columns}
        self._form = value_format(schema.impressions)
        self._clock = Clock(self._form)
        self._coding = Coding(self.fields, self._reader)
        self._sides = [self._side_table(name, side) for name, side in schema.tables.items()]
        self.joins = {side.name: side.join for side in self._sides}
        self._conversions: Conversions | None = None

    def _side_table(self, name: str, side: SideSchema) -> SideTable:
        impressions = self._schema.impressions
        files = impressions if side.source == IMPRESSIONS else side
        form = value_format(*self._schema.values(name))
        return SideTable(name, side, files, form, self._coding, self._reader, self._audit)

    def ids(self, field: str) -> pa.Array:
        """The raw ids of a field by code. Shape: text or int64 (C,); a null int64 is the empty id."""
        return self._coding.ids(field)

    def role_ids(self, role: str) -> pa.Array:
        """The raw ids of the column of a role by code. Shape: as `ids`."""
        return self._role_codes[role].ids()

    @property
    def history(self) -> HistorySpec | None:  # type: ignore[override]
        """What is counted by id; call after `impressions` was read."""
        return None if self._history is None else self._history.spec(self._clock)

    def late(self, clicked: np.ndarray) -> Late | None:
        """The conversions of a table of their own, joined to impressions; call after `impressions` was read."""
        return None if self._conversions is None else self._conversions.joined(clicked, self._audit)

    def side_tables(self) -> Iterator[tuple[str, Block]]:
        """(table, block) for all blocks of all side tables."""
        for side in self._sides:
            for block in side.blocks():
                yield side.name, block

    def impressions(self) -> Iterator[Block]:
        """The blocks of the impressions; read `side_tables` to the end first."""
        schema, audit = self._schema.impressions, self._audit
        wanted, lists = columns_of_fields(self.fields, IMPRESSIONS)
        wanted = self._columns() | wanted
        time_columns = [c for c in dict.fromkeys(wanted.values()) if c in (schema.order, *schema.times.values())]
        truth = self._truth()
        latest, staged = np.iinfo(np.int64).min, 0
        if self._schema.conversions is not None and self._labelled:
            self._conversions = Conversions(self._schema.conversions, self._reader, self._form, self._clock)
        named = [f.name for f in self.fields]
        for frame in self._reader.frames(IMPRESSIONS, schema, wanted, lists=lists, fields=named):
            times = {column: self._clock.read(frame, column) for column in time_columns}
            outcomes, checks = self._outcomes(frame, times)
            order = None
            if schema.order is not None:
                order, missing = times[schema.order]
                checks.append(Check("bad_order", missing, (schema.order,), of_time))
            bad = self._reader.quarantine(frame, IMPRESSIONS, [*checks, *self._inexact(frame)])
            part, neither = part_of_rows(frame, self._split, self._form)
            self._count_other_part(frame, neither & ~bad)
            found, bad = self._coding.read(frame, IMPRESSIONS, bad | neither)
            orphan = self._orphans(frame, outcomes, bad)
            if self._on_orphan == "drop" and orphan.any():
                found, bad = self._coding.read(frame, IMPRESSIONS, bad | orphan)
            good = ~bad
            if order is not None:
                order = order[good]
                before = np.maximum.accumulate(np.concatenate(([latest], order)))[:-1]
                audit.count_lines(
                    IMPRESSIONS, "out_of_time_order", frame.file, frame.lines[among(good, order < before)]
                )
                latest = max(latest, int(order.max(initial=latest)))
            if self._conversions is not None:
                self._conversions.see(frame, good, order, staged)
            block = Block(
                self._coding.encode(found),
                int(good.sum()),
                labels=None if outcomes is None else self._labels(outcomes).take(good),
                order=order,
                part=None if part is None else part[good],
                links={side.name: side.rows_of(frame, self._form, good) for side in self._sides},
                truth=truth.take(frame.raw_rows, frame.places[good]) if truth else None,
                fingerprint=self._identity(frame, schema.unique, times)[good] if schema.unique else None,
                lot=self._lot(frame, wanted.values(), times)[good] if self._split.by in ("random", "user") else None,
                content=self._content(frame, wanted, times)[good] if self._history is not None else None,
                roles={role: self._role(frame, role)[good] for role in self._role_columns},
            )
            staged += block.rows
            yield block
            audit.check(IMPRESSIONS, self._reader.share)
        self.fields = self._coding.fields
        if truth:
            truth.end()

    def _columns(self) -> dict[str, str]:
        """Purpose -> column, for the columns of the impressions that are not fields."""
        schema = self._schema.impressions
        columns = {}
        if self._labelled:
            columns = {stage: label.source for stage, label in schema.labels.by_stage().items()}
            columns |= {f"times.{stage}": column for stage, column in schema.times.items()}
            columns |= {"weight": schema.weight} if schema.weight else {}
            if self._schema.conversions is not None:
                columns |= {f"conversions.on.{i}": column for i, column in enumerate(self._schema.conversions.ons())}
        if schema.order:
            columns["order"] = schema.order
        if self._split.column:
            columns["split.column"] = self._split.column
        columns.update({f"tables.{side.name}.on": side.on for side in self._sides})
        columns.update({f"unique.{i}": column for i, column in enumerate(schema.unique)})
        columns.update({f"roles.{role}": column for role, column in self._role_columns.items()})
        return columns

    def _outcomes(self, frame: Frame, times: Times) -> tuple[Outcomes | None, list[Check]]:
        """The outcomes of the rows (None if not labelled), and the rows of which they cannot be read."""
        if not self._labelled:
            return None, []
        return read_outcomes(frame, self._schema.impressions, self._form, times)

    @property
    def _merged(self) -> bool:
        """Whether labels are complete only when the whole log is read: with `on_repeat = "any"`."""
        return self.on_repeat == "any"

    def _count_other_part(self, frame: Frame, which: np.ndarray) -> None:
        """Count rows of no part, with the values of the column or the files that no part lists."""
        if not which.any():
            return
        self._audit.count_lines(IMPRESSIONS, "other_part", frame.file, frame.lines[which])
        column = self._split.column
        values = {f"file '{frame.file}'": int(which.sum())}
        if column is not None:
            counts = text(frame.rows[column].filter(pl.Series(which))).value_counts(sort=True, name="rows")
            values = {f"{column} = '{value}'": rows for value, rows in counts.iter_rows()}
        self._audit.found(IMPRESSIONS, "other_part", values)

    def _labels(self, outcomes: Outcomes) -> Labels:
        """The labels to stage: each stage on its own, if several rows of an impression are merged later."""
        labels = outcomes.labels
        reached = outcomes.happened if self._merged else labels.reached
        times = dict(labels.times)
        if self._schema.conversions is not None and self._schema.conversions.time is not None:
            times["conversion"] = np.zeros(len(labels), np.int64)  # filled in when conversions are joined
        return Labels(dict(reached), times, None, labels.weight)

    def _orphans(self, frame: Frame, outcomes: Outcomes | None, bad: np.ndarray) -> np.ndarray:
        """Good rows with a stage but not the one before it. Counts them. Shape: bad bool (n,) -> bool (n,)."""
        orphan = np.zeros(len(bad), bool)
        if outcomes is None or self._merged:
            return orphan
        for stage, happened in outcomes.happened.items():
            orphan |= happened & ~outcomes.labels[stage]
        orphan &= ~bad
        if self._on_orphan == "error" and orphan.any():
            refuse_orphan(frame.where(int(orphan.argmax())))
        outcome = "left out" if self._on_orphan == "drop" else None
        self._audit.count_lines(IMPRESSIONS, "conversion_without_click", frame.file, frame.lines[orphan], outcome)
        return orphan

    def _inexact(self, frame: Frame) -> list[Check]:
        """Rows with an inexact id in a column that is no field: a key, a role, of `unique` or of the split."""
        columns = dict.fromkeys(column for purpose, column in self._columns().items() if purpose.startswith(IDS))
        return [Check("bad_id", inexact(frame.rows[column]), (column,)) for column in columns]

    def _identity(self, frame: Frame, columns: Iterable[str], times: Times) -> np.ndarray:
        """Fingerprints of some columns, equal for equal values however they are stored. Shape: uint64 (n, 2)."""
        values = {
            c: where(pl.Series(~times[c][1]), pl.Series(times[c][0])) if c in times else self._column(frame, c)
            for c in columns
        }
        return fingerprints(pl.DataFrame(values), list(values))

    def _column(self, frame: Frame, name: str) -> pl.Series:
        return without_missing(frame.rows[name], self._form)

    def _lot(self, frame: Frame, columns: Iterable[str], times: Times) -> np.ndarray:
        """What decides the part of each row by chance: its user, or its content. Shape: uint64 (n, 2).

        A row without a user is drawn by its content: such rows are not one user.
        """
        columns = self._schema.impressions.unique or columns
        if self._split.by != "user":
            return self._identity(frame, columns, times)
        user = self._user_column()
        there, prints = (text(self._column(frame, user)) != "").to_numpy(), self._identity(frame, [user], times)
        return prints if there.all() else np.where(there[:, None], prints, self._identity(frame, columns, times))

    def _content(self, frame: Frame, wanted: Mapping[str, str], times: Times) -> np.ndarray:
        """What decides the fold of each row: its fields, keys and time. Shape: uint64 (n, 2).

        A row whose outcome changes stays in its fold. Otherwise its fold would tell of its outcome.
        """
        outcomes = {
            c for purpose, c in wanted.items() if purpose in (*STAGES, "weight") or purpose.startswith("times.")
        }
        known = ("fields.", "tables.", "unique.", "roles.user", "roles.item", "roles.history.")
        columns = (c for purpose, c in wanted.items() if purpose == "order" or purpose.startswith(known))
        return self._identity(frame, [c for c in dict.fromkeys(columns) if c not in outcomes], times)

    def _user_column(self) -> str:
        """The column of the impressions that identifies the user. Raises: ConfigError if there is none."""
        assert self.user is not None
        field = next((f for f in self.fields if f.name == self.user), None)
        if field is None:
            return self.user
        if field.table == IMPRESSIONS:
            return field.source
        side = self._schema.tables[field.table]
        if field.source != side.key:
            must = "with by = 'user' in [split], the user must be a column of the impressions, or the key of a table"
            raise ConfigError(must, f"'{field.name}' is another column of table '{field.table}'")
        return side.on or side.key

    def _role(self, frame: Frame, role: str) -> np.ndarray:
        return self._role_codes[role].encode(raw_ids(self._column(frame, self._role_columns[role])))

    def _truth(self) -> Truth | None:
        schema = self._schema.truth
        return None if schema is None else Truth(schema, self._reader.find(schema.files))
