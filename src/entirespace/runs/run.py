"""A run: one method trained on one dataset from one seed, in a folder that can be used without the dataset.

run.json             what it was trained from, how far training is, and the SHA-256 of the tensors (runs/record.py)
layout.json          with vocabulary/: the encoders, which turn raw values into embedding rows (links to the dataset's)
metrics.jsonl        one line for each log step and each validation
step-N.safetensors   while training: weights and the optimizers' state
weights.safetensors  when finished: the best weights
validation.safetensors  with training.refit: the scores of the selection model on the validation part (runs/kept.py)
calibration.json     the calibrators, if the run was calibrated: with training.calibrate, or later
coefficients.json    the coefficients of the logistic baseline, by rate, if the run has one; only to be read
reference/           the run of the reference CTR network (hard links if it was trained elsewhere)

An ensemble is a run, too: its network is that of several runs, which are in members/0, members/1, ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..batches.batch import Batch
from ..batches.impressions import Impressions, encoded
from ..config import Config, parse
from ..core.calibrators import Kind
from ..core.labels import Counts
from ..core.rows import Rows
from ..dataset.dataset import Dataset, Part
from ..errors import ConfigError, RunError
from ..features.chosen import ChosenFields
from ..features.frames import FrameEncoder, Unseen
from ..features.layout import Encoders, Layout
from ..methods._method import Method
from ..network import Ensemble, Heads, Network
from ..network.probability import value_of
from ..progress import SILENT, Progress
from ..scoring.predictions import Predictions
from .build import build_network, fields_of, recorded_method
from .calibration import Calibration, calibrate, load_calibration, save_calibration
from .checkpoint import load_tensors
from .coefficients import Coefficients, coefficients
from .kept import Kept
from .outputs import Outputs
from .record import CALIBRATION, REFERENCE, RUN, RunRecord, TensorFile, files_of, members_of, weights_sha256

if TYPE_CHECKING:
    from ..reports.evaluation import Evaluation
    from ..serving.bundle import Bundle

PREDICT_ROWS = 8192
Data = Impressions | Part | Dataset | Any
"""A part; a dataset prepared with the layout of the run (all its parts, in order); or a data frame of raw rows."""


@dataclass(frozen=True)
class Run:
    """A trained run: `predict` and `evaluate` use it, `calibrate` gives a calibrated one, `open` reads one."""

    folder: Path
    method: Method
    seed: int
    config: Config
    layout: Layout
    network: Network | Ensemble
    reference: Run | None
    calibration: Calibration = field(default_factory=Calibration)
    without_reference: str = "the run was trained without one"  # why `reference` is None
    kept: TensorFile | None = None  # with training.refit: the scores of the selection model; see `validation_scores`
    members: tuple[Run, ...] = ()  # of an ensemble: its runs, from whose seeds `seed` is the first
    keep: Any = None  # the temporary folder of a run that was fitted without `out`; deleted together with the run

    @staticmethod
    def open(folder: Path | str, *, reference: Run | None = None, method: Method | None = None) -> Run:
        """Open a finished run. Its dataset is not needed, and nothing is imported by a name in its record.

        Args:
            reference: the run of the reference CTR network, if it is not the one in the run's folder.
            method: the run's method; needed only if its class is your own.

        Raises: RunError if the folder holds no run, an unfinished or a damaged one, or the run of another method.
        """
        folder = Path(folder)
        record = RunRecord.finished(folder)
        config = parse(Config, record.config, str(folder / RUN))
        method = recorded_method(record.method, method, str(folder / RUN))
        layout = Layout.open(folder)
        if layout.digest != record.layout:
            came = f"the layout's digest is {layout.digest[:12]}, not {record.layout[:12]}"
            raise RunError("a run must have the layout that it was trained with", came, where=str(folder))
        why_none = Run.without_reference
        if reference is None and record.reference is not None:
            reference, why_none = _own_reference(folder, record.reference)
        places = members_of(folder, record)
        members = tuple(Run.open(place, reference=reference, method=method) for place in places)
        if members:
            network = Ensemble([member.network for member in members if isinstance(member.network, Network)])
        else:
            counts = Counts(record.dataset.impressions, record.dataset.reached)
            network = build_network(method, layout, counts, config, record.seed)
            assert record.weights is not None
            network.load_state_dict(load_tensors(folder / record.weights.file, record.weights.sha256, "network."))
        run = Run(folder, method, record.seed, config, layout, network, reference, without_reference=why_none)
        return replace(run, members=members, kept=record.validation).ready()

    def ready(self) -> Run:
        """The run in evaluation mode, on a device that this machine has, with the calibration of its folder.

        Raises: RunError if the reference predicts no pCTR, or if the calibrators were fitted to other weights.
        """
        if self.reference is not None and "pctr" not in self.reference.method.predicts:
            came = f"{self.reference.folder} is a run of {self.reference.method.label}"
            raise RunError("the reference must be a run of a CTR network", came, where=str(self.folder))
        # a run that was trained on a GPU can be used on any machine
        self.network.to(self.config.training.device if torch.cuda.is_available() else "cpu").eval()
        return replace(self, calibration=load_calibration(self.folder, weights_of(self)))

    @property
    def title(self) -> str:
        """The method and the seed, or the size and the seeds of an ensemble."""
        if not self.members:
            return f"{self.method.label}, seed {self.seed}"
        seeds = ", ".join(str(member.seed) for member in self.members)
        return f"{self.method.label}, ensemble of {len(self.members)}, seeds {seeds}"

    def own_files(self) -> Iterator[Path]:
        """The files of the run and of its reference CTR network, which no output may replace."""
        return files_of(one.folder for one in (self, self.reference) if one is not None)

    @cached_property
    def encoders(self) -> Encoders:
        """The encoders, which turn raw values into embedding rows."""
        return Encoders.open(self.folder)

    @property
    def coefficients(self) -> dict[str, Coefficients]:
        """The coefficients of the logistic baseline, by head; empty for a run without one."""
        return coefficients(self.network, self.layout.rates)

    @cached_property
    def chosen(self) -> ChosenFields:
        """The fields that the run's own network reads."""
        return fields_of(self.method, self.layout, self.config, str(self.folder))

    @cached_property
    def read(self) -> frozenset[str]:
        """The fields that `predict` reads: its network's, and the reference CTR network's if that gives the pCTR."""
        if self.reference is None or "pctr" in self.method.predicts:
            return self.chosen.read
        return self.chosen.read | self.reference.read

    def encoder(self, tables: Mapping[str, Any] | None = None) -> FrameEncoder:
        """The encoder of data frames of raw rows. A frame needs no columns of fields that `predict` does not read.

        Args:
            tables: side tables as data frames, by name. The columns of one that is not given must be in each frame.

        Raises: DataError if a side table is unknown, or a row of it cannot be encoded.
        """
        return FrameEncoder(self.encoders, tables, self.read)

    def predict(
        self, data: Data, *, tables: Mapping[str, Any] | None = None, progress: Progress = SILENT
    ) -> Predictions:
        """pCTR, pCVR and pCTCVR of every impression, calibrated if the run is calibrated.

        Args:
            data: a part; a dataset prepared with the run's layout; or a data frame of raw rows (polars, pandas or
                Arrow), whose labels are not needed.
            tables: for a data frame: the side tables, name -> data frame. Absent: `data` has their columns already.

        Raises: RunError for a dataset of another layout, or a method without pCVR. DataError if a frame lacks a column
        or has a value that is not a valid id or number.
        """
        impressions = self.impressions(data, tables)
        p = self.calibration.apply(self.uncalibrated(impressions, progress)).bid()
        unseen = {name: found for name, found in impressions.unseen.items() if name in self.read}
        return Predictions(p["ctr"], p["cvr"], p["ctcvr"], unseen)

    def uncalibrated(self, data: Data, progress: Progress = SILENT) -> Outputs:
        """What `predict` calibrates: own outputs, and the reference's pCTR if there is none. Raises: as `predict`."""
        if "pcvr" not in self.method.predicts:
            raise RunError("the run's method must predict pCVR", f"{self.method.label} does not")
        outputs = self.outputs(data, progress)
        return outputs if outputs.pctr is not None else outputs.beside(self.reference_pctr(data, progress))

    def predict_encoded(self, encoder: FrameEncoder, rows: Rows, unseen: Mapping[str, Unseen]) -> Predictions:
        """The predictions of rows that `encoder` has made. Raises: as `predict`."""
        return self.predict(encoded(encoder, rows, unseen))

    def impressions(self, data: Data, tables: Mapping[str, Any] | None = None) -> Impressions:
        """Encode data as rows of the run's layout. Raises: as `predict`."""
        found = Impressions.of(data, lambda: self.encoder(tables))
        if found.layout != self.layout.digest:
            raise RunError(
                "the data must be prepared with the layout of the run",
                f"{found.where} has another layout ({found.layout[:12]}, not {self.layout.digest[:12]})",
                where=str(self.folder),
                do="Prepare the log with `prepare SCHEMA RAW DATASET --encoders RUN`",
            )
        return found

    def scores(self, data: Data, progress: Progress = SILENT) -> Outputs:
        """The run's own outputs and the reference CTR network's pCTR, calibrated if the run is: all that is measured.

        Raises: RunError for another layout, or if the method has a pCVR and the run has no reference CTR network.
        """
        outputs = self.own_scores(data, progress)
        if outputs.pcvr is not None:
            outputs = outputs.beside(self.reference_pctr(data, progress))
        return self.calibration.apply(outputs)

    def own_scores(self, data: Data, progress: Progress = SILENT) -> Outputs:
        """The outputs of the method's own network, uncalibrated, by which the run is measured.

        For the validation part that a run with training.refit has learned from, they are those of its selection model.
        Raises: RunError for another layout, or for some of the impressions of that part.
        """
        if not isinstance(data, Part) or not self.learned_from(data):
            return self.outputs(data, progress)
        self.must_keep(data)
        kept = self.kept_validation
        assert kept is not None
        return Outputs(kept.outputs.own)

    def learned_from(self, part: Part) -> bool:
        """Whether the part is the validation part that the run has learned from, with training.refit."""
        if self.kept is None or part.name != Kept.name:
            return False
        return part.dataset.digest == RunRecord.open(self.folder).dataset.digest

    @cached_property
    def kept_validation(self) -> Kept | None:
        """The scores of the selection model and the outcomes of the validation part; None without training.refit.

        Raises: RunError if their file is missing or damaged.
        """
        return None if self.kept is None else Kept.open(self.folder, self.kept)

    def validation_scores(self, validation: Part | None = None, progress: Progress = SILENT) -> Outputs:
        """The uncalibrated scores of the validation part by a model that did not learn from it, and those of the
        reference CTR network, if there is one: those that a run with training.refit keeps, otherwise the run's own.
        Selection, calibrators and blends use only these.

        Args:
            validation: the part. Absent: that of the dataset that the run was trained on, if the scores are not kept.

        Raises: RunError if the kept scores are damaged or of other impressions. DataError if the dataset is missing.
        """
        kept, record = self.kept_validation, RunRecord.open(self.folder)
        if kept is not None and (validation is None or self.learned_from(validation)):
            if validation is not None:
                self.must_keep(validation)
            if self.reference is None or weights_sha256(self.reference.folder) == record.reference:
                return kept.outputs
        part = Dataset(record.dataset.path).validation if validation is None else validation
        own = self.own_scores(part, progress)
        return own if self.reference is None else own.beside(self.reference.own_pctr(part, progress))

    def must_keep(self, part: Part) -> None:
        """Raises: RunError if the run has learned from a part, and does not keep the scores of just its impressions."""
        kept = self.kept_validation
        if kept is not None and self.learned_from(part):
            kept.must_be_of(part)

    def needed_reference(self) -> Run:
        """The run of the reference CTR network. Raises: RunError if there is none."""
        if self.reference is None:
            raise RunError(
                "the CTCVR task needs the run of the reference CTR network",
                self.without_reference,
                where=str(self.folder),
                do="Give that run: --reference RUN on the command line, reference= in fit and load",
            )
        return self.reference

    def outputs(self, data: Data, progress: Progress = SILENT) -> Outputs:
        """The outputs of the method's own network, uncalibrated. Shape: float32 (N,) each.

        Raises: RunError for another layout.
        """
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
        """The pCTR of the reference CTR network, uncalibrated. Shape: float32 (N,).

        Raises: RunError if the run has no reference, or for another layout.
        """
        return self.needed_reference().own_pctr(data, progress)

    def own_pctr(self, data: Data, progress: Progress = SILENT) -> np.ndarray:
        """The method's own pCTR, uncalibrated. Shape: float32 (N,). Raises: RunError if the method has none."""
        pctr = self.own_scores(data, progress).pctr
        if pctr is None:
            raise RunError("a reference CTR network must predict pCTR", f"{self.method.label} does not")
        return pctr

    @torch.inference_mode()
    def pctr(self, batch: Batch) -> Tensor:
        """The method's own pCTR of a batch of the fields `chosen`, uncalibrated. Shape: float32 (B,)."""
        return value_of(self.method.predict(self.network(batch))["pctr"])

    @torch.inference_mode()
    def _heads(self, impressions: Impressions) -> Iterator[Heads]:
        device = self.network.device
        for batch in impressions.batches(self.chosen, PREDICT_ROWS):
            yield self.network(batch.to(device))

    def evaluate(self, part: Part, by: Sequence[str] = ()) -> Evaluation:
        """AUC, log loss and calibration on a part (paper, section 3.1, "Metric"); calibration also by the values of the
        fields `by`. Raises: as `experiments.protocol.evaluate`."""
        from ..experiments.protocol import evaluate

        return evaluate(self, part, by=by)

    def export(self, out: Path | str, **options: Any) -> Bundle:
        """Write the run as a bundle, which scores raw rows without torch, into a new or empty folder.

        `options` (request, force, threads, progress) and errors are those of `export.export.export`.
        """
        from ..export.export import export

        return export(self, out, **options)

    def calibrate(
        self,
        validation: Part | None = None,
        kind: Kind | None = None,
        *,
        negatives_kept: float | None = None,
        save: bool = False,
        progress: Progress = SILENT,
    ) -> Run:
        """This run with calibrators fitted to `validation_scores`.

        Args:
            validation: a validation part. Absent: that of the dataset that the run was trained on, or the scores that
                a run with training.refit keeps of it.
            kind: "temperature", "platt" or "isotonic"; "auto": temperature or Platt where it lowers the log loss over
                folds; "none" removes the calibrators. Absent: keep those that the run has.
            negatives_kept: the share r, in (0, 1], of un-clicked impressions that the log holds. pCTR and pCTCVR are
                corrected to the entire space. Absent: keep the share that the run has.
            save: also store the calibration in the run's folder. Otherwise only the returned run has it.

        Raises: ConfigError for a part other than validation, or one that the run has learned from; for an unknown kind
        or a share outside (0, 1]. RunError if the validation part has too few outcomes to fit on, but not for "auto".
        """
        part: Part | Kept | None = validation
        trained_on = RunRecord.open(self.folder).dataset
        if validation is None:
            part = self.kept_validation or Dataset(trained_on.path).validation
        elif self.learned_from(validation):
            raise ConfigError(
                "a run with training.refit must be calibrated on the validation scores that it keeps",
                f"{validation} was given, from which it has learned",
                where=str(self.folder),
                do="Leave out the part",
            )
        assert part is not None
        counts = Counts(trained_on.impressions, trained_on.reached)
        scores = partial(self.validation_scores, validation, progress)
        found = calibrate(self.calibration, scores, part, kind, negatives_kept, counts)
        if save and found == Calibration():
            (self.folder / CALIBRATION).unlink(missing_ok=True)
        elif save:
            save_calibration(self.folder, found, weights_of(self))
        return replace(self, calibration=found)


load = Run.open
"""The public name, `entirespace.load`."""


def _own_reference(folder: Path, sha256: str) -> tuple[Run | None, str]:
    """The reference run in a run's folder and ""; or None and the reason why it cannot be used."""
    place = folder / REFERENCE
    if not (place / RUN).exists():
        return None, f"{place} is missing"
    if weights_sha256(place) != sha256:
        return None, f"{place} is not the run that it was trained with"
    return Run.open(place), ""


def weights_of(run: Run) -> list[str]:
    """SHA-256 of the weights of a run and of its reference, if it has one; calibrators are fitted to these weights."""
    return [weights_sha256(r.folder) for r in (run, run.reference) if r is not None]
