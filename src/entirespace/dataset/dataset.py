"""A dataset: a folder that any tool can read, whole or refused (DESIGN, section 3; docs/formats.md).

    manifest.json                     written last; schema, counts, audit, SHA-256 of every file
    impressions/train-00000.parquet   click, conversion, order, user, one column a field, one a side table
    tables/NAME.parquet               side tables, stored once; row 0 is the empty row, for a missing key
    vocabulary/FIELD.parquet          entry i is row i + 1 of the field's part of the embedding table

Row 0 of a field's part of the embedding table is "unseen".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..config import digest
from ..core.rows import IMPRESSIONS, PARTS, Ragged
from ..errors import DataError

FORMAT = "entirespace-dataset/1"
ROW_GROUP = 131_072
MANIFEST = "manifest.json"
LINK = "link."  # + side table: int32, the impression's row in it
WEIGHTS = ".weights"  # field + this: list<float32>, beside the field's ids
SAMPLING = 1807  # seed of the shares of a part
TRUTH = ("true_pctr", "true_pcvr")


def to_arrow(bags: Ragged) -> pa.Array:
    """The values as int32, or list<int32> where they are bags; weights are a column of their own."""
    values = pa.array(bags.values)
    if bags.offsets is None:
        return values
    return pa.ListArray.from_arrays(pa.array(bags.offsets, pa.int32()), values, bags_of(values.type))


def bags_of(kind: pa.DataType) -> pa.DataType:
    """The type of a column of bags: none of their elements is null."""
    return pa.list_(pa.field("element", kind, nullable=False))


def from_arrow(ids: pa.Array, weights: pa.Array | None = None) -> Ragged:
    """`to_arrow` the other way, without a copy of the values."""
    if not pa.types.is_list(ids.type):
        return Ragged(ids.to_numpy(zero_copy_only=False))
    offsets = ids.offsets.to_numpy().astype(np.int64)
    return Ragged(
        ids.flatten().to_numpy(zero_copy_only=False),
        offsets - offsets[0],
        None if weights is None else weights.flatten().to_numpy(zero_copy_only=False),
    )


@dataclass(frozen=True)
class DatasetField:
    """A field of a dataset, and its place in the one embedding table that all fields share."""

    name: str
    table: str
    kind: str
    size: int  # rows, row 0 ("unseen") included
    offset: int  # its first row in the table of all fields
    single: bool  # exactly one id in every row
    weighted: bool


@dataclass(frozen=True)
class Columns:
    """Some columns of some impressions, all with one entry a row."""

    click: np.ndarray  # bool (n,)
    conversion: np.ndarray  # bool (n,), y & z
    fields: dict[str, Ragged] = field(default_factory=dict)  # those of the impressions themselves
    links: dict[str, np.ndarray] = field(default_factory=dict)  # side table -> int32 row in it

    def __len__(self) -> int:
        return len(self.click)

    def take(self, rows: np.ndarray) -> Columns:
        return Columns(
            self.click[rows],
            self.conversion[rows],
            {name: f.take(rows) for name, f in self.fields.items()},
            {name: link[rows] for name, link in self.links.items()},
        )


class Part:
    """One part of a dataset (train, validation or test), read out of core in the log's order."""

    def __init__(self, dataset: Dataset, name: str) -> None:
        self.dataset, self.name, self.share = dataset, name, 1.0
        self._manifest: dict[str, Any] = dataset.manifest["parts"][name]
        self.impressions: int = self._manifest["impressions"]
        self.clicks: int = self._manifest["clicks"]
        self.conversions: int = self._manifest["conversions"]

    def __len__(self) -> int:
        return self.impressions

    def __repr__(self) -> str:
        some = "" if self.share == 1 else f"{100 * self.share:g} % of the "
        return f"<{some}{self.name} part of {self.dataset.path}: {self.impressions:,} impressions>"

    def sampled(self, share: float) -> Part:
        """A random share of the part, in its order: the same at each call, and part of every larger share."""
        if share == self.share:
            return self
        part = Part(self.dataset, self.name)
        part.share = share
        part.impressions = part.clicks = part.conversions = 0
        for batch in part.batches(["click", "conversion"]):
            part.impressions += len(batch)
            part.clicks += batch["click"].true_count
            part.conversions += batch["conversion"].true_count
        return part

    def batches(self, columns: Sequence[str], rng: np.random.Generator | None = None) -> Iterator[pa.RecordBatch]:
        """The named columns, one record batch a row group; with `rng`, row groups in random order.

        Raises: DataError where a file is damaged.
        """
        with ExitStack() as opened:
            files: list[tuple[Path, pq.ParquetFile]] = []
            for name in self._manifest["files"]:
                path = self.dataset.checked(name)
                with _damage(path):
                    file = pq.ParquetFile(path, page_checksum_verification=True)
                files.append((path, opened.enter_context(file)))
            groups = [(path, file, g) for path, file in files for g in range(file.num_row_groups)]
            for i in range(len(groups)) if rng is None else rng.permutation(len(groups)).tolist():
                path, file, group = groups[i]
                with _damage(path):
                    batches = file.read_row_group(group, list(columns)).combine_chunks().to_batches()
                if self.share < 1:  # drawn row group by row group, so that it takes no memory and needs no order
                    kept = np.random.default_rng([SAMPLING, i]).random(sum(map(len, batches))) < self.share
                    batches = pa.Table.from_batches(batches).filter(pa.array(kept)).combine_chunks().to_batches()
                yield from batches

    def chunks(self, rng: np.random.Generator | None = None) -> Iterator[Columns]:
        """Labels, fields and links, one chunk a row group; with `rng`, in random order."""
        fields = [f for f in self.dataset.fields if f.table == IMPRESSIONS]
        columns = ["click", "conversion", *(LINK + table for table in self.dataset.side_tables)]
        for f in fields:
            columns += [f.name, f.name + WEIGHTS] if f.weighted else [f.name]
        for batch in self.batches(columns, rng):
            yield Columns(
                batch["click"].to_numpy(zero_copy_only=False),
                batch["conversion"].to_numpy(zero_copy_only=False),
                read_fields(batch, fields),
                {table: batch[LINK + table].to_numpy() for table in self.dataset.side_tables},
            )

    def column(self, name: str) -> np.ndarray:
        """One flat column, whole: "click", "conversion" (bool), "user" (int32, -1: none), "order" (int64)."""
        pieces = [batch[name].to_numpy(zero_copy_only=False) for batch in self.batches([name])]
        return np.concatenate(pieces) if pieces else np.zeros(0, bool)

    def truth(self) -> tuple[np.ndarray, np.ndarray] | None:
        """True pCTR and pCVR, float32 (N,) each, where the log is simulated; else None."""
        if not self.dataset.manifest["truth"]:
            return None
        return self.column(TRUTH[0]), self.column(TRUTH[1])


def read_fields(batch: pa.RecordBatch | pa.Table, fields: Sequence[DatasetField]) -> dict[str, Ragged]:
    """The fields' columns of a batch as bags."""
    return {f.name: from_arrow(batch[f.name], batch[f.name + WEIGHTS] if f.weighted else None) for f in fields}


class Dataset:
    """Prepared logs: `train`, `validation` and `test`, side tables and vocabularies.

    Raises: DataError where the folder is no dataset, is not whole, or is of another format.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._checked: set[str] = set()
        self.manifest: dict[str, Any] = _manifest(self.path)
        offsets = np.concatenate(([0], np.cumsum([f["size"] for f in self.manifest["fields"]])))
        self.fields = tuple(
            DatasetField(f["name"], f["table"], f["kind"], f["size"], int(o), f["single"], f["weighted"])
            for f, o in zip(self.manifest["fields"], offsets, strict=False)
        )
        self.rows = int(offsets[-1])
        self.side_tables: tuple[str, ...] = tuple(self.manifest["tables"])
        self.train, self.validation, self.test = (Part(self, part) for part in PARTS)

    def __repr__(self) -> str:
        parts = ", ".join(f"{len(p):,} {p.name}" for p in (self.train, self.validation, self.test))
        return f"<dataset {self.path}: {parts}>"

    @property
    def digest(self) -> str:
        """SHA-256 of the content: it names the dataset in run caches."""
        return self.manifest["digest"]

    @cached_property
    def tables(self) -> dict[str, dict[str, Ragged]]:
        """Side table -> field -> the bags of all its rows, in memory."""
        loaded: dict[str, dict[str, Ragged]] = {}
        for table in self.side_tables:
            fields = [f for f in self.fields if f.table == table]
            path = self.checked(self.manifest["tables"][table]["file"])
            with _damage(path):
                content = pq.read_table(path, page_checksum_verification=True).combine_chunks()
            loaded[table] = read_fields(content.to_batches(max_chunksize=None)[0], fields)
        return loaded

    def vocabulary(self, field: str) -> pa.Table:
        """The vocabulary of a field: columns id and count, or edge; entry i is row i + 1.

        Raises: DataError where its file is damaged.
        """
        path = self.checked(self.manifest["vocabularies"][field])
        with _damage(path):
            return pq.read_table(path, page_checksum_verification=True)

    def checked(self, name: str) -> Path:
        """The path of a file, whose SHA-256 is compared before it is read for the first time.

        The checksums of pages do not cover what stands between them: of flipped bits 8 in 1000 would be read
        as other values without an error.
        """
        path = self.path / name
        if name not in self._checked:
            _compare(path, self.manifest["files"][name]["sha256"])
            self._checked.add(name)
        return path

    def verify(self) -> None:
        """Read every file and compare its SHA-256. Raises: DataError naming the first damaged file."""
        for name, about in self.manifest["files"].items():
            _compare(self.path / name, about["sha256"])


def open_dataset(path: Path | str) -> Dataset:
    """The dataset in a folder that `entirespace prepare` made. Raises: DataError."""
    return Dataset(path)


open = open_dataset
"""The public name, `entirespace.open`."""


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compare(path: Path, digest: str) -> None:
    try:
        same = sha256(path) == digest
    except OSError as error:
        raise damaged(path, str(error.strerror)) from error
    if not same:
        raise damaged(path, "its SHA-256 is another")


def damaged(path: Path, what: str) -> DataError:
    return DataError(
        "a dataset's files must be as `prepare` wrote them",
        what,
        where=str(path),
        do="Prepare the dataset again",
    )


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What the Parquet reader says of a damaged file, as a DataError that names it."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, str(error)) from error


def _manifest(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise DataError(
            "a dataset is a folder", "no such folder", where=str(path), do="`entirespace prepare` makes one"
        )
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except FileNotFoundError as error:
        raise DataError(
            f"a dataset holds {MANIFEST}, written last",
            "there is none: this is another folder, or `prepare` did not finish",
            where=str(path),
            do="`entirespace prepare` makes a dataset from raw logs",
        ) from error
    except ValueError as error:
        raise damaged(path / MANIFEST, str(error)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        came = f"{manifest.get('format')}" if isinstance(manifest, dict) else "it is no table"
        raise DataError(
            f"the dataset's format must be {FORMAT}",
            came,
            where=str(path / MANIFEST),
            do="Prepare the dataset again",
        )
    if manifest.pop("checksum", None) != digest(manifest):
        raise damaged(path / MANIFEST, "its checksum is another")
    missing = [name for name in manifest["files"] if not (path / name).is_file()]
    if missing:
        raise damaged(path / missing[0], "the file is missing")
    for name, about in manifest["files"].items():
        if (path / name).stat().st_size != about["bytes"]:
            raise damaged(path / name, f"{(path / name).stat().st_size:,} bytes, not {about['bytes']:,}")
    return manifest
