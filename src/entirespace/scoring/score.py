"""Rows of files -> the same rows with pctr, pcvr and pctcvr, in a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl

from ..core.rows import Rows
from ..errors import DataError
from ..features.frames import FrameEncoder, Unseen
from ..logs.csvform import CsvForm
from ..logs.rowfiles import STDIN, Format, RowBatch, RowWriter, read_rows, read_table
from ..progress import SILENT, Progress
from .predictions import Predictions, unseen_text

BadRows = Literal["error", "empty"]
ADDED = ("pctr", "pcvr", "pctcvr")
EXAMPLES = 3


class Scorer(Protocol):
    """What predicts impressions: a run or a bundle."""

    @property
    def title(self) -> str:
        """What it is, for progress: the method and the seeds."""
        ...

    def encoder(self, tables: Mapping[str, Any] | None = None) -> FrameEncoder:
        """The encoder of data frames of raw rows, with side tables."""
        ...

    def predict_encoded(self, encoder: FrameEncoder, rows: Rows, unseen: Mapping[str, Unseen]) -> Predictions:
        """The predictions of rows that the encoder has made. Shape: Rows of N -> (N,) each."""
        ...

    def own_files(self) -> Iterable[Path]:
        """Its own files, which no output may replace."""
        ...


@dataclass
class Scored:
    """What was scored: rows, those that could not be, and unseen ids and missing numbers by field."""

    rows: int = 0
    bad: int = 0
    examples: list[str] = field(default_factory=list)  # of rows that could not be scored
    unseen: dict[str, Unseen] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        unseen = {
            name: {"ids": u.ids, "unseen": u.unseen} if u.missing is None else {"numbers": u.ids, "missing": u.missing}
            for name, u in self.unseen.items()
        }
        return {"rows": self.rows, "bad": self.bad, "examples": self.examples, "unseen": unseen}

    def __str__(self) -> str:
        bad = f", {self.bad:,} of them could not be scored and have empty scores" if self.bad else ""
        lines = [f"{self.rows:,} rows{bad}", *(f"  {example}" for example in self.examples)]
        return "\n".join([*lines, unseen_text(self.unseen)])


def score(
    scorer: Scorer,
    files: Sequence[str],
    out: str,
    *,
    tables: Mapping[str, str] | None = None,
    bad_rows: BadRows = "error",
    format: Format | None = None,
    out_format: Format | None = None,
    form: CsvForm = CsvForm(),
    force: bool = False,
    progress: Progress = SILENT,
) -> Scored:
    """Score the rows of files with a run or a bundle, and write them with pctr, pcvr and pctcvr added, in order.

    Args:
        files: CSV, JSON lines or Parquet; "-" is standard input. Other columns than those that are read are kept.
        out: the file to write; it appears when it is whole. "-" is standard output.
        tables: side table -> its file. The columns of a side table that is not given stand in the rows already joined.
        bad_rows: a row that cannot be read ends the work (error), or gets empty scores (empty).
        format, out_format: of the rows and of `out`, where a file's ending does not say it.
        form: how CSV files are written. The files of side tables have a header.
        force: replace a file that is at `out` already. A file that is read, or belongs to the run or the
            bundle, is never replaced.

    Raises: DataError with file and line for a row that cannot be read, for a missing column, and for a column that has
    the name of one that is added.
    """
    tables = tables or {}
    inputs = [Path(name) for name in (*files, *tables.values()) if name != STDIN]
    inputs += scorer.own_files()
    done, total = Scored(), _bytes(files)
    kind = out_format or (format if out == STDIN else None)
    with RowWriter(out, kind, replace=force, inputs=inputs) as writer:
        of_side = replace(form, columns=None, skip=0)
        encoder = scorer.encoder({name: read_table(file, of_side) for name, file in tables.items()})
        progress.start(f"scoring with {scorer.title}", total, "B")
        for name in files:
            for batch in read_rows(name, format, form):
                scores = _scores(scorer, encoder, batch, bad_rows, done)
                writer.write(batch.rows.with_columns(scores), batch.where(0))
                progress.advance(batch.bytes, f"{done.rows:,} rows")
    progress.done(f"{done.rows:,} rows")
    return done


def _scores(scorer: Scorer, encoder: FrameEncoder, batch: RowBatch, bad_rows: BadRows, done: Scored) -> list[pl.Series]:
    """The columns that are added to some rows; NaN becomes null."""
    for name in ADDED:
        if name in batch.rows.columns:
            must, do = f"the rows must have no column '{name}', which is added", "Rename the column, or leave it out"
            raise DataError(must, "there is one", where=batch.file, do=do)
    n = len(batch.rows)
    good = np.ones(n, bool)
    good[list(batch.broken)] = False
    faults = {
        place: f"{batch.where(place)}: the line is no row: {fault.text[:80]}" for place, fault in batch.broken.items()
    }
    if batch.broken and bad_rows == "error":
        raise batch.fault(min(batch.broken))
    places = np.flatnonzero(good)
    rows, bad, unseen = encoder.encode(batch.rows if good.all() else batch.rows.filter(pl.Series(good)))
    for fault in bad:
        place = int(places[fault.row])
        if bad_rows == "error":
            raise fault.error(batch.where(place))
        faults[place] = str(fault.error(batch.where(place)))
        good[place] = False
    done.rows += n
    done.bad += len(faults)
    done.examples += [faults[place] for place in sorted(faults)][: EXAMPLES - len(done.examples)]
    done.unseen = {name: done.unseen[name] + n if name in done.unseen else n for name, n in unseen.items()}
    p = scorer.predict_encoded(encoder, rows, unseen)
    columns = []
    for name in ADDED:
        values = np.full(n, np.nan, np.float32)
        values[good] = getattr(p, name)
        columns.append(pl.Series(name, values, nan_to_null=True))
    return columns


def _bytes(files: Iterable[str]) -> float | None:
    """How much there is to read, if that is known."""
    paths = [Path(name) for name in files]
    return float(sum(p.stat().st_size for p in paths)) if all(p.is_file() for p in paths) else None
