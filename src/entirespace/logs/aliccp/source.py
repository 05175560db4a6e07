r"""The reader of raw Ali-CCP: a training pair and a test pair of files without headers. Keeps every id and weight.

    sample_skeleton_{train,test}.csv   sample_id,click,conversion,common_feature_index,feature_num,features
    common_features_{train,test}.csv   common_feature_index,feature_num,features
    features                           separated by \x01, each field \x02 id \x03 weight, in any order

The common features become one side table, "common": first the rows of the training file, then those of the test file.
An index is looked up only in the common features of its own pair. `parse` defines the grammar of a line, `chunks` reads
the files, and this file counts rows in the audit and joins the two tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...config import nearest
from ...core.labels import Labels
from ...core.rows import IMPRESSIONS, TEST, TRAIN, Field
from ...errors import ConfigError, DataError, no_folder
from ...features.history.keys import HistoryKey, HistorySpec
from ...features.layout import Encoders, Key
from ...progress import SILENT, Progress
from ..audit import EXAMPLES, Audit, Outcome, Quarantine
from ..files import local
from ..joins import Join
from ..schema import STAGES, TruthSchema
from ..schema.history import ALL, RATES
from ..source import Block, OnOrphan, Source, refuse_orphan
from ..truth import Truth
from .chunks import Chunk, Chunks

COMMON, COMMON_KEY = "common", "common_feature_index"
WEIGHTS = ".weights"
"""In a data frame of Ali-CCP's fields, column FIELD holds lists of ids and column FIELD.weights their weights."""
COMMON_FIELDS = (
    *("101", "109_14", "110_14", "127_14", "150_14"),
    *("121", "122", "124", "125", "126", "127", "128", "129"),
)
SKELETON_FIELDS = ("205", "206", "207", "210", "216", "508", "509", "702", "853", "301")
WEIGHTED = frozenset(("109_14", "110_14", "127_14", "150_14", "508", "509", "702", "853"))
"""Fields that always get weights. Other fields get them only in chunks in which one of their weights is not 1."""

TRUTH_FILE = "truth.parquet"


class AliCCPSource(Source):
    """Reads raw Ali-CCP block by block for `prepare`; see `source.Source`. Part 0: training pair, 1: test pair.

    Args:
        raw: the folder of the files. The test pair may be missing.
        audit: counts every row that is read.
        quarantine: where bad rows are written.
        on_orphan: what to do with a conversion without a click: keep the row with conversion = 0 (keep), leave the
            row out (drop), or raise an error (error).
        min_count: an id that occurs in fewer training impressions shares row 0 of its field.
        history: the fields by whose ids impressions are counted, or "all"; none if it is empty. With `encoders`: as
            their layout says.
        truth: a CSV or Parquet file with columns pctr and pcvr: one row per line of the training skeleton, then one
            per line of the test skeleton. None: `truth.parquet` in `raw`, if it exists.
        labelled: False: ignore the click and conversion columns.
        encoders: the encoders of an earlier layout, whose fields and order of fields are used.

    Raises: DataError if files are missing or damaged, or too many lines are bad. ConfigError if `encoders` are of
    other fields.
    """

    user: str | None = "101"
    item: str | None = "205"

    def __init__(
        self,
        raw: Path,
        audit: Audit,
        quarantine: Quarantine,
        *,
        on_orphan: OnOrphan = "keep",
        min_count: int = 1,
        history: Sequence[str] = (),
        truth: Path | None = None,
        labelled: bool = True,
        encoders: Encoders | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self._audit, self._quarantine, self._progress = audit, quarantine, progress
        self._on_orphan = on_orphan
        self._pairs = _pairs(Path(raw))
        self._labelled, self.stages = labelled, STAGES
        self.keys = {COMMON: Key(key=COMMON_KEY, on=COMMON_KEY)}
        self.joins = {COMMON: Join(COMMON, COMMON_KEY, COMMON_KEY, do="Use the two files of one pair, both whole")}
        fields = tuple(
            Field(name, table, "ids", min_count, column=name, weights=name + WEIGHTS if name in WEIGHTED else None)
            for table, names in ((COMMON, COMMON_FIELDS), (IMPRESSIONS, SKELETON_FIELDS))
            for name in names
        )
        self.fields = fields if encoders is None else encoders.adopted(fields, str(raw))
        self.history = _history(self.fields, tuple(history), encoders, audit)
        beside = Path(raw) / TRUTH_FILE
        truth = truth or (beside if beside.exists() else None)
        self._truth = None if truth is None else Truth(TruthSchema(files=(str(truth),)), [local(truth)])
        self._common = Chunks(COMMON_FIELDS, WEIGHTED, skeleton=False)
        self._skeleton = Chunks(
            SKELETON_FIELDS, WEIGHTED, skeleton=True, drop_orphans=on_orphan != "keep", content=self.history is not None
        )
        self._first_row: list[int] = []  # for each pair, the side-table row at which its rows begin
        if not self.has_test:
            audit.note(f"no test pair in {raw}: all rows come from the training pair")
        audit.note("sample_skeleton: sample_id is not used")

    @property
    def has_test(self) -> bool:
        """Whether there is a test pair, as in the published data."""
        return len(self._pairs) == 2

    def ids(self, field: str) -> pa.Array:
        """The raw ids of a field by code. Shape: int64 (C,)."""
        chunks = self._common if field in COMMON_FIELDS else self._skeleton
        return pa.array(chunks.codes[field].keys)

    def side_tables(self) -> Iterator[tuple[str, Block]]:
        """("common", block) for all blocks of the common features."""
        rows = 0
        files = [common for _, common in self._pairs]
        for part, chunk in self._read(COMMON, self._common, files):
            while len(self._first_row) <= part:
                self._first_row.append(rows)
            rows += chunk.rows
            self.joins[COMMON].has(chunk.keys[:EXAMPLES])
            yield COMMON, Block(chunk.fields, chunk.rows)
        self._first_row += [rows] * (len(self._pairs) - len(self._first_row))

    def impressions(self) -> Iterator[Block]:
        """The blocks of the impressions. Raises: ValueError if `side_tables` was not read to the end before."""
        if len(self._first_row) < len(self._pairs):
            raise ValueError("read the side tables first: an impression refers to their rows")
        files = [skeleton for skeleton, _ in self._pairs]
        for part, chunk in self._read(IMPRESSIONS, self._skeleton, files):
            click, conversion = (chunk.labels & 1).astype(bool), (chunk.labels & 2).astype(bool)
            self._count(chunk, "conversion_without_click", chunk.lines[conversion & ~click] + 1)
            link = self._common.keys[part].find(chunk.keys)
            missing = link < 0
            self._count(chunk, "missing_side_row", chunk.lines[missing] + 1)
            self.joins[COMMON].add(len(link), int(missing.sum()), chunk.keys[missing][:EXAMPLES])
            link[link >= 0] += self._first_row[part]
            truth = None
            if self._truth is not None:
                truth = self._truth.take(chunk.lines_read, chunk.lines - chunk.lines_before)
            yield Block(
                chunk.fields,
                chunk.rows,
                labels=Labels.of({"click": click, "conversion": conversion}) if self._labelled else None,
                part=np.full(chunk.rows, part, np.int8),
                links={COMMON: link},
                truth=truth,
                content=chunk.content,
            )
        if self._truth is not None:
            self._truth.end()

    def _read(self, table: str, chunks: Chunks, files: list[Path]) -> Iterator[tuple[int, Chunk]]:
        """(number of the pair, chunk) for all chunks of the table. Counts rows and quarantines bad ones."""
        total, done = sum(file.stat().st_size for file in files), 0
        self._progress.start(f"reading {table}", total or 1, "B")
        for part, chunk in chunks.read(files):
            self._audit.read(table, chunk.lines_read)
            for fault in chunk.faults:
                self._quarantine.add(chunk.file.name, fault.line, table, fault.reason, fault.text, fault.why)
            self._orphans(chunk)
            done += chunk.bytes_read
            self._audit.check(table, done / max(total, done))
            yield part, chunk
            self._progress.advance(chunk.bytes_read, f"{self._audit.rows_read(table):,} rows")
        self._audit.check(table)
        self._progress.done(f"{self._audit.rows_read(table):,} rows")

    def _orphans(self, chunk: Chunk) -> None:
        """Count the lines that `drop_orphans` left out of the chunk, or raise an error if that was asked for."""
        if len(chunk.orphans) and self._on_orphan == "error":
            refuse_orphan(f"{chunk.file.name}, line {int(chunk.orphans[0])}")
        self._count(chunk, "conversion_without_click", chunk.orphans, "left out")

    def _count(self, chunk: Chunk, reason: str, lines: np.ndarray, outcome: Outcome | None = None) -> None:
        """Count impressions with this reason. Shape: lines int (n,), from 1."""
        self._audit.count_lines(IMPRESSIONS, reason, chunk.file.name, lines, outcome)


def _history(
    fields: tuple[Field, ...], names: tuple[str, ...], encoders: Encoders | None, audit: Audit
) -> HistorySpec | None:
    """What impressions are counted by. Raises: ConfigError for an unknown field."""
    if ALL in names:
        names = tuple(f.name for f in fields)
    found = {f.name: f for f in fields}
    for name in names:
        if name not in found:
            do = nearest(name, [*found, ALL])
            raise ConfigError("history must name fields of Ali-CCP", f"'{name}'", where="--history", do=do)
    keys = tuple(HistoryKey((found[name],)) for name in dict.fromkeys(names))
    if encoders is None:
        return HistorySpec(keys, STAGES, RATES) if keys else None
    known = encoders.history
    if keys and known is None:
        audit.note("The layout has no history, so --history is not used.")
    elif keys and known is not None and {key.name for key in keys} != {key.name for key in known.spec.keys}:
        audit.note("--history names other fields than the layout's history, which is used.")
    return None if known is None else known.spec


def _pairs(raw: Path) -> list[tuple[Path, Path]]:
    """(skeleton, common features) of the training pair, and of the test pair if it exists."""
    if not raw.is_dir():
        raise DataError("the raw log must be a folder", no_folder(raw), where=str(raw))
    pairs = []
    for part in (TRAIN, TEST):
        pair = raw / f"sample_skeleton_{part}.csv", raw / f"common_features_{part}.csv"
        missing = [file.name for file in pair if not file.is_file()]
        if missing and (part == TRAIN or len(missing) == 1):
            packed = [file.name for file in sorted(raw.glob("sample_*.tar.gz"))]
            here = sorted(file.name for file in raw.iterdir())
            raise DataError(
                f"raw Ali-CCP must hold {pair[0].name} and {pair[1].name}",
                f"there is no {' and no '.join(missing)}; the folder holds {', '.join(here[:10]) or 'nothing'}",
                where=str(raw),
                do=f"Unpack {' and '.join(packed)} there"
                if packed
                else "Name the folder that holds the unpacked files",
            )
        if not missing:
            pairs.append(pair)
    return pairs
