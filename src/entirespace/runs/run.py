"""A run: one method trained on one dataset from one seed; a folder that stands alone.

run.json             what it was made from, how far it is, and the SHA-256 of the tensors (runs/record.py)
layout.json          with vocabulary/: what makes rows of raw values; hard links to the dataset's files
metrics.jsonl        one line for each log step and each validation
step-N.safetensors   while training: weights and the optimizers' state
weights.safetensors  when finished: the best weights
calibration.json     its calibrators, if it was calibrated
reference/           the run of the reference CTR network: a run of its own, by hard links if it was trained elsewhere
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..batches.batch import Batch
from ..batches.impressions import Impressions
from ..config import Config, parse
from ..core.calibrators import Kind
from ..core.labels import Counts
from ..dataset.dataset import Dataset, Part
from ..errors import RunError
from ..features.layout import Encoders, Layout
from ..methods import from_spec
from ..methods._method import Method
from ..network import Heads, Network
from ..network.probability import value_of
from ..progress import SILENT, Progress
from .calibration import CALIBRATION, Calibration, calibrate, load_calibration, save_calibration
from .checkpoint import load_tensors
from .outputs import Outputs, Predictions
from .record import REFERENCE, RUN, RunRecord, weights_sha256

if TYPE_CHECKING:
    from ..reports.evaluation import Evaluation

PREDICT_ROWS = 8192
Data = Impressions | Part | Dataset | Any
"""A part; a dataset prepared with the layout of the run (all its parts in order); or a data frame of raw rows."""


@dataclass(frozen=True)
class Run:
    """A trained run."""

    folder: Path
    method: Method
    seed: int
    config: Config
    layout: Layout
    network: Network
    reference: Run | None
    calibration: Calibration = field(default_factory=Calibration)
    without_reference: str = "the run was trained without one"  # why `reference` is None
    keep: Any = None  # the temporary folder of a run without a folder of its own: gone with the run

    @staticmethod
    def open(folder: Path | str, *, reference: Run | None = None, method: Method | None = None) -> Run:
        """A finished run; its dataset is not needed. Nothing is imported by a name in its record.

        Args:
            reference: the run of the reference CTR network, if it is not the one in the run's folder.
            method: the run's method; needed if its class is one's own.

        Raises: RunError where there is no run, it is not finished or damaged, or it is of another method.
        """
        folder = Path(folder)
        record = RunRecord.finished(folder)
        config = parse(Config, record.config, str(folder / RUN))
        method = _method(record.method, method, str(folder / RUN))
        layout = Layout.open(folder)
        if layout.digest != record.layout:
            came = f"its digest is {layout.digest[:12]}, not {record.layout[:12]}"
            raise RunError("a run's layout must be the one that it was trained with", came, where=str(folder))
        counts = Counts(record.dataset.impressions, record.dataset.reached)
        network = build_network(method, layout, counts, config, record.seed)
        assert record.weights is not None
        weights = load_tensors(folder / record.weights.file, record.weights.sha256, "network.")
        network.load_state_dict(weights)
        lost = Run.without_reference
        if reference is None and record.reference is not None:
            reference, lost = _own_reference(folder, record.reference)
        run = Run(folder, method, record.seed, config, layout, network, reference, without_reference=lost)
        return run.ready()

    def ready(self) -> Run:
        """The run as it is read: on a device that is there, with the calibration of its folder.

        Raises: RunError where the reference is no CTR network's run, or the calibration belongs to other weights.
        """
        if self.reference is not None and "pctr" not in self.reference.method.predicts:
            came = f"{self.reference.folder} is one of {self.reference.method.label}"
            raise RunError("the reference must be a run of a CTR network", came, where=str(self.folder))
        # a run trained on a GPU is read on any machine
        self.network.to(self.config.training.device if torch.cuda.is_available() else "cpu").eval()
        return replace(self, calibration=load_calibration(self.folder, weights_of(self)))

    @cached_property
    def encoders(self) -> Encoders:
        """What makes rows of raw values."""
        return Encoders.open(self.folder)

    def predict(
        self, data: Data, *, tables: Mapping[str, Any] | None = None, progress: Progress = SILENT
    ) -> Predictions:
        """pCTR, pCVR and pCTCVR of every impression, calibrated if the run is.

        Args:
            data: a part; a dataset prepared with the run's layout; or a data frame of raw rows (polars, pandas or
                Arrow), whose labels are not needed.
            tables: for a data frame: side tables by name, as data frames; absent: their columns stand in it already.

        Raises: RunError for a dataset of another layout. DataError where a frame lacks a column or holds what is no id
        or number.
        """
        impressions = self.impressions(data, tables)
        outputs = self.outputs(impressions, progress)
        if outputs.pcvr is None:
            raise RunError("a run must have a pCVR to predict it", f"{self.method.label} has none")
        if outputs.pctr is None:
            outputs = outputs.beside(self.reference_pctr(impressions, progress))
        outputs = self.calibration.apply(outputs)
        assert outputs.pctr is not None
        assert outputs.pcvr is not None
        assert outputs.pctcvr is not None
        return Predictions(outputs.pctr, outputs.pcvr, outputs.pctcvr, impressions.unseen)

    def impressions(self, data: Data, tables: Mapping[str, Any] | None = None) -> Impressions:
        """Data as rows of the run's layout. Raises: as `predict`."""
        found = Impressions.of(data, lambda: self.encoders, tables)
        if found.layout != self.layout.digest:
            raise RunError(
                "a run reads impressions of its own layout, whose vocabularies it knows",
                f"{found.where} has another (digest {found.layout[:12]}, the run's {self.layout.digest[:12]})",
                where=str(self.folder),
                do="Prepare the log with `prepare SCHEMA RAW DATASET --encoders RUN`",
            )
        return found

    def scores(self, data: Data, progress: Progress = SILENT) -> Outputs:
        """All that is measured of the run: its own outputs beside the reference CTR network's, calibrated if it is.

        Raises: RunError for another layout, or where a method with a pCVR has no reference CTR network beside it.
        """
        outputs = self.outputs(data, progress)
        if outputs.pcvr is not None:
            outputs = outputs.beside(self.reference_pctr(data, progress))
        return self.calibration.apply(outputs)

    def needed_reference(self) -> Run:
        """The reference CTR network's run. Raises: RunError where there is none."""
        if self.reference is None:
            raise RunError(
                "the CTCVR task needs the reference CTR network's run",
                self.without_reference,
                where=str(self.folder),
                do="Name the network's run: --reference RUN on the command line, reference= in fit and load",
            )
        return self.reference

    def outputs(self, data: Data, progress: Progress = SILENT) -> Outputs:
        """What the method's own network says, uncalibrated. Raises: RunError for another layout."""
        impressions = self.impressions(data)
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in self.method.predicts}
        progress.start(f"scoring {impressions.name} with {self.method.label}", len(impressions), "impressions")
        for p in self._heads(impressions):
            for name, values in self.method.predict(p).items():
                pieces[name].append(value_of(values).float().cpu().numpy())
            progress.advance(PREDICT_ROWS)
        progress.done()
        empty = np.zeros(0, np.float32)
        return Outputs({name: np.concatenate([empty, *values]) for name, values in pieces.items()})

    def reference_pctr(self, data: Data, progress: Progress = SILENT) -> np.ndarray:
        """The pCTR of the run's reference CTR network, uncalibrated. Shape: float32 (N,).

        Raises: RunError where there is no such network's run.
        """
        return self.needed_reference().own_pctr(data, progress)

    def own_pctr(self, data: Data, progress: Progress = SILENT) -> np.ndarray:
        """The method's own pCTR, uncalibrated. Shape: float32 (N,). Raises: RunError where it has none."""
        pctr = self.outputs(data, progress).pctr
        if pctr is None:
            raise RunError("a reference CTR network must predict pCTR", f"{self.method.label} does not")
        return pctr

    @torch.inference_mode()
    def pctr(self, batch: Batch) -> Tensor:
        """The method's own pCTR of a batch. Shape: float32 (B,)."""
        return value_of(self.method.predict(self.network(batch))["pctr"])

    @torch.inference_mode()
    def _heads(self, impressions: Impressions) -> Iterator[Heads]:
        device = next(self.network.parameters()).device
        for batch in impressions.batches(PREDICT_ROWS):
            yield self.network(batch.to(device))

    def evaluate(self, part: Part, by: Sequence[str] = ()) -> Evaluation:
        """AUC, log loss and calibration on a part (paper, section 3.1, "Metric"), and by the values of fields."""
        from ..experiments.protocol import evaluate

        return evaluate(self, part, by=by)

    def calibrate(
        self,
        validation: Part,
        kind: Kind | None = None,
        *,
        negatives_kept: float | None = None,
        save: bool = False,
        progress: Progress = SILENT,
    ) -> Run:
        """This run with calibrators fitted on the validation part.

        Args:
            kind: "platt", "isotonic", or "none", which takes them away. Absent: the calibrators that the run has.
            negatives_kept: the share r of un-clicked impressions that the log holds: pCTR and pCTCVR are corrected
                to the full space. Absent: as the run has it.
            save: store them in the run's folder. Absent: only the run that is returned has them.

        Raises: ConfigError for another part than validation. RunError where it has too little to fit on.
        """
        found = calibrate(self, validation, kind, negatives_kept, progress)
        if save and found == Calibration():
            (self.folder / CALIBRATION).unlink(missing_ok=True)
        elif save:
            save_calibration(self.folder, found, weights_of(self))
        return replace(self, calibration=found)


load = Run.open
"""The public name, `entirespace.load`."""


def _method(spec: dict[str, Any], given: Method | None, where: str) -> Method:
    """The method of a record: the one that is handed in, or one of entirespace."""
    if given is None:
        return from_spec(spec, where)
    if (mine := json.loads(json.dumps(given.spec()))) != spec:
        raise RunError("the method that is handed in must be the run's", f"{mine}, not {spec}", where=where)
    return given


def _own_reference(folder: Path, sha256: str) -> tuple[Run | None, str]:
    """The reference CTR network's run in a run's folder; or None, and why it is not there."""
    place = folder / REFERENCE
    if not (place / RUN).exists():
        return None, f"it was at {place}, and is not there any more"
    if weights_sha256(place) != sha256:
        return None, f"the run at {place} is another than the one it was trained with"
    return Run.open(place), ""


def weights_of(run: Run) -> list[str]:
    """SHA-256 of the weights of a run and of its reference: what calibrators were fitted to."""
    return [weights_sha256(r.folder) for r in (run, run.reference) if r is not None]


def build_network(method: Method, layout: Layout, counts: Counts, config: Config, seed: int) -> Network:
    """The untrained network of a method: its intercepts stand at the base rates of the training part."""
    return Network(
        method.heads,
        layout.offsets,
        layout.rows,
        config.network,
        share_embedding=method.share_embedding,
        base_rates=method.base_rates(counts),
        seed=seed,
        names=[f.name for f in layout.fields],
    )
