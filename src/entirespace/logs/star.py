"""The reader of star-schema logs: CSV or Parquet, one impressions table and side tables joined by a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.labels import Labels
from ..core.rows import IMPRESSIONS, Ragged
from ..errors import ConfigError, DataError
from ..features.codes import Codes, HashedCodes
from ..features.layout import Encoders
from ..features.values import Content, number, raw_ids, read, text
from ..progress import SILENT, Progress
from . import values
from .audit import Audit, Outcome, Quarantine
from .files import File, Frame, columns_of, frames
from .find import find, matches
from .schema import STAGES, LabelSchema, Schema, SplitSchema, TableSchema
from .source import Block, OnOrphan, refuse_orphan
from .truth import Truth


class LogSource:
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
        progress: Progress = SILENT,
    ) -> None:
        self._allow_outside = allow_outside
        self._schema, self._raw, self._audit, self._quarantine = schema, raw, audit, quarantine
        self._on_orphan = on_orphan
        self._split, self._labelled, self._progress = split or schema.split, labelled, progress
        self.fields = schema.fields() if encoders is None else encoders.adopted(schema.fields(), "the schema")
        self.keys, self.stages = schema.keys(), STAGES
        self.user, self.item = schema.roles.user, schema.roles.item
        self._codes = {
            f.name: HashedCodes(f.hash) if f.hash is not None else Codes() for f in self.fields if f.kind != "number"
        }
        self._keys = {table: Codes() for table in schema.tables}
        self._ticks: int | None = None  # integer steps per unit of time (see `values.ticks`); None: no row was read yet
        self._row_of_key: dict[str, np.ndarray] = {}  # side table -> row number of each key code; -1: no such row

    def ids(self, field: str) -> pa.Array:
        """The raw ids of a field by code. Shape: text or int64 (C,); a null int64 is the empty id."""
        return self._codes[field].ids()

    # Side tables

    def side_tables(self) -> Iterator[tuple[str, Block]]:
        """(table, block) for all blocks of all side tables."""
        for name, table in self._schema.tables.items():
            rows_before = 0
            row_of_key = np.full(0, -1, np.int32)
            for frame in self._frames(name, table, {"key": table.key}):
                keys = raw_ids(frame.rows[table.key])
                missing = keys == "" if keys.dtype == pl.String else keys.is_null()
                bad = self._quarantine_bad(frame, name, [("bad_key", missing.to_numpy())], None)
                codes = self._keys[name].encode(keys)
                row_of_key = _grown(row_of_key, len(self._keys[name]))
                # if several rows have the same key, the first good one is used
                fields, bad = self._fields(frame, name, bad, partial(_repeated, codes, row_of_key[codes] >= 0))
                kept = codes[~bad]
                row_of_key[kept] = np.arange(rows_before, rows_before + len(kept), dtype=np.int32)
                rows_before += len(kept)
                yield name, Block(fields, len(kept))
            self._row_of_key[name] = row_of_key

    # Impressions

    def impressions(self) -> Iterator[Block]:
        """The blocks of the impressions; read `side_tables` to the end first."""
        schema, audit = self._schema.impressions, self._audit
        truth = self._truth()
        latest = np.iinfo(np.int64).min
        for frame in self._frames(IMPRESSIONS, schema, self._columns()):
            rows = frame.rows
            outcomes, checks = self._outcomes(rows)
            order = None
            if schema.order is not None:
                order, missing = values.time(rows[schema.order], self._ticks_of(rows[schema.order]))
                checks.append(("bad_order", missing))
            bad = self._quarantine_bad(frame, IMPRESSIONS, checks, None)
            part, neither = self._part(frame)
            self._count(frame, "other_part", neither & ~bad)
            fields, bad = self._fields(frame, IMPRESSIONS, bad | neither)
            orphan = self._orphans(frame, outcomes, bad)
            good = ~bad & ~orphan if self._on_orphan == "drop" else ~bad
            if not np.array_equal(good, ~bad):
                fields = {name: f.take(np.flatnonzero(good[~bad])) for name, f in fields.items()}
            if order is not None:
                order = order[good]
                before = np.maximum.accumulate(np.concatenate(([latest], order)))[:-1]
                self._count(frame, "out_of_time_order", _among(good, order < before))
                latest = max(latest, int(order.max(initial=latest)))
            links = {}
            for name, side in self._schema.tables.items():
                codes = self._keys[name].encode(raw_ids(rows[side.on or side.key]))[good]
                self._row_of_key[name] = _grown(self._row_of_key[name], len(self._keys[name]))
                links[name] = self._row_of_key[name][codes]
                self._count(frame, "missing_side_row", _among(good, links[name] < 0))
            fingerprint = None
            if schema.unique:
                key = rows.select(pl.struct(schema.unique)).to_series()
                fingerprint = np.stack([key.hash(seed).to_numpy() for seed in (0, 1)], axis=1)[good]
            yield Block(
                fields,
                int(good.sum()),
                labels=None if outcomes is None else outcomes.labels.take(good),
                order=order,
                part=None if part is None else part[good],
                links=links,
                truth=truth.take(frame.raw_rows, (frame.lines - frame.start)[good]) if truth else None,
                fingerprint=fingerprint,
            )
            audit.check(IMPRESSIONS, self._share)
        if truth:
            truth.end()

    def _ticks_of(self, time: pl.Series) -> int:
        """Integer steps per unit of time. The first rows decide, because all rows must use the same unit."""
        ticks = values.ticks(time)
        if self._ticks is None:
            self._ticks = ticks
        if ticks > self._ticks:
            self._audit.note(
                f"{self._schema.impressions.order}: fractions are cut off, because the first rows have none"
            )
        return self._ticks

    def _columns(self) -> dict[str, str]:
        """Purpose -> column, for the columns of the impressions that are not fields."""
        schema = self._schema.impressions
        columns = {}
        if self._labelled:
            columns = {stage: _column(label) for stage, label in schema.labels.by_stage().items()}
            columns |= {f"times.{stage}": column for stage, column in schema.times.items()}
            columns |= {"weight": schema.weight} if schema.weight else {}
        if schema.order:
            columns["order"] = schema.order
        if self._split.column:
            columns["split.column"] = self._split.column
        columns.update({f"tables.{name}.on": side.on or side.key for name, side in self._schema.tables.items()})
        columns.update({f"unique.{i}": column for i, column in enumerate(schema.unique)})
        return columns

    def _part(self, frame: Frame) -> tuple[np.ndarray | None, np.ndarray]:
        """(part of each row: 0 train, 1 test, or None if the split is not by column or file; rows of neither part).

        Shape: int8 (n,) or None, bool (n,).
        """
        split, n = self._split, len(frame.rows)
        if split.by in ("order", "all"):
            return None, np.zeros(n, bool)
        assert isinstance(split.train, tuple)
        if split.by == "column":
            assert split.column is not None
            column = text(frame.rows[split.column])
            test, train = column.is_in(split.test).to_numpy(), column.is_in(split.train).to_numpy()
        else:
            test = np.full(n, any(matches(p, frame.file) for p in split.test))
            train = np.full(n, any(matches(p, frame.file) for p in split.train))
        return test.astype(np.int8), ~(train | test)

    def _outcomes(self, rows: pl.DataFrame) -> tuple[_Outcomes | None, list[tuple[str, np.ndarray]]]:
        """The outcomes of the rows (None if not labelled), and (reason, bad rows) for each way they cannot be read."""
        schema = self._schema.impressions
        if not self._labelled:
            return None, []
        happened, times, bad = {}, {}, np.zeros(len(rows), bool)
        for stage, label in schema.labels.by_stage().items():
            happened[stage], unread = values.label(rows[_column(label)], label)
            bad |= unread
        checks = [("bad_label", bad)]
        for stage, column in schema.times.items():
            times[stage], missing = values.time(rows[column], self._ticks_of(rows[column]))
            checks.append(("bad_time", missing & happened[stage]))
        weight = None
        if schema.weight is not None:
            weight, unread = number(rows[schema.weight])
            checks.append(("bad_weight", unread | ~((weight >= 0) & np.isfinite(weight))))
            weight = weight.astype(np.float32)
        return _Outcomes(happened, Labels.of(happened, times, None, weight)), checks

    def _orphans(self, frame: Frame, outcomes: _Outcomes | None, bad: np.ndarray) -> np.ndarray:
        """Good rows with a stage but not the one before it. Counts them. Shape: bad bool (n,) -> bool (n,)."""
        orphan = np.zeros(len(bad), bool)
        if outcomes is None:
            return orphan
        for stage, happened in outcomes.happened.items():
            orphan |= happened & ~outcomes.labels[stage]
        orphan &= ~bad
        if self._on_orphan == "error" and orphan.any():
            refuse_orphan(frame.file, int(frame.lines[orphan.argmax()]))
        outcome = "left out" if self._on_orphan == "drop" else None
        self._count(frame, "conversion_without_click", orphan, outcome)
        return orphan

    def _count(self, frame: Frame, reason: str, which: np.ndarray, outcome: Outcome | None = None) -> None:
        """Count impressions that are not bad. Shape: which bool (n,)."""
        self._audit.count_lines(IMPRESSIONS, reason, frame.file, frame.lines[which], outcome)

    # Impressions and side tables

    def _frames(self, name: str, table: TableSchema, columns: dict[str, str]) -> Iterator[Frame]:
        """All rows of a table, counted in the audit. Every file must have every column that the schema names."""
        files = self._find(table.files)
        wanted = dict(columns)
        for field, f in table.fields.items():
            wanted[f"fields.{field}"] = f.source or field
            if f.weights:
                wanted[f"fields.{field}.weights"] = f.weights
        total, done = sum(f.size for f in files) or 1, 0.0
        self._progress.start(f"reading {name}", total, "B")
        for file in files:
            self._check_columns(name, file, table, wanted)
            for frame in frames(
                file,
                list(dict.fromkeys(wanted.values())),
                delimiter=table.delimiter,
                names=table.columns,
                bad_line=lambda line, text, file=file: self._quarantine.add(
                    file.name, line, name, "unparsable_line", text
                ),
            ):
                self._check_types(frame, table, wanted)
                self._audit.read(name, frame.raw_rows)
                done = min(done + frame.bytes, total)
                self._share = max(done / total, 1e-6)
                yield frame
                self._audit.check(name, self._share)
                self._progress.advance(frame.bytes, f"{self._audit.rows_read(name):,} rows")
        self._audit.check(name)
        self._progress.done(f"{self._audit.rows_read(name):,} rows")

    def _check_columns(self, table: str, file: File, schema: TableSchema, wanted: dict[str, str]) -> None:
        there = columns_of(file, schema.delimiter, schema.columns)
        twice = sorted({c for c in there if there.count(c) > 1 and c in wanted.values()})
        if twice:
            raise DataError(
                "each column of a file must have a different name", f"'{twice[0]}' occurs twice", where=file.name
            )
        for purpose, column in wanted.items():
            if column not in there:
                place = f"[{table}]" if table == IMPRESSIONS else f"[tables.{table}]"
                raise ConfigError(
                    f"the file must have the column that the schema's {place} names for {purpose}",
                    f"no column '{column}'; it has {', '.join(there[:40])}",
                    where=file.name,
                    do='Correct the schema, or set delimiter = "..." if the columns are separated by another character',
                )
        unused = [c for c in there if c not in wanted.values()]
        if unused:
            self._audit.note(f"{file.name}: columns not used: {', '.join(unused)}")

    def _check_types(self, frame: Frame, table: TableSchema, wanted: dict[str, str]) -> None:
        """Refuse a Parquet column of lists, unless it holds the ids or weights of a field of kind "ids"."""
        bags = {f"fields.{name}" for name, f in table.fields.items() if f.kind == "ids"}
        for purpose, column in wanted.items():
            kind = frame.rows[column].dtype
            lists = isinstance(kind, pl.List | pl.Array) and not kind.inner.is_nested()
            if kind.is_nested() and not (lists and purpose.removesuffix(".weights") in bags):
                raise ConfigError(
                    f"the column for {purpose} must hold one value per row",
                    f"column '{column}' holds {kind}",
                    where=frame.file,
                    do='kind = "ids" reads lists of ids',
                )

    def _quarantine_bad(
        self, frame: Frame, table: str, checks: list[tuple[str, np.ndarray]], before: np.ndarray | None
    ) -> np.ndarray:
        """Quarantine each row with the reason of the first check that it fails, and return all bad rows.

        `before` are the rows that are bad already. Shape: bool (n,) each.
        """
        bad = np.zeros(len(frame.rows), bool) if before is None else before.copy()
        for reason, failed in checks:
            for i in np.flatnonzero(failed & ~bad):
                text = " ".join(f"{k}={v}" for k, v in frame.rows.row(int(i), named=True).items())
                self._quarantine.add(frame.file, int(frame.lines[i]), table, reason, text)
            bad |= failed
        return bad

    def _fields(
        self,
        frame: Frame,
        table: str,
        bad: np.ndarray,
        repeated: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> tuple[dict[str, Ragged], np.ndarray]:
        """(field -> codes of the good rows, rows that are bad). Rows whose fields cannot be read become bad.

        Args:
            bad: the rows that are bad already. Shape: bool (n,).
            repeated: given the bad rows, finds good rows that repeat the key of another row.
        """
        mine = [f for f in self.fields if f.table == table]
        found = {f.name: read(frame.rows, f) for f in mine}
        bad = self._quarantine_bad(frame, table, [c for _, checks in found.values() for c in checks], bad)
        if repeated is not None:
            bad = self._quarantine_bad(frame, table, [("duplicate_key", repeated(bad))], bad)
        if bad.any():
            good = frame.rows.filter(pl.Series(~bad))
            found = {f.name: read(good, f) for f in mine}
        return {name: self._coded(name, content) for name, (content, _) in found.items()}, bad

    def _coded(self, name: str, content: Content) -> Ragged:
        if isinstance(content, np.ndarray):
            return Ragged(content)
        if isinstance(content, pl.Series):
            return Ragged(self._codes[name].encode(content))
        offsets = np.concatenate(([0], np.cumsum(content.lengths)))
        return Ragged(self._codes[name].encode(content.ids), offsets, content.weights)

    def _truth(self) -> Truth | None:
        schema = self._schema.truth
        return None if schema is None else Truth(self._find(schema.files), schema.pctr, schema.pcvr)

    def _find(self, patterns: tuple[str, ...]) -> list[File]:
        return find(patterns, self._raw, allow_outside=self._allow_outside, note=self._audit.note)


@dataclass(frozen=True)
class _Outcomes:
    """The outcomes of n impressions as logged, and the labels made from them."""

    happened: Mapping[str, np.ndarray]  # stage -> bool (n,), each stage on its own, as the log has it
    labels: Labels  # a stage counts as reached only if every earlier one is


def _repeated(codes: np.ndarray, known: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Good rows whose key occurred in an earlier good row of this frame, or in an earlier frame (`known`).

    Shape: codes int32 (n,), known bool (n,), bad bool (n,) -> bool (n,).
    """
    good, first = np.flatnonzero(~bad), np.zeros(len(codes), bool)
    first[good[np.unique(codes[good], return_index=True)[1]]] = True
    return ~bad & (~first | known)


def _among(good: np.ndarray, which: np.ndarray) -> np.ndarray:
    """A mask over the good rows -> a mask over all rows. Shape: bool (n,), bool (good.sum(),) -> bool (n,)."""
    among = good.copy()
    among[good] = which
    return among


def _column(schema: str | LabelSchema) -> str:
    return schema if isinstance(schema, str) else schema.source


def _grown(rows: np.ndarray, size: int) -> np.ndarray:
    """The array, extended with -1 to at least `size` entries."""
    if size <= len(rows):
        return rows
    return np.concatenate([rows, np.full(max(size, 2 * len(rows)) - len(rows), -1, np.int32)])
