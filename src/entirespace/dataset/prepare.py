"""Raw logs -> a dataset: read once, stage, split, fit vocabularies on the training part, write.

    reader (logs, aliccp) --codes--> stage --> drop exact copies --> split in time --> count in training
                                       `------> rows of the embedding --> Parquet, by part --> manifest

Memory holds the distinct raw ids and one block of rows, never the impressions. The folder appears under its
name only when it is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .._version import __version__
from ..config import digest
from ..core.rows import IMPRESSIONS, PARTS, Field, Ragged
from ..errors import DataError
from ..features.encoders import Vocabulary, bucket_rows, fit_buckets, fit_ids
from ..kernels.recode import count, recode, refer
from ..kernels.threads import THREADS, ahead
from ..logs.audit import Audit, Quarantine
from ..logs.schema import SplitSchema
from ..logs.source import Source
from ..progress import SILENT, Progress
from .aside import folder_beside
from .dataset import FORMAT, LINK, MANIFEST, TRUTH, Dataset, sha256
from .split import threshold
from .stage import Stage
from .write import PartFiles, Role, TableFile, distinct

SAMPLE = 1_000_000  # numbers that quantile buckets are fitted on; fewer than that: all of them
TABLE_GROUP = 16_384  # rows of a side table in a row group: its rows may hold hundreds of ids
SMALL = 1 << 14
FINGERPRINTS = 500_000  # of them are sorted at once, if no more than 256 pieces come of it

TRAINING, VALIDATING, TESTING, DROPPED = 0, 1, 2, 3  # what a staged impression becomes


def prepare(
    open_source: Callable[[Audit, Quarantine], Source],
    out: Path,
    *,
    split: SplitSchema,
    schema: dict[str, Any],
    max_bad: float = 0.001,
    force: bool = False,
    progress: Progress = SILENT,
) -> Dataset:
    """Prepare a dataset.

    Args:
        open_source: opens the reader over an audit and a quarantine.
        out: the dataset's folder; it must not exist, or hold a dataset to replace if `force`.
        split: who trains, validates and tests.
        schema: what the manifest tells of the log's schema.
        max_bad: the share of a table's rows that may be put aside as bad.

    Raises: DataError for a hopeless log; then nothing is left at `out`, and what was there before still is.
    """
    _check_place(out, force)
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_beside(out) as work:
        audit = Audit(max_bad)
        (work / "stage").mkdir()
        with Quarantine(work, audit) as quarantine:
            source = open_source(audit, quarantine)
            staged = _Staged(source, work / "stage", audit)
        _Writer(source, staged, split, work, audit, progress).write(schema)
        shutil.rmtree(work / "stage")
        work.chmod(0o755)
        old = work.with_suffix(".old")
        if out.exists():  # aside first: at no time is half a dataset under its name
            out.rename(old)
        work.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    return Dataset(out)


def _check_place(out: Path, force: bool) -> None:
    """Raises: DataError where something else than a dataset to replace stands at `out`."""
    must = "the dataset's folder must be new or empty"
    for parent in out.parents:
        if parent.exists() and not parent.is_dir():
            raise DataError(must, f"{parent} is a file", where=str(out), do="Name another")
    if out.exists() and not out.is_dir():
        raise DataError(must, "it is a file", where=str(out), do="Name another")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / MANIFEST).exists():
        here = ", ".join(sorted(p.name for p in out.iterdir())[:5])
        raise DataError(must, f"it is no dataset, and holds {here}", where=str(out), do="Name another")
    if not force:
        raise DataError(must, "it holds a dataset", where=str(out), do="--force replaces it")


class _Staged:
    """A log as codes on disk: the impressions, and each side table under its name."""

    def __init__(self, source: Source, folder: Path, audit: Audit) -> None:
        names = dict.fromkeys([IMPRESSIONS, *(f.table for f in source.fields)])
        self.fields = {table: tuple(f for f in source.fields if f.table == table) for table in names}
        self.tables = {t: Stage(folder / f"{t}.arrow", self.fields[t]) for t in names if t != IMPRESSIONS}
        for table, block in source.side_tables():
            self.tables[table].write(block)
        self.impressions = Stage(folder / f"{IMPRESSIONS}.arrow", self.fields[IMPRESSIONS])
        for block in ahead(source.impressions()):
            if block.rows:
                self.impressions.write(block)
        for stage in (self.impressions, *self.tables.values()):
            stage.close()
        if not self.impressions.rows:
            told = audit.as_dict()["tables"].get(IMPRESSIONS, {"read": 0, "reasons": {}})
            why = [f"{r['rows']:,} are {slug} ({r['sentence']})" for slug, r in told["reasons"].items()]
            came = f"of {told['read']:,} rows not one can be used" + (f": {'; '.join(why)}" if why else "")
            raise DataError("a log must hold impressions", came)

    def stage(self, table: str) -> Stage:
        return self.impressions if table == IMPRESSIONS else self.tables[table]


class _Writer:
    """Staged codes -> the files of a dataset."""

    def __init__(
        self, source: Source, staged: _Staged, split: SplitSchema, out: Path, audit: Audit, progress: Progress
    ) -> None:
        self._source, self._staged, self._split, self._out = source, staged, split, out
        self._audit, self._progress = audit, progress
        self._n = staged.impressions.rows
        # one byte an impression, on disk: what becomes of it
        self._fate = np.memmap(out / "stage" / "fate", np.uint8, "w+", shape=(self._n,))
        self._links: dict[str, np.ndarray] = {}  # table -> int64 (parts, rows + 1): references by part
        self._vocabularies: dict[str, Vocabulary] = {}
        self._rows: dict[str, np.ndarray] = {}  # field -> int32, the row of each code
        # field -> int64 (parts, 2): ids, unseen ids
        self._statistics = {f.name: np.zeros((len(PARTS), 2), np.int64) for f in source.fields}
        self._lock, self._ended = Lock(), False

    def write(self, schema: dict[str, Any]) -> None:
        fields, tables = self._source.fields, self._staged.tables
        rows = sum(self._staged.stage(f.table).rows for f in fields)
        self._progress.start("fitting vocabularies", 2 * self._n + rows, "rows")
        self._drop_copies()
        self._decide_parts()
        self._fit()
        self._progress.done(f"{sum(v.size for v in self._vocabularies.values()):,} rows of the embedding")
        for folder in ("tables", "vocabulary", "impressions"):
            (self._out / folder).mkdir()
        self._progress.start(
            "writing impressions and tables", self._n + sum(stage.rows for stage in tables.values()), "rows"
        )
        users, items = self._role(self._source.user), self._role(self._source.item)
        jobs = [partial(self._write_table, table) for table in tables]
        jobs += [partial(self._write_part, part, users, items) for part in range(len(PARTS))]
        jobs += [partial(self._write_vocabulary, vocabulary) for vocabulary in self._vocabularies.values()]
        parts = self._at_once(jobs)[len(tables) :][: len(PARTS)]
        self._progress.done()
        self._write_manifest(schema, dict(zip(PARTS, parts, strict=True)))

    def _at_once(self, jobs: Iterable[Callable[[], Any]]) -> list[Any]:
        """What the jobs return; they are done on all cores. After an error, and Ctrl-C, none goes on for long."""
        with ThreadPoolExecutor(THREADS) as pool:
            coming = [pool.submit(job) for job in jobs]
            try:
                for done in wait(coming, return_when=FIRST_EXCEPTION).done:
                    done.result()  # raises, if one failed
                return [done.result() for done in coming]
            except BaseException:
                self._ended = True
                pool.shutdown(cancel_futures=True)
                raise

    def _advance(self, rows: int) -> None:
        """Tell of progress, from any thread. Raises: InterruptedError in a job that another's error ended."""
        if self._ended:
            raise InterruptedError
        with self._lock:
            self._progress.advance(rows)

    # Which rows, and whose

    def _drop_copies(self) -> None:
        """Mark every copy of an earlier impression. Memory: a 256th of the fingerprints at a time."""
        first = next(self._staged.impressions.batches())[1]
        if "fingerprint.0" not in first.schema.names:
            return
        folder = self._out / "stage" / "fingerprints"
        folder.mkdir()
        pieces = min(256, 1 + self._n // FINGERPRINTS)
        files = [(folder / str(i)).open("wb") for i in range(pieces)]
        clicks = conversions = 0
        for start, batch in self._staged.impressions.batches():
            click, conversion = (batch[name].to_numpy(zero_copy_only=False) for name in ("click", "conversion"))
            clicks, conversions = clicks + int(click.sum()), conversions + int(conversion.sum())
            row = np.arange(start, start + batch.num_rows, dtype=np.uint64)
            prints = np.stack(
                [
                    batch["fingerprint.0"].to_numpy(),
                    batch["fingerprint.1"].to_numpy(),
                    row * np.uint64(4) + click * np.uint64(2) + conversion,
                ],
                axis=1,
            )
            piece = prints[:, 0] % np.uint64(pieces)
            for i in range(pieces):
                files[i].write(prints[piece == i].tobytes())
        copies = others = 0
        for i, file in enumerate(files):
            file.close()
            prints = np.fromfile(folder / str(i), np.uint64).reshape(-1, 3)
            prints = prints[np.lexsort((prints[:, 2], prints[:, 1], prints[:, 0]))]
            again = (prints[1:, :2] == prints[:-1, :2]).all(axis=1)
            self._fate[(prints[1:, 2][again] // np.uint64(4)).astype(np.int64)] = DROPPED
            copies += int(again.sum())
            labels = prints[:, 2] % np.uint64(4)
            first = np.maximum.accumulate(np.where(np.append(False, again), 0, np.arange(len(prints))))
            others += int((labels != labels[first]).sum())
        self._audit.count(IMPRESSIONS, "duplicate_impression", copies)
        if copies:
            before = f"{self._n:,} impressions, {clicks:,} clicks, {conversions:,} conversions"
            unlike = f"; copies with other labels than the one they repeat: {others:,}"
            self._audit.note(f"before copies were left out: {before}{unlike if others else ''}")

    def _times(self, fate: int) -> Iterator[np.ndarray]:
        """The times of the impressions that have this fate so far; without times, their numbers."""
        for start, batch in self._staged.impressions.batches():
            n = batch.num_rows
            times = batch["order"].to_numpy() if "order" in batch.schema.names else np.arange(start, start + n)
            yield times[self._fate[start : start + n] == fate]

    def _decide_parts(self) -> None:
        """Training, then of that the last tenth in time validates. Raises: DataError for an empty part."""
        fate = self._fate
        if self._split.by == "order":
            assert isinstance(self._split.train, float)
            kept = int((fate == TRAINING).sum())
            end = threshold(lambda: self._times(TRAINING), kept, self._split.train)
            self._move(lambda times, _: times >= end, TESTING)
        else:
            self._move(lambda _, part: part == 1, TESTING)
        training = int((fate == TRAINING).sum())
        if training and self._split.validation:
            end = threshold(lambda: self._times(TRAINING), training, 1 - self._split.validation)
            self._move(lambda times, _: times >= end, VALIDATING)
        sizes = {part: int((fate == i).sum()) for i, part in enumerate(PARTS)}
        for part, size in sizes.items():
            if size == 0 and (part != "validation" or self._split.validation):
                advice = {
                    "order": "Is the column of time constant? Leave out `order` to use the order of the rows",
                    "column": "Mend train and test: the values of the column that train and test",
                    "file": "Mend train and test: the patterns of the files that train and test",
                }
                raise DataError(
                    "each part must hold impressions",
                    f"the {part} part is empty ({', '.join(f'{k} {v:,}' for k, v in sizes.items())})",
                    where="[split]",
                    do=advice[self._split.by],
                )

    def _move(self, which: Callable[[np.ndarray, np.ndarray], np.ndarray], fate: int) -> None:
        """Give the training rows that `which` picks, by time and by the reader's part, another fate."""
        for start, batch in self._staged.impressions.batches():
            n = batch.num_rows
            names = batch.schema.names
            times = batch["order"].to_numpy() if "order" in names else np.arange(start, start + n)
            part = batch["part"].to_numpy() if "part" in names else np.zeros(n, np.int8)
            here = self._fate[start : start + n]
            here[(here == TRAINING) & which(times, part)] = fate
            self._progress.advance(n)

    # Vocabularies, from the training part

    def _fit(self) -> None:
        training = self._fate == TRAINING
        self._links = {t: np.zeros((len(PARTS), s.rows + 1), np.int64) for t, s in self._staged.tables.items()}
        self._at_once(partial(self._refer, table) for table in self._staged.tables)
        jobs = []
        for f in self._source.fields:
            times = training if f.table == IMPRESSIONS else self._links[f.table][TRAINING, 1:]
            jobs.append(partial(self._fit_field, f, times))
        self._at_once(jobs)
        self._vocabularies = {f.name: self._vocabularies[f.name] for f in self._source.fields}

    def _refer(self, table: str) -> None:
        """How many impressions of each part point to each row of a side table."""
        links = self._links[table]
        for start, batch in self._staged.impressions.batches():
            rows = batch[LINK + table].to_numpy() + 1  # -1, no such row, is the empty row 0
            refer(rows, self._fate[start : start + batch.num_rows], links)

    def _fit_field(self, f: Field, times: np.ndarray) -> None:
        """An id counts as often as training impressions hold it or point to its row. Shape: times (rows,)."""
        stage, rng = self._staged.stage(f.table), np.random.default_rng(0)
        numbers: list[np.ndarray] = []
        ids = pa.array([], pa.string()) if f.kind == "number" else self._source.ids(f.name)
        counts = np.zeros(len(ids) if f.hash is None else f.hash, np.int64)
        share = SAMPLE / max(1, np.count_nonzero(times))
        for start, batch in stage.batches():
            bags, here = stage.field(batch, f.name), times[start : start + batch.num_rows]
            if f.kind != "number":
                count(bags, here, counts)
            elif f.table != IMPRESSIONS:
                numbers.append(bags.values)
            else:
                values = bags.values[here]
                numbers.append(values if share >= 1 else values[rng.random(len(values)) < share])
            self._advance(batch.num_rows)
        if f.kind != "number":
            self._vocabularies[f.name], self._rows[f.name] = fit_ids(f, ids, counts)
        else:
            values = np.concatenate(numbers) if numbers else np.zeros(0)
            self._vocabularies[f.name] = fit_buckets(f, values, None if f.table == IMPRESSIONS else times)

    def _coded(self, f: Field, bags: Ragged, times: np.ndarray) -> tuple[Ragged, np.ndarray]:
        """A field with its values as rows of the embedding; ids and unseen ids of each part (see `recode`)."""
        if f.kind != "number":
            return recode(bags, self._rows[f.name], times)
        edges = self._vocabularies[f.name].edges
        assert edges is not None
        rows = bucket_rows(edges, bags.values)
        return Ragged(rows), np.stack([times.sum(axis=1), times @ (rows == 0)], axis=1)

    # Files

    def _write_table(self, table: str) -> None:
        stage, fields, links = self._staged.tables[table], self._staged.fields[table], self._links[table]
        empty = {}
        for f in fields:
            if stage.single[f.name]:  # one id, unseen
                empty[f.name] = Ragged(np.zeros(1, np.int32))
                self._statistics[f.name] += links[:, :1]
            else:
                empty[f.name] = Ragged(np.zeros(0, np.int32), np.zeros(2, np.int64))
        with TableFile(self._out / _table_file(table), stage, self._small(fields), TABLE_GROUP) as file:
            file.write(empty)
            for start, batch in stage.batches():
                times, content = links[:, 1 + start : 1 + start + batch.num_rows], {}
                for f in fields:
                    content[f.name], totals = self._coded(f, stage.field(batch, f.name), times)
                    self._statistics[f.name] += totals
                file.write(content)
                self._advance(batch.num_rows)

    def _write_vocabulary(self, vocabulary: Vocabulary) -> None:
        path = self._out / _vocabulary_file(vocabulary.field)
        pq.write_table(vocabulary.to_arrow(), path, compression="zstd", write_page_checksum=True)

    def _write_part(self, part: int, users: Role, items: Role) -> dict[str, Any]:
        """The impressions of one part; what the manifest tells of them."""
        stage, fields = self._staged.impressions, self._staged.fields[IMPRESSIONS]
        files = PartFiles(self._out, PARTS[part], stage, self._small(fields))
        for start, batch in stage.batches():
            rows = np.flatnonzero(self._fate[start : start + batch.num_rows] == part)
            if not len(rows):
                continue
            times, content = np.ones((1, len(rows)), np.int64), {}
            for f in fields:
                bags = stage.field(batch, f.name)
                content[f.name], totals = self._coded(f, bags if len(rows) == len(bags) else bags.take(rows), times)
                self._statistics[f.name][part] += totals[0]
            flat = {
                "click": batch["click"].to_numpy(zero_copy_only=False),
                "conversion": batch["conversion"].to_numpy(zero_copy_only=False),
                "user": users.of(batch),
            }
            flat.update({n: batch[n].to_numpy() for n in ("order", *TRUTH) if n in batch.schema.names})
            flat.update({LINK + t: batch[LINK + t].to_numpy() + 1 for t in self._staged.tables})
            item = items.of(batch)
            if len(rows) < batch.num_rows:
                flat, item = {name: column[rows] for name, column in flat.items()}, item[rows]
            files.write(content, flat, item)
            self._advance(len(rows))
        return files.close()

    def _small(self, fields: tuple[Field, ...]) -> list[str]:
        """Fields with so few ids that a dictionary of those of a row group makes the file smaller."""
        return [f.name for f in fields if self._vocabularies[f.name].size <= SMALL]

    def _role(self, name: str | None) -> Role:
        """The raw ids of the user or the item, told apart even where they have no row of the embedding."""
        field = next((f for f in self._source.fields if f.name == name), None)
        return Role(field, self._staged.stage(field.table) if field else None)

    def _write_manifest(self, schema: dict[str, Any], parts: dict[str, Any]) -> None:
        names = sorted(str(p.relative_to(self._out)) for p in self._out.rglob("*") if p.is_file())
        names = [name for name in names if not name.startswith("stage/")]
        hashes = self._at_once(partial(sha256, self._out / name) for name in names)
        files = {
            name: {"sha256": hash_, "bytes": (self._out / name).stat().st_size}
            for name, hash_ in zip(names, hashes, strict=True)
        }
        fields = [
            {
                **asdict(f),
                "size": self._vocabularies[f.name].size,
                "single": self._staged.stage(f.table).single[f.name],
                "weighted": self._staged.stage(f.table).weighted[f.name],
                "ids": dict(zip(PARTS, self._statistics[f.name][:, 0].tolist(), strict=True)),
                "unseen": dict(zip(PARTS, self._statistics[f.name][:, 1].tolist(), strict=True)),
            }
            for f in self._source.fields
        ]
        users = {role: distinct(parts, role) for role in ("users", "items")}
        for about in parts.values():
            for role in users:
                about[role] = int(about.pop(role + ".seen").sum())
        content = {name: about["sha256"] for name, about in files.items() if name != Quarantine.NAME}
        manifest = {
            "format": FORMAT,
            "made_by": f"entirespace {__version__}",
            "digest": digest([content, [f["name"] for f in fields]]),
            "schema": schema,
            "roles": {"user": self._source.user, "item": self._source.item},
            "truth": TRUTH[0] in next(self._staged.impressions.batches())[1].schema.names,
            **users,
            "parts": parts,
            "fields": fields,
            "tables": {t: {"file": _table_file(t), "rows": stage.rows + 1} for t, stage in self._staged.tables.items()},
            "vocabularies": {f.name: _vocabulary_file(f) for f in self._source.fields},
            "audit": self._audit.as_dict(),
            "files": files,
        }
        manifest["checksum"] = digest(json.loads(json.dumps(manifest)))
        (self._out / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _table_file(table: str) -> str:
    return f"tables/{table}.parquet"


def _vocabulary_file(field: Field) -> str:
    return f"vocabulary/{field.name}.parquet"
