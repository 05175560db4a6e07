"""Small logs for first schemas, and what `prepare` reads with them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import polars as pl

import entirespace as es
from entirespace.logs.guess import first_schema
from entirespace.logs.schema import Schema

N = 300
CLICK = np.random.default_rng(0).random(N) < 0.4
BUY = CLICK & (np.random.default_rng(1).random(N) < 0.4)
USER = np.random.default_rng(2).integers(0, 30, N)
ITEM = np.random.default_rng(3).integers(0, 50, N)


def log(**columns: object) -> pl.DataFrame:
    labels = {"click": CLICK.astype(int), "purchase": BUY.astype(int)}
    return pl.DataFrame({"user_id": USER, "item_id": ITEM, **columns, **labels})


def schema_of(folder: Path) -> Schema:
    return Schema.model_validate(tomllib.loads(first_schema(folder)))


def counts(folder: Path, tmp_path: Path) -> tuple[int, int, int]:
    """Impressions, clicks and conversions of the dataset that `prepare` makes with the first schema as it is."""
    schema = tmp_path / "schema.toml"
    schema.write_text(first_schema(folder), encoding="utf-8")
    data = es.prepare(schema, folder, tmp_path / "data")
    found = [part.counts for part in (data.train, data.validation, data.test)]
    return tuple(sum(c.reached[s] if s else c.impressions for c in found) for s in ("", "click", "conversion"))
