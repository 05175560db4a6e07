"""Prepares a log of plain rows, and reads the dataset back as plain values with its public API."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import entirespace as es
from entirespace.core.rows import IMPRESSIONS
from entirespace.dataset.dataset import Dataset

Table = Sequence[Mapping[str, Any]] | pa.Table | pl.DataFrame
PARTS = ("train", "validation", "test")


def write_table(path: Path, table: Table) -> None:
    """A table of Arrow or polars as Parquet; plain rows as CSV, by Python's own writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(table, pl.DataFrame):
        table = table.to_arrow()
    if isinstance(table, pa.Table):
        pq.write_table(table, path)
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def prepare_files(folder: Path, schema: str, files: Mapping[str, Table], **options: Any) -> Dataset:
    """Write the files of a log, and prepare it; `folder` may hold a log already, which is written over."""
    for name, table in files.items():
        write_table(folder / "raw" / name, table)
    (folder / "schema.toml").write_text(schema)
    out = folder / f"dataset-{len(list(folder.glob('dataset-*')))}"
    return es.prepare(folder / "schema.toml", folder / "raw", out, **options)


def impressions(data: Dataset) -> list[dict[str, Any]]:
    """Every impression: part, labels, times, weight, segments by their value, and fields of the impressions.

    A field is the list of its raw ids, None for one that is unseen; of a number it is its position.
    """
    manifest, found = data.manifest, []
    vocabulary = {f.name: [None, *data.vocabulary(f.name)["id"].to_pylist()] for f in data.fields if f.kind != "number"}
    for part in data.parts:
        columns: dict[str, list[Any]] = {}
        names = [*manifest.stages, *(f"time.{stage}" for stage in manifest.timed)]
        for name in [*names, *(["weight"] if manifest.weighted else [])]:
            columns[name] = part.column(name).tolist()
        for name in manifest.segments:
            values = data.segment(name)
            columns[name] = [values[code] for code in part.column(f"segment.{name}").tolist()]
        fields: dict[str, list[Any]] = {f.name: [] for f in data.fields if f.table == IMPRESSIONS}
        for rows in part.chunks():
            for name, bags in rows.fields.items():
                offsets = np.arange(len(bags) + 1) if bags.offsets is None else bags.offsets
                values = bags.values.tolist()
                if name in vocabulary:
                    values = [vocabulary[name][row] for row in values]
                    fields[name] += [values[a:b] for a, b in itertools.pairwise(offsets)]
                else:
                    fields[name] += values
        columns |= {f"field.{name}": values for name, values in fields.items()}
        found += [
            {"part": part.name, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)
        ]
    return found


def reasons(data: Dataset, table: str = IMPRESSIONS) -> dict[str, int]:
    """Reason -> rows, as the audit counts them."""
    return {slug: about["rows"] for slug, about in data.manifest.audit["tables"][table]["reasons"].items()}


def by_row(data: Dataset) -> dict[str, dict[str, Any]]:
    """The impressions by the value of the segment `rid`, which identifies a row of the raw log."""
    found = {row["rid"]: row for row in impressions(data)}
    assert len(found) == sum(map(len, data.parts))
    return found
