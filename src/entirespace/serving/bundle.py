"""A bundle: a frozen model in a folder that scores raw rows without torch. `entirespace export` makes it.

manifest.json          what it is, the inputs of its program, and the SHA-256 of every file
program.onnx           the program: networks, products of probabilities, calibrators
program.onnx.data      its weights, which onnxruntime maps into memory
layout.json            with vocabulary/ and, if there is a history, history/: the run's own files
schema.json            the columns that a row must have, and which belong to a request
lookup/                tables of many ids, which are mapped into memory (serving/encoders.py)
model_card.json        data, counts, metrics, calibration, drift reference; model_card.md is the same to read
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.rows import Rows
from ..features.frames import FrameEncoder, Unseen
from ..features.history.newer import Newer
from ..features.layout import Encoders, Layout
from ..scoring.predictions import Predictions
from .card import ModelCard
from .encoders import open_encoders
from .inputs import joined
from .manifest import MANIFEST, PROGRAM, BundleManifest
from .program import Program
from .schema import BundleSchema


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle that is open: `predict` scores frames of raw rows as `Run.predict` does, to 1e-6.

    Attributes:
        program: the session, with `score` for requests with candidates that are encoded.
        layout, encoders: turn raw values into embedding rows.
        schema: the columns that a row must have.
    """

    folder: Path
    manifest: BundleManifest
    layout: Layout
    encoders: Encoders
    program: Program
    schema: BundleSchema
    card: ModelCard

    @staticmethod
    def open(folder: Path | str, *, threads: int = 1) -> Bundle:
        """Verify every file of a bundle, and open it.

        Args:
            threads: of one call of the program.

        Raises: BundleError that names the file that is missing, damaged or of another format.
        """
        folder = Path(folder)
        manifest = BundleManifest.open(folder)
        manifest.verify(folder)
        layout = Layout.open(folder)
        program = Program(folder / PROGRAM, manifest.inputs, layout.rates, threads)
        encoders = open_encoders(folder, layout)
        return Bundle(folder, manifest, layout, encoders, program, BundleSchema.open(folder), ModelCard.open(folder))

    @property
    def title(self) -> str:
        """The method and the seeds."""
        return self.manifest.name

    def own_files(self) -> Iterator[Path]:
        """The files of the bundle, which no output may replace."""
        yield from (self.folder / name for name in (*self.manifest.files, MANIFEST))

    def encoder(self, tables: Mapping[str, Any] | None = None) -> FrameEncoder:
        """The encoder of data frames of raw rows. A frame needs only the columns of the fields that are read.

        Args:
            tables: side tables as data frames, by name. The columns of one that is not given must be in each frame.

        Raises: DataError if a side table is unknown, or a row of it cannot be encoded.
        """
        return FrameEncoder(self.encoders, tables, frozenset(self.manifest.fields))

    def predict(self, data: Any, *, tables: Mapping[str, Any] | None = None, newer: Newer | None = None) -> Predictions:
        """pCTR, pCVR and pCTCVR of every row of a data frame of raw rows (polars, pandas or Arrow).

        Args:
            tables: the side tables, name -> data frame. Absent: `data` has their columns already.
            newer: what was counted after the bundle was exported; see `serving.fresh`.

        Raises: DataError if the frame lacks a column or has a value that is not a valid id or number.
        """
        encoder = self.encoder(tables)
        rows, bad, unseen = encoder.encode(data, newer)
        if bad:
            raise bad[0].error(f"the impressions, row {bad[0].row + 1}")
        return self.predict_encoded(encoder, rows, unseen)

    def predict_encoded(self, encoder: FrameEncoder, rows: Rows, unseen: Mapping[str, Unseen]) -> Predictions:
        """The predictions of rows that `encoder` has made."""
        whole = joined(rows, (f for f in encoder.fields if f.name in self._fields), encoder.tables)
        pctr, pcvr, pctcvr = self.program.score_rows(whole)
        return Predictions(pctr, pcvr, pctcvr, unseen)

    @property
    def _fields(self) -> frozenset[str]:
        inputs = self.manifest.inputs
        return frozenset((*inputs.request.fields, *inputs.candidate.fields))
