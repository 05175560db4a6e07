"""Fits encoders on the training part of a staged log, or takes those of an earlier layout, and maps codes to rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.rows import IMPRESSIONS, PARTS, Field, Ragged
from ..features.encoders import Encoder, Hashed, Knots, Vocabulary, fit_ids, fit_knots
from ..features.layout import Encoders
from ..kernels.recode import count, recode, refer
from ..logs.source import Source
from .assign import TRAINING
from .jobs import Jobs
from .manifest import LINK
from .stage import Stage

SAMPLE = 1_000_000  # quantile knots are fitted on a random sample of about this many numbers, or on all if fewer


@dataclass(frozen=True)
class Fitted:
    """The encoders of a dataset, applied to staged codes and numbers."""

    encoders: Encoders
    links: Mapping[str, np.ndarray]  # side table -> int64 (parts, rows + 1): impressions of each part with each row
    rows: dict[str, np.ndarray] = field(default_factory=dict)  # field of ids -> int32 (C,), the row of each code

    def encode(self, f: Field, bags: Ragged, times: np.ndarray) -> tuple[Ragged, np.ndarray]:
        """(embedding rows or positions of a field, numbers of ids and of unseen ids in each part).

        Args:
            f: the field.
            bags: staged codes or numbers of n rows of its table.
            times: how many impressions of each part have each row. Shape: int64 (parts, n).

        Returns: Ragged of n rows, int64 (parts, 2).
        """
        if f.kind != "number":
            return recode(bags, self.rows[f.name], times)
        positions = self.encoders[f.name].encode(bags.values)
        return Ragged(positions), np.stack([times.sum(axis=1), times @ (positions < 1)], axis=1)


def fit(
    source: Source,
    stages: Mapping[str, Stage],
    parts: np.ndarray,
    jobs: Jobs,
    known: Encoders | None = None,
    grow: bool = False,
) -> Fitted:
    """Fit an encoder for each field, using only training impressions.

    Args:
        source: the reader, for its fields and raw ids.
        stages: the staged tables, including the impressions.
        parts: the part of each impression, an index into PARTS or DROPPED. Shape: uint8 (n,).
        jobs: runs the work on all cores.
        known: encoders of an earlier layout, to use instead of fitting new ones.
        grow: add ids of the training part that `known` does not have.
    """
    tables = {name: stage for name, stage in stages.items() if name != IMPRESSIONS}
    links = {name: np.zeros((len(PARTS), stage.rows + 1), np.int64) for name, stage in tables.items()}
    jobs(partial(_refer, stages[IMPRESSIONS], parts, name, links[name]) for name in tables)
    training, work = parts == TRAINING, []
    for f in source.fields:
        times = training if f.table == IMPRESSIONS else links[f.table][TRAINING, 1:]
        work.append(partial(_fit_field, source, stages[f.table], f, times, jobs, known and known[f.name], grow))
    found = dict(zip((f.name for f in source.fields), jobs(work), strict=True))
    encoders = Encoders(
        source.fields, {name: encoder for name, (encoder, _) in found.items()}, source.keys, source.user, source.item
    )
    return Fitted(encoders, links, {name: rows for name, (_, rows) in found.items() if rows is not None})


def _refer(impressions: Stage, parts: np.ndarray, table: str, links: np.ndarray) -> None:
    """Count, in `links`, the impressions of each part that have each row of a side table."""
    for start, batch in impressions.batches():
        rows = batch[LINK + table].to_numpy() + 1  # -1 (no such row) becomes 0, the empty row
        refer(rows, parts[start : start + batch.num_rows], links)


def _fit_field(
    source: Source, stage: Stage, f: Field, times: np.ndarray, jobs: Jobs, known: Encoder | None, grow: bool
) -> tuple[Encoder, np.ndarray | None]:
    """(encoder of a field, embedding row of each code or None for a number).

    Args:
        times: how many training impressions have each row of the table; ids are counted that often. Shape: (rows,).
    """
    if f.kind == "number":
        if known is None:
            return _fit_knots(stage, f, times, jobs), None
        jobs.advance(stage.rows)
        return known, None
    if f.hash is not None:
        jobs.advance(stage.rows)
        return Hashed(f.hash), np.arange(1, f.hash + 1, dtype=np.int32)
    ids = source.ids(f.name)
    if known is not None and not grow:
        jobs.advance(stage.rows)
        return known, known.encode(pl.Series(ids.cast(pa.string()).fill_null("")))
    counts = np.zeros(len(ids), np.int64)
    for start, batch in stage.batches():
        count(stage.field(batch, f.name), times[start : start + batch.num_rows], counts)
        jobs.advance(batch.num_rows)
    assert known is None or isinstance(known, Vocabulary)
    return fit_ids(f, ids, counts, known)


def _fit_knots(stage: Stage, f: Field, times: np.ndarray, jobs: Jobs) -> Knots:
    """Fit the knots of a number. Shape: times (rows of the table,), how many training impressions have each row."""
    rng, numbers = np.random.default_rng(0), []
    share = SAMPLE / max(1, np.count_nonzero(times))
    for start, batch in stage.batches():
        values, here = stage.field(batch, f.name).values, times[start : start + batch.num_rows]
        if f.table == IMPRESSIONS:
            values = values[here]
            values = values if share >= 1 else values[rng.random(len(values)) < share]
        numbers.append(values)
        jobs.advance(batch.num_rows)
    values = np.concatenate(numbers) if numbers else np.zeros(0)
    return fit_knots(f, values, None if f.table == IMPRESSIONS else times)
