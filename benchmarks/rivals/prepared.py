"""The log that training is measured on: 23 single-valued fields of Zipf ids, prepared as a user would.

    FOLDER/dataset    the prepared dataset, for ours
    FOLDER/*.npy      its training part: ids int32 (N, 23), rows of each field's table; click, conversion float32 (N,)
    FOLDER/sizes.json rows of each field's table

Ids are hashed into the table, so that it has the wanted number of rows, though not all are in the log.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from entirespace.config import parse
from entirespace.dataset.dataset import ROW_GROUP, Dataset
from entirespace.dataset.prepare import prepare_source
from entirespace.logs.schema import Schema
from entirespace.logs.star import LogSource

FIELDS = [f"f{i}" for i in range(23)]
TRAINING, TESTING = 4 * ROW_GROUP, 1024
ZIPF = 1.2
CLICKS, CONVERSIONS = 0.04, 0.1


def prepared(rows: int, folder: Path) -> Path:
    """The data for a table of about so many rows, made where they are not there yet."""
    here = folder / f"{rows}"
    done = here / "sizes.json"
    if not done.exists():
        here.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as log:
            dataset = _prepare(rows // len(FIELDS), Path(log), here / "dataset")
        chunks = list(dataset.train.chunks())
        ids = np.concatenate([np.stack([c.fields[name].values for name in FIELDS], axis=1) for c in chunks])
        np.save(here / "ids.npy", ids.astype(np.int32))
        for label in ("click", "conversion"):
            np.save(here / f"{label}.npy", dataset.train.column(label).astype(np.float32))
        done.write_text(json.dumps([field.size for field in dataset.fields]))
    return here


def _prepare(each: int, log: Path, out: Path) -> Dataset:
    """A dataset whose fields have `each` rows each, row 0 ("unseen") included."""
    rng = np.random.default_rng(0)
    for part, count in (("train", TRAINING), ("test", TESTING)):
        ids = (rng.zipf(ZIPF, (len(FIELDS), count)) - 1) % each
        click = rng.random(count) < CLICKS
        columns = dict(zip(FIELDS, ids.astype(np.int32), strict=True))
        labels = {"click": click, "conversion": click & (rng.random(count) < CONVERSIONS)}
        pq.write_table(pa.table({**labels, **columns}), log / f"{part}.parquet")
    schema = parse(
        Schema,
        {
            "impressions": {
                "files": ["train.parquet", "test.parquet"],
                "labels": {"click": "click", "conversion": "conversion"},
                "fields": {name: {"kind": "id", "hash": each - 1} for name in FIELDS},
            },
            "split": {"by": "file", "train": ["train.parquet"], "test": ["test.parquet"], "validation": 0},
        },
        "the benchmark's log",
    )
    return prepare_source(
        lambda audit, quarantine: LogSource(schema, log, audit, quarantine),
        out,
        split=schema.split,
        schema=schema.model_dump(mode="json", by_alias=True, exclude_none=True),
        force=True,
    )
