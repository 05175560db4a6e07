"""Raw logs -> a dataset: read once, stage, split, fit vocabularies on the training part, write.

    reader (logs, aliccp) --codes--> stage --> drop exact copies --> split in time --> count in training
                                       `------> rows of the embedding --> Parquet, by part --> manifest

Memory holds the distinct raw ids and one block of rows, never the impressions. The folder appears under its
name only when it is whole.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .. import __version__
from ..config import digest
from ..errors import DataError
from ..progress import SILENT, Progress
from .audit import Audit, Quarantine
from .dataset import (
    FORMAT,
    LINK,
    MANIFEST,
    TRUTH,
    Dataset,
    sha256,
)
from .parts import PartFiles, Role, TableFile, distinct
from .schema import SplitSchema
from .source import IMPRESSIONS, PARTS, Field, Ragged, Source
from .split import threshold
from .stage import Stage
from .vocabulary import Vocabulary, bucket_rows, fit_buckets, fit_ids

SAMPLE = 1_000_000  # numbers that quantile buckets are fitted on; fewer than that: all of them
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
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
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
    finally:
        shutil.rmtree(work, ignore_errors=True)
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
        for block in source.impressions():
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

    def write(self, schema: dict[str, Any]) -> None:
        self._progress.start("fitting vocabularies", 3 * self._n, "rows")
        self._drop_copies()
        self._decide_parts()
        self._fit()
        self._progress.done(f"{sum(v.size for v in self._vocabularies.values()):,} rows of the embedding")
        (self._out / "tables").mkdir()
        (self._out / "vocabulary").mkdir()
        (self._out / "impressions").mkdir()
        statistics: dict[str, dict[str, tuple[int, int]]] = {}  # field -> part -> ids, unseen
        for f in self._source.fields:
            statistics[f.name] = dict.fromkeys(PARTS, (0, 0))
        tables = {table: self._write_table(table, statistics) for table in self._staged.tables}
        vocabularies = {name: self._write_vocabulary(v) for name, v in self._vocabularies.items()}
        parts = self._write_impressions(statistics)
        self._write_manifest(schema, tables, vocabularies, parts, statistics)

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
        fields = self._staged.fields[IMPRESSIONS]
        counts = {f.name: self._zeros(f) for f in fields if f.kind != "number"}
        numbers: dict[str, list[np.ndarray]] = {f.name: [] for f in fields if f.kind == "number"}
        training = int((self._fate == TRAINING).sum())
        rng = np.random.default_rng(0)
        self._links = {t: np.zeros((len(PARTS), s.rows + 1), np.int64) for t, s in self._staged.tables.items()}
        for start, batch in self._staged.impressions.batches():
            fate = self._fate[start : start + batch.num_rows]
            train = np.flatnonzero(fate == TRAINING)
            for name, count in counts.items():
                values = self._staged.impressions.field(batch, name).take(train).values
                count += np.bincount(values, minlength=len(count))
            for name, sample in numbers.items():
                values = batch[name].to_numpy()[train]
                sample.append(values if training <= SAMPLE else values[rng.random(len(values)) < SAMPLE / training])
            for table, link in self._links.items():
                rows = batch[LINK + table].to_numpy() + 1  # -1, no such row, is the empty row 0
                for i in range(len(PARTS)):
                    link[i] += np.bincount(rows[fate == i], minlength=link.shape[1])
            self._progress.advance(batch.num_rows)
        for f in fields:
            if f.kind == "number":
                self._vocabularies[f.name] = fit_buckets(f, np.concatenate(numbers[f.name]))
            else:
                self._fit_ids(f, counts[f.name])
        for table in self._staged.tables:
            self._fit_table(table)
        self._vocabularies = {f.name: self._vocabularies[f.name] for f in self._source.fields}

    def _fit_table(self, table: str) -> None:
        """A side row counts as often as training impressions point to it: not at all if none does."""
        stage, references = self._staged.tables[table], self._links[table][TRAINING, 1:]
        for f in self._staged.fields[table]:
            count, numbers = np.zeros(0, np.int64) if f.kind == "number" else self._zeros(f), []
            for start, batch in stage.batches():
                bags, weight = stage.field(batch, f.name), references[start : start + batch.num_rows]
                if f.kind == "number":
                    numbers.append(bags.values)
                else:
                    if bags.offsets is not None:
                        weight = np.repeat(weight, np.diff(bags.offsets))
                    count += np.bincount(bags.values, weight, minlength=len(count)).astype(np.int64)
            if f.kind == "number":
                values = np.concatenate(numbers) if numbers else np.zeros(0)
                self._vocabularies[f.name] = fit_buckets(f, values, references)
            else:
                self._fit_ids(f, count)

    def _zeros(self, f: Field) -> np.ndarray:
        return np.zeros(f.hash if f.hash is not None else len(self._source.ids(f.name)), np.int64)

    def _fit_ids(self, f: Field, counts: np.ndarray) -> None:
        self._vocabularies[f.name], self._rows[f.name] = fit_ids(f, self._source.ids(f.name), counts)

    def _coded(self, stage: Stage, batch: pa.RecordBatch, f: Field) -> Ragged:
        """A field of a staged batch with its values as rows of the embedding."""
        bags = stage.field(batch, f.name)
        if f.kind == "number":
            edges = self._vocabularies[f.name].edges
            assert edges is not None
            return Ragged(bucket_rows(edges, bags.values))
        return Ragged(self._rows[f.name][bags.values], bags.offsets, bags.weights)

    # Files

    def _write_table(self, table: str, statistics: dict[str, dict[str, tuple[int, int]]]) -> dict[str, Any]:
        stage, fields = self._staged.tables[table], self._staged.fields[table]
        name = f"tables/{table}.parquet"
        self._progress.start(f"writing table {table}", stage.rows, "rows")
        empty = {}
        for f in fields:
            nothing = Ragged(np.zeros(0, np.int32), np.zeros(2, np.int64)) if not stage.single[f.name] else None
            empty[f.name] = nothing or Ragged(np.zeros(1, np.int32))
        with TableFile(self._out / name, stage) as file:
            file.write(empty)
            self._observe(empty, self._links[table][:, :1], statistics)
            for start, batch in stage.batches():
                content = {f.name: self._coded(stage, batch, f) for f in fields}
                file.write(content)
                self._observe(content, self._links[table][:, 1 + start : 1 + start + batch.num_rows], statistics)
                self._progress.advance(batch.num_rows)
        self._progress.done()
        return {"file": name, "rows": stage.rows + 1}

    def _observe(
        self,
        content: dict[str, Ragged],
        references: np.ndarray,
        statistics: dict[str, dict[str, tuple[int, int]]],
    ) -> None:
        """Add up ids and unseen ids of each part. Shape: references int (parts, rows), of these rows."""
        for name, bags in content.items():
            lengths = np.ones(len(bags), np.int64) if bags.offsets is None else np.diff(bags.offsets)
            unseen = bags.values == 0
            owner = np.repeat(np.arange(len(bags)), lengths)
            unseen_of_row = np.bincount(owner[unseen], minlength=len(bags))
            for i, part in enumerate(PARTS):
                ids, before = statistics[name][part]
                statistics[name][part] = (
                    ids + int(lengths @ references[i]),
                    before + int(unseen_of_row @ references[i]),
                )

    def _write_vocabulary(self, vocabulary: Vocabulary) -> str:
        name = f"vocabulary/{vocabulary.field.name}.parquet"
        pq.write_table(vocabulary.to_arrow(), self._out / name, compression="zstd", write_page_checksum=True)
        return name

    def _write_impressions(self, statistics: dict[str, dict[str, tuple[int, int]]]) -> dict[str, Any]:
        stage, fields = self._staged.impressions, self._staged.fields[IMPRESSIONS]
        users, items = self._role(self._source.user), self._role(self._source.item)
        parts = {part: PartFiles(self._out, part, stage) for part in PARTS}
        self._progress.start("writing impressions", self._n, "rows")
        for start, batch in stage.batches():
            fate = self._fate[start : start + batch.num_rows]
            content = {f.name: self._coded(stage, batch, f) for f in fields}
            flat = {
                "click": batch["click"].to_numpy(zero_copy_only=False),
                "conversion": batch["conversion"].to_numpy(zero_copy_only=False),
                "user": users.of(batch),
            }
            flat.update({n: batch[n].to_numpy() for n in ("order", *TRUTH) if n in batch.schema.names})
            flat.update({LINK + t: batch[LINK + t].to_numpy() + 1 for t in self._staged.tables})
            item = items.of(batch)
            for i, part in enumerate(PARTS):
                rows = np.flatnonzero(fate == i)
                if len(rows):
                    here = {name: bags.take(rows) for name, bags in content.items()}
                    one = np.zeros((len(PARTS), len(rows)), np.int64)
                    one[i] = 1
                    self._observe(here, one, statistics)
                    parts[part].write(here, {k: v[rows] for k, v in flat.items()}, item[rows])
            self._progress.advance(batch.num_rows)
        self._progress.done()
        return {part: files.close() for part, files in parts.items()}

    def _role(self, name: str | None) -> Role:
        """The raw ids of the user or the item, told apart even where they have no row of the embedding."""
        field = next((f for f in self._source.fields if f.name == name), None)
        return Role(field, self._staged.stage(field.table) if field else None)

    def _write_manifest(
        self,
        schema: dict[str, Any],
        tables: dict[str, Any],
        vocabularies: dict[str, str],
        parts: dict[str, Any],
        statistics: dict[str, dict[str, tuple[int, int]]],
    ) -> None:
        names = sorted(str(p.relative_to(self._out)) for p in self._out.rglob("*") if p.is_file())
        files = {
            name: {"sha256": sha256(self._out / name), "bytes": (self._out / name).stat().st_size}
            for name in names
            if not name.startswith("stage/")
        }
        fields = [
            {
                **asdict(f),
                "size": self._vocabularies[f.name].size,
                "single": self._staged.stage(f.table).single[f.name],
                "weighted": self._staged.stage(f.table).weighted[f.name],
                "ids": {part: ids for part, (ids, _) in statistics[f.name].items()},
                "unseen": {part: unseen for part, (_, unseen) in statistics[f.name].items()},
            }
            for f in self._source.fields
        ]
        users = {role: distinct(parts, role) for role in ("users", "items")}
        for about in parts.values():
            for role in users:
                about[role] = len(about.pop(role + ".seen"))
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
            "tables": tables,
            "vocabularies": vocabularies,
            "audit": self._audit.as_dict(),
            "files": files,
        }
        manifest["checksum"] = digest(json.loads(json.dumps(manifest)))
        (self._out / MANIFEST).write_text(json.dumps(manifest, indent=1))
