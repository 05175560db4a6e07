"""The true probabilities of a log that gives them: files with one row per row of the log, in the same order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from ..errors import DataError
from .files import File, columns_of, frames, must_be_different
from .lines import Fault
from .schema import TruthSchema

ONE_EACH = "the truth must have one row for each impression"


class Truth:
    """Reads the true pCTR and pCVR in step with the impressions, block by block.

    Each block of impressions takes as many rows of the truth as it read from the log, and keeps those of the rows that
    it kept. So a row that is quarantined or left out does not shift the truth of later rows.

    Args:
        schema: how the files are written, and the names of their columns.
        files: CSV or Parquet.

    Raises: DataError if a column is missing, or occurs twice.
    """

    def __init__(self, schema: TruthSchema, files: list[File]) -> None:
        self._names, self._schema = (schema.pctr, schema.pcvr), schema
        for file in files:
            columns = columns_of(file, schema.csv())
            must_be_different(columns, self._names, file)
            for name in self._names:
                if name not in columns:
                    came = f"it has {', '.join(columns)}"
                    raise DataError(f"the truth must have a column '{name}'", came, where=file.name)
        self._where = ", ".join(file.name for file in files)
        self._frames = self._read(files)
        self._ahead = pl.DataFrame()  # rows that were read from the files, but not taken yet
        self._taken = 0

    def take(self, count: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take the next `count` rows of the truth, and return (pCTR, pCVR) of those at `places`.

        Shape: places int (n,), from 0 within these rows -> float32 (n,) each.

        Raises: DataError if the truth has fewer rows than the log, or a value that is no probability.
        """
        while len(self._ahead) < count:
            more = next(self._frames, None)
            if more is None:
                came = f"it has {self._taken + len(self._ahead):,} rows, and there are more impressions"
                raise DataError(ONE_EACH, came, where=self._where)
            self._ahead = pl.concat([self._ahead, more]) if len(self._ahead) else more
        here, self._ahead = self._ahead[places], self._ahead[count:]
        self._taken += count
        pctr, pcvr = (here[name].to_numpy() for name in self._names)
        return pctr, pcvr

    def end(self) -> None:
        """Call after the last impression. Raises: DataError if the truth has more rows than the log."""
        left = len(self._ahead) + sum(map(len, self._frames))
        if left:
            came = f"it has {self._taken + left:,} rows, and there are {self._taken:,} impressions"
            raise DataError(ONE_EACH, came, where=self._where)

    def _read(self, files: list[File]) -> Iterator[pl.DataFrame]:
        for file in files:

            def refuse(line: int, fault: Fault, file: File = file) -> None:
                must, where = "the truth must be numbers from 0 to 1", f"{file.name}, {file.unit} {line}"
                raise DataError(must, f"'{fault.text}'", where=where, do=fault.do or None)

            for frame in frames(file, list(self._names), self._schema.csv(), refuse):
                rows = frame.rows.select(pl.col(n).cast(pl.Float32, strict=False) for n in self._names)
                good = rows.select(
                    pl.all_horizontal(pl.all().is_between(0, 1).fill_null(False))
                ).to_series()  # NaN is not
                for i in (~good).arg_true()[:1]:
                    named = frame.rows.select(self._names).row(i, named=True)
                    said = ", ".join(f"{name} = {value}" for name, value in named.items())
                    refuse(int(frame.lines[i]), Fault(said))
                yield rows
