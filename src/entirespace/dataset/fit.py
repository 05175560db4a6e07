"""Fits encoders on the training part of a staged log, or takes those of an earlier layout, and maps codes to rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.rows import IMPRESSIONS, PARTS, Field, Ragged
from ..features.encoders import Encoder, Hashed, Vocabulary, fit_ids, fit_knots
from ..features.layout import Encoders
from ..kernels.recode import count, recode, refer
from ..logs.source import Source
from .assign import TRAINING
from .history import StagedHistory
from .jobs import Jobs
from .manifest import LINK
from .stage import Stage

JOBS = 64  # jobs that fit the fields of a table, about, if it has more fields
HELD = 1 << 24  # numbers that the fields of one job hold in memory, at most, unless one field alone has more
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

    def with_history(self, history: StagedHistory, known: Encoders | None) -> Fitted:
        """The same with the fields of the history's rates, which come last."""
        rates = history.history.spec.fields()
        knots = history.fit_knots() if known is None else {f.name: known[f.name] for f in rates}
        encoders = replace(
            self.encoders,
            fields=(*self.encoders.fields, *rates),
            encoders={**self.encoders.encoders, **knots},
            history=history.history,
        )
        return replace(self, encoders=encoders)


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
    for table, stage in stages.items():
        times = training if table == IMPRESSIONS else links[table][TRAINING, 1:]
        fits = [
            partial(_fit_of, source, f, times, known and known[f.name], grow) for f in source.fields if f.table == table
        ]
        size = _together(len(fits), stage.rows)
        work += [partial(_fit_together, stage, fits[i : i + size], jobs) for i in range(0, len(fits), size)]
    fitted = {name: found for group in jobs(work) for name, found in group}
    found = {f.name: fitted[f.name] for f in source.fields}
    encoders = Encoders(
        source.fields,
        {name: encoder for name, (encoder, _) in found.items()},
        source.keys,
        source.user,
        source.item,
        source.request,
    )
    return Fitted(encoders, links, {name: rows for name, (_, rows) in found.items() if rows is not None})


def _refer(impressions: Stage, parts: np.ndarray, table: str, links: np.ndarray) -> None:
    """Count, in `links`, the impressions of each part that have each row of a side table."""
    for start, batch in impressions.batches():
        rows = batch[LINK + table].to_numpy() + 1  # -1 (no such row) becomes 0, the empty row
        refer(rows, parts[start : start + batch.num_rows], links)


class _Fit(Protocol):
    """Fits the encoder of one field: `add` for each block of its table, then `end`."""

    @property
    def field(self) -> Field:
        """The field."""
        ...

    @property
    def reads(self) -> bool:
        """Whether it needs the blocks."""
        ...

    def add(self, bags: Ragged, here: slice) -> None:
        """The field's bags in the rows `here` of the table."""
        ...

    def end(self) -> tuple[Encoder, np.ndarray | None]:
        """(encoder of the field, embedding row of each code or None for a number)."""
        ...


def _fit_of(source: Source, f: Field, times: np.ndarray, known: Encoder | None, grow: bool) -> _Fit:
    """What fits a field.

    Args:
        times: how many training impressions have each row of the table; ids are counted that often. Shape: (rows,).
    """
    if f.kind == "number":
        return _FitKnots(f, times) if known is None else _Fitted(f, lambda: (known, None))
    if f.hash is not None:
        size = f.hash
        return _Fitted(f, lambda: (Hashed(size), np.arange(1, size + 1, dtype=np.int32)))
    if known is not None and not grow:
        return _Fitted(f, lambda: (known, known.encode(pl.Series(source.ids(f.name).cast(pa.string()).fill_null("")))))
    assert known is None or isinstance(known, Vocabulary)
    return _FitIds(f, source, times, known)


def _together(fields: int, rows: int) -> int:
    """How many fields of a table to fit in one job.

    A job opens every block, which takes time for each column of the table, also those that it does not use. So a table
    of thousands of fields is read a few times only, as far as the numbers of a job's fields fit into memory.
    """
    return max(1, min(-(-fields // JOBS), HELD // max(1, min(rows, SAMPLE))))


def _fit_together(
    stage: Stage, make: Sequence[Callable[[], _Fit]], jobs: Jobs
) -> list[tuple[str, tuple[Encoder, np.ndarray | None]]]:
    """Fit some fields of a table. Returns: for each of them, its name and what its `end` gives."""
    fits = [one() for one in make]
    reading = [fit for fit in fits if fit.reads]
    jobs.advance(stage.rows * (len(fits) - len(reading)))
    for start, batch in stage.batches() if reading else ():
        for fit in reading:
            fit.add(stage.field(batch, fit.field.name), slice(start, start + batch.num_rows))
            jobs.advance(batch.num_rows)
    return [(fit.field.name, fit.end()) for fit in fits]


@dataclass(frozen=True)
class _Fitted:
    """A field whose encoder is known without the blocks."""

    field: Field
    end: Callable[[], tuple[Encoder, np.ndarray | None]]
    reads: bool = False

    def add(self, bags: Ragged, here: slice) -> None: ...


class _FitIds:
    """Counts the ids of a field in the training part."""

    reads = True

    def __init__(self, f: Field, source: Source, times: np.ndarray, known: Vocabulary | None) -> None:
        self.field, self._times, self._known = f, times, known
        self._ids = source.ids(f.name)
        self._counts = np.zeros(len(self._ids), np.int64)

    def add(self, bags: Ragged, here: slice) -> None:
        count(bags, self._times[here], self._counts)

    def end(self) -> tuple[Encoder, np.ndarray | None]:
        return fit_ids(self.field, self._ids, self._counts, self._known)


class _FitKnots:
    """Collects the numbers of a field, or a sample of them."""

    reads = True

    def __init__(self, f: Field, times: np.ndarray) -> None:
        self.field, self._times, self._numbers = f, times, list[np.ndarray]()
        self._rng = np.random.default_rng(0)
        self._share = SAMPLE / max(1, np.count_nonzero(times))

    def add(self, bags: Ragged, here: slice) -> None:
        values = bags.values
        if self.field.table == IMPRESSIONS:
            values = values[self._times[here]]
            values = values if self._share >= 1 else values[self._rng.random(len(values)) < self._share]
        self._numbers.append(values)

    def end(self) -> tuple[Encoder, np.ndarray | None]:
        values = np.concatenate(self._numbers) if self._numbers else np.zeros(0)
        self._numbers.clear()
        return fit_knots(self.field, values, None if self.field.table == IMPRESSIONS else self._times), None
