"""A raw log in a folder of its own, prepared and read back without any of the library's own readers."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entirespace.config import parse
from entirespace.dataset.dataset import Dataset
from entirespace.dataset.prepare import prepare_source
from entirespace.features.layout import Encoders
from entirespace.logs.audit import Audit, Quarantine
from entirespace.logs.schema import Schema, SplitSchema
from entirespace.logs.source import Block
from entirespace.logs.star import LogSource

Rows = list[dict[str, Any]]

HEAD = '[impressions]\nfiles = ["log*"]\norder = "t"\nlabels = { click = "y", conversion = "z" }\n'
PLAIN = HEAD + "[impressions.fields]\na = {}\n"
"""A schema with one field."""


def rows(*impressions: str) -> str:
    """The content of a CSV file of impressions of the schema `PLAIN`."""
    return "a,t,y,z\n" + "".join(f"{i}\n" for i in impressions)


class Log:
    """`write` files, then `read` their blocks or `prepare` a dataset from them."""

    def __init__(self, folder: Path) -> None:
        self.raw, self.out = folder / "raw", folder / "dataset"
        self.raw.mkdir()
        self.audit = Audit()

    def write(self, name: str, content: str | bytes | dict[str, Any] | pl.DataFrame | pa.Table) -> Path:
        """Text or bytes as they are (compressed by the name's ending), columns as Parquet or CSV."""
        path = self.raw / name
        if isinstance(content, dict):
            content = pl.DataFrame(content)
        if ".parquet" in name:
            pq.write_table(content.to_arrow() if isinstance(content, pl.DataFrame) else content, path)
            return path
        if isinstance(content, pl.DataFrame):
            content = content.write_csv()
        assert isinstance(content, str | bytes)
        data = content.encode() if isinstance(content, str) else content
        ending = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}.get(path.suffix)
        if ending:
            with pa.output_stream(path, compression=ending) as stream:
                stream.write(data)
            return path
        path.write_bytes(data)
        return path

    def schema(self, text: str) -> Schema:
        return parse(Schema, tomllib.loads(text), "schema.toml")

    def read(self, schema: str, max_bad: float = 1.0, **options: Any) -> tuple[dict[str, list[Block]], LogSource]:
        """The blocks of each table, and the reader."""
        self.audit = Audit(max_bad)
        blocks: dict[str, list[Block]] = {}
        with Quarantine(self.raw.parent, self.audit) as quarantine:
            source = LogSource(self.schema(schema), self.raw, self.audit, quarantine, **options)
            for table, block in source.side_tables():
                blocks.setdefault(table, []).append(block)
            blocks["impressions"] = list(source.impressions())
        return blocks, source

    def prepare(
        self,
        schema: str,
        *,
        max_bad: float = 1.0,
        out: Path | None = None,
        known: Encoders | None = None,
        grow: bool = False,
        part: Any = None,
        force: bool = False,
        **options: Any,
    ) -> Dataset:
        """The dataset; other options go to the reader."""
        log = self.schema(schema)
        split = log.split if part is None else SplitSchema(by="all", part=part)
        return prepare_source(
            lambda audit, quarantine: LogSource(
                log, self.raw, audit, quarantine, split=split, encoders=known, **options
            ),
            out or self.out,
            split=split,
            schema=log.model_dump(mode="json", by_alias=True, exclude_none=True),
            known=known,
            grow=grow,
            max_bad=max_bad,
            force=force,
        )


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


@pytest.fixture(scope="session")
def new_log(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Log]:
    """Logs that live longer than a test."""
    return lambda: Log(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="session")
def few_rows() -> Callable[[], AbstractContextManager[None]]:
    """Blocks, row groups and files of a few rows, so that a small log has many."""

    @contextmanager
    def patched() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("entirespace.logs.files.BLOCK_BYTES", 200)
            patch.setattr("entirespace.logs.files.PARQUET_ROWS", 7)
            patch.setattr("entirespace.dataset.write.ROW_GROUP", 8)
            patch.setattr("entirespace.dataset.write.FILE_ROWS", 24)
            yield

    return patched


@pytest.fixture
def small_pieces(few_rows: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    with few_rows():
        yield


class Plain:
    """A dataset as plain values, straight from its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.vocabulary = {
            name: pq.read_table(folder / file).to_pydict() for name, file in self.manifest["vocabularies"].items()
        }
        self.tables = {
            name: pq.read_table(folder / about["file"]).to_pylist() for name, about in self.manifest["tables"].items()
        }

    def part(self, part: str) -> Rows:
        """The impressions of a part: each field, its own or of a side table, as a list of (row, weight)."""
        rows = []
        for file in self.manifest["parts"][part]["files"]:
            for raw in pq.read_table(self.folder / file).to_pylist():
                row = {k: raw[k] for k in raw if k in ("click", "conversion", "order", "true_pctr", "true_pcvr")}
                for f in self.manifest["fields"]:
                    if f["kind"] == "rate":  # it is in no file
                        continue
                    table = f["table"]
                    of = raw if table == "impressions" else self.tables[table][raw[f"link.{table}"]]
                    row[f["name"]] = _bag(of[f["name"]], of.get(f["name"] + ".weights"))
                    if f["kind"] == "number":  # its bucket
                        row[f["name"]] = [(int(position), weight) for position, weight in row[f["name"]]]
                rows.append(row)
        return rows

    def raw_ids(self, part: str, field: str) -> list[list[str | None]]:
        """The raw ids of a field's bags; None: unseen."""
        ids = [None, *self.vocabulary[field]["id"]]
        return [[ids[row] for row, _ in impression[field]] for impression in self.part(part)]

    @property
    def reasons(self) -> dict[str, dict[str, int]]:
        """Table -> reason -> rows, as the audit says."""
        tables = self.manifest["audit"]["tables"]
        return {t: {slug: r["rows"] for slug, r in about["reasons"].items()} for t, about in tables.items()}


def _bag(ids: int | list[int], weights: list[float] | None) -> list[tuple[int, float]]:
    ids = ids if isinstance(ids, list) else [ids]
    return list(zip(ids, weights or [1.0] * len(ids), strict=True))


@pytest.fixture(scope="session")
def plain() -> type[Plain]:
    return Plain


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
