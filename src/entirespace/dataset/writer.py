"""Staged codes -> the files of a dataset, the manifest last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .._version import __version__
from ..config import digest
from ..core.rows import IMPRESSIONS, PARTS, Field, Ragged
from ..features.history.store import FOLDER as HISTORY_FOLDER
from ..features.layout import LAYOUT, vocabulary_file
from ..logs.audit import Audit, Quarantine
from ..logs.source import Source
from ..progress import Progress
from ..records import FileRecord
from .assign import TRAINING
from .fit import Fitted
from .history import StagedHistory
from .jobs import Jobs
from .manifest import (
    EARLIER,
    FOLD,
    HISTORY,
    LINK,
    MANIFEST,
    ORDER,
    ROLE,
    SEGMENT,
    TIME,
    TRUTH,
    USER,
    WEIGHT,
    FieldRecord,
    Manifest,
    Roles,
    TableRecord,
)
from .stage import Stage
from .write import PartFiles, Role, TableFile, distinct

TABLE_GROUP = 16_384  # rows of a row group of a side table, small because a row can have hundreds of ids
SMALL = 1 << 14  # fields with at most this many embedding rows are dictionary-encoded


class Writer:
    """Writes a dataset into a folder.

    Args:
        source: the reader, for fields, roles and stages.
        stages: table -> its stage, including the impressions.
        parts: the part of each impression, an index into PARTS or DROPPED. Shape: uint8 (n,).
        fitted: the encoders.
        out: the folder.
        jobs: runs the work on all cores.
        history: the codes and folds of the impressions; None: there is no history.
    """

    def __init__(
        self,
        source: Source,
        stages: Mapping[str, Stage],
        parts: np.ndarray,
        fitted: Fitted,
        out: Path,
        jobs: Jobs,
        history: StagedHistory | None = None,
    ) -> None:
        self._source, self._stages, self._parts, self._fitted = source, stages, parts, fitted
        self._history = history
        self._out, self._jobs = out, jobs
        self._impressions = stages[IMPRESSIONS]
        self._tables = {name: stage for name, stage in stages.items() if name != IMPRESSIONS}
        self._fields = {name: tuple(f for f in source.fields if f.table == name) for name in stages}
        self._labelled = source.stages[0] in self._impressions.columns
        # field -> int64 (parts, 2): the numbers of ids and of unseen ids in each part
        self._statistics = {f.name: np.zeros((len(PARTS), 2), np.int64) for f in fitted.encoders.fields}

    def write(self, schema: dict[str, Any], audit: Audit, progress: Progress) -> None:
        """Write all files, the manifest last.

        Args:
            schema: a description of the log, stored in the manifest.
            audit: stored in the manifest.
            progress: advances by rows written.
        """
        for folder in ("tables", "impressions"):
            (self._out / folder).mkdir()
        total = self._impressions.rows + sum(stage.rows for stage in self._tables.values())
        progress.start("writing impressions and tables", total, "rows")
        users, items = self._role("user", self._source.user), self._role("item", self._source.item)
        parts = [
            PartFiles(self._out, part, self._impressions, self._small(IMPRESSIONS), self._source.stages)
            for part in PARTS
        ]
        self._jobs(
            [
                *(partial(self._write_table, table) for table in self._tables),
                *(partial(self._write_part, i, parts[i], users, items) for i in range(len(PARTS))),
            ]
        )
        layout = self._fitted.encoders.save(self._out, self._jobs)
        segments = self._write_segments()
        progress.done()
        names = sorted(str(p.relative_to(self._out)) for p in self._out.rglob("*") if p.is_file())
        names = [name for name in names if not name.startswith("stage/")]
        files = dict(zip(names, self._jobs(partial(FileRecord.of, self._out / name) for name in names), strict=True))
        content = {name: about.sha256 for name, about in files.items() if name not in (Quarantine.NAME, LAYOUT)}
        columns = self._impressions.columns
        Manifest(
            made_by=f"entirespace {__version__}",
            digest=digest([content, [f.name for f in self._fitted.encoders.fields]]),
            layout=layout.digest,
            schema=json.loads(json.dumps(schema)),
            stages=self._source.stages,
            labelled=self._labelled,
            roles=Roles(user=self._source.user, item=self._source.item),
            truth=TRUTH[0] in columns,
            timed=tuple(stage for stage in self._source.stages if TIME + stage in columns),
            weighted=WEIGHT in columns,
            observed_until=None,
            users=distinct(parts, "users"),
            items=distinct(parts, "items"),
            parts={part: files_.record() for part, files_ in zip(PARTS, parts, strict=True)},
            fields=tuple(self._field_record(f) for f in self._fitted.encoders.fields),
            tables={t: TableRecord(file=_table_file(t), rows=stage.rows + 1) for t, stage in self._tables.items()},
            vocabularies={f.name: vocabulary_file(f.name) for f in self._fitted.encoders.fields},
            segments=segments,
            audit=audit.as_dict(),
            files={name: about for name, about in files.items() if not name.startswith(f"{HISTORY_FOLDER}/")},
        ).write(self._out / MANIFEST)

    def _field_record(self, f: Field) -> FieldRecord:
        stage, counts = self._stages[f.table], self._statistics[f.name]
        return FieldRecord(
            name=f.name,
            table=f.table,
            kind=f.kind,
            size=self._fitted.encoders[f.name].size,
            single=stage.single.get(f.name, True),
            weighted=stage.weighted.get(f.name, False),
            ids=dict(zip(PARTS, counts[:, 0].tolist(), strict=True)),
            unseen=dict(zip(PARTS, counts[:, 1].tolist(), strict=True)),
        )

    def _write_table(self, table: str) -> None:
        """Write a side table, its empty row first."""
        stage, fields, links = self._tables[table], self._fields[table], self._fitted.links[table]
        empty: dict[str, Ragged] = {}
        for f in fields:
            kind = np.float32 if f.kind == "number" else np.int32
            if stage.single[f.name]:  # the empty row has one id, "unseen"
                empty[f.name] = Ragged(np.zeros(1, kind))
                self._statistics[f.name] += links[:, :1]
            else:
                empty[f.name] = Ragged(np.zeros(0, kind), np.zeros(2, np.int64))
        keys = [] if self._history is None else [(HISTORY + k, codes) for k, codes in self._history.of_table(table)]
        empty |= {name: codes.take(np.zeros(1, np.int64)) for name, codes in keys}
        with TableFile(self._out / _table_file(table), stage, self._small(table), TABLE_GROUP) as file:
            file.write(empty)
            for start, batch in stage.batches():
                times, content = links[:, 1 + start : 1 + start + batch.num_rows], {}
                for f in fields:
                    content[f.name], totals = self._fitted.encode(f, stage.field(batch, f.name), times)
                    self._statistics[f.name] += totals
                content |= {name: codes.take(np.arange(1 + start, 1 + start + batch.num_rows)) for name, codes in keys}
                file.write(content)
                self._jobs.advance(batch.num_rows)

    def _write_part(self, part: int, files: PartFiles, users: Role, items: Role) -> None:
        """Write the impressions of one part."""
        stage, fields = self._impressions, self._fields[IMPRESSIONS]
        kept = [name for name in (ORDER, WEIGHT, *TRUTH) if name in stage.columns]
        kept += [name for name in stage.columns if name.startswith(TIME)]
        for start, batch in stage.batches():
            rows = np.flatnonzero(self._parts[start : start + batch.num_rows] == part)
            if not len(rows):
                continue
            times, content = np.ones((1, len(rows)), np.int64), {}
            for f in fields:
                bags = stage.field(batch, f.name)
                bags = bags if len(rows) == len(bags) else bags.take(rows)
                content[f.name], totals = self._fitted.encode(f, bags, times)
                self._statistics[f.name][part] += totals[0]
            flat: dict[str, np.ndarray] = {}
            if self._history is not None:
                content |= self._keys(batch, rows, part, start)
                flat[FOLD] = self._history.folds[start : start + batch.num_rows]
                for name, counts in (self._history.earlier(np.arange(start, start + batch.num_rows)) or {}).items():
                    flat.update({f"{EARLIER}{name}.{w}": counts[:, w] for w in range(counts.shape[1])})
            for stage_name in self._source.stages:
                unknown = np.zeros(batch.num_rows, bool)
                flat[stage_name] = batch[stage_name].to_numpy(zero_copy_only=False) if self._labelled else unknown
            flat[USER] = users.of(batch)
            flat.update({name: batch[name].to_numpy() for name in kept})
            flat.update({SEGMENT + name: batch[ROLE + SEGMENT + name].to_numpy() for name in self._source.segments})
            flat.update({LINK + t: batch[LINK + t].to_numpy() + 1 for t in self._tables})
            item = items.of(batch)
            if len(rows) < batch.num_rows:
                flat, item = {name: column[rows] for name, column in flat.items()}, item[rows]
            files.write(content, flat, item)
            self._jobs.advance(len(rows))
        files.finish()

    def _keys(self, batch: pa.RecordBatch, rows: np.ndarray, part: int, start: int) -> dict[str, Ragged]:
        """The codes of the history's keys to store with the chosen rows of a batch, which are of one part."""
        assert self._history is not None
        history = self._history.history
        codes = {name: bags.take(rows) for name, bags in self._history.codes(batch).items()}
        variant = self._history.variant(np.full(len(rows), part), self._history.folds[start + rows])
        earlier = self._history.earlier(start + rows) if part == TRAINING else None
        missing = history.without_history(codes, variant, earlier)
        for key, names in history.spec.names_by_key.items():
            for name in names:
                self._statistics[name][part] += len(rows), int(missing[key].sum())
        return {HISTORY + name: bags for name, bags in self._history.own(codes).items()}

    def _small(self, table: str) -> list[str]:
        """The fields with so few ids that dictionary encoding makes the file smaller."""
        encoders = self._fitted.encoders
        return [f.name for f in self._fields[table] if f.kind != "number" and encoders[f.name].size <= SMALL]

    def _role(self, role: str, name: str | None) -> Role:
        """The codes of users or items. They differ also for ids that share the embedding row "unseen"."""
        if ROLE + role in self._impressions.columns:
            return Role(None, None, ROLE + role, no_id=0)  # see `Codes`
        field = next((f for f in self._source.fields if f.name == name), None)
        if field is None:
            return Role(None, None)
        first = self._source.ids(field.name)[:1].to_pylist()
        return Role(field, self._stages[field.table], no_id=0 if first in ([None], [""]) else -1)

    def _write_segments(self) -> dict[str, str]:
        """Write the values of the columns to measure by: column -> its file."""
        files = {name: f"segments/{name}.parquet" for name in self._source.segments}
        for name, file in files.items():
            (self._out / file).parent.mkdir(exist_ok=True)
            ids = self._source.role_ids(SEGMENT + name).cast(pa.string()).fill_null("")
            pq.write_table(pa.table({"id": ids}), self._out / file, compression="zstd", write_page_checksum=True)
        return files


def _table_file(table: str) -> str:
    return f"tables/{table}.parquet"
