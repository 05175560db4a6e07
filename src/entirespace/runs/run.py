"""A run: one method trained on one dataset from one seed; a folder that training resumes and evaluation reads.

run.json             format, method, seed, configuration, dataset, reference, position, and the SHA-256 of the tensors
metrics.jsonl        a line for each log step and each look at the validation part
step-N.safetensors   while training: weights and the optimizers' state
weights.safetensors  afterwards: the best weights
calibration.json     its calibrators, where it was calibrated
reference/           the run of the reference CTR network, where `train` made one

The reference CTR network is a run of its own. run.json says where it is, seen from the run's folder (`train` puts it
inside, `compare` beside it), and the SHA-256 of its weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..batches.batch import Batch
from ..batches.feed import Feed
from ..config import Config, parse
from ..core.calibrators import Kind
from ..dataset.dataset import Dataset, Part
from ..errors import RunError
from ..methods import from_spec
from ..methods._method import Method
from ..network import Heads, Network
from ..network.probability import value_of
from ..progress import SILENT, Progress
from .calibration import CALIBRATION, Calibration, calibrate, load
from .calibration import save as save_calibration
from .checkpoint import load_tensors
from .outputs import Outputs, Predictions

if TYPE_CHECKING:
    from ..reports.evaluation import Evaluation

FORMAT = "entirespace-run/1"
RUN, METRICS, WEIGHTS, REFERENCE = "run.json", "metrics.jsonl", "weights.safetensors", "reference"
PREDICT_ROWS = 8192


@dataclass(frozen=True)
class Run:
    """A trained run."""

    folder: Path
    method: Method
    seed: int
    config: Config
    dataset_digest: str
    network: Network
    reference: Run | None
    calibration: Calibration = field(default_factory=Calibration)
    without_reference: str = "the run was trained without one"  # why `reference` is None
    keep: Any = None  # the temporary folder of a run without a folder of its own: gone with the run

    def predict(self, part: Part, progress: Progress = SILENT) -> Predictions:
        """pCTR, pCVR and pCTCVR of every impression of a part, calibrated where the run is.

        Raises: RunError for another dataset.
        """
        outputs = self.outputs(part, progress)
        if outputs.pcvr is None:
            raise RunError("a run must have a pCVR to predict it", f"{self.method.label} has none")
        if outputs.pctr is None:
            outputs = outputs.beside(self.reference_pctr(part, progress))
        outputs = self.calibration.apply(outputs)
        assert outputs.pctr is not None
        assert outputs.pcvr is not None
        assert outputs.pctcvr is not None
        return Predictions(outputs.pctr, outputs.pcvr, outputs.pctcvr)

    def scores(self, part: Part, progress: Progress = SILENT) -> Outputs:
        """All that is measured of the run: its own outputs beside the reference CTR network's, calibrated if it is.

        Raises: RunError for another dataset, or where a method with a pCVR has no reference CTR network beside it.
        """
        outputs = self.outputs(part, progress)
        if outputs.pcvr is not None:
            outputs = outputs.beside(self.reference_pctr(part, progress))
        return self.calibration.apply(outputs)

    def needed_reference(self) -> Run:
        """The reference CTR network's run. Raises: RunError where there is none."""
        if self.reference is None:
            raise RunError(
                "the CTCVR task needs the reference CTR network's run",
                self.without_reference,
                where=str(self.folder),
                do="Name the network's run: --reference RUN on the command line, reference= in fit and Run.open",
            )
        return self.reference

    def outputs(self, part: Part, progress: Progress = SILENT) -> Outputs:
        """What the method's own network says, uncalibrated. Raises: RunError for another dataset."""
        self.check(part.dataset)
        pieces: dict[str, list[np.ndarray]] = {}
        progress.start(f"scoring the {part.name} part with {self.method.label}", len(part), "impressions")
        for p in self._heads(part):
            for name, values in self.method.predict(p).items():
                pieces.setdefault(name, []).append(value_of(values).float().cpu().numpy())
            progress.advance(PREDICT_ROWS)
        progress.done()
        return Outputs({name: np.concatenate(values) for name, values in pieces.items()})

    def reference_pctr(self, part: Part, progress: Progress = SILENT) -> np.ndarray:
        """The pCTR of the run's reference CTR network, uncalibrated. Shape: float32 (N,).

        Raises: RunError where there is no such network's run.
        """
        return self.needed_reference().own_pctr(part, progress)

    def own_pctr(self, part: Part, progress: Progress = SILENT) -> np.ndarray:
        """The method's own pCTR, uncalibrated. Shape: float32 (N,). Raises: RunError where it has none."""
        pctr = self.outputs(part, progress).pctr
        if pctr is None:
            raise RunError("a reference CTR network must predict pCTR", f"{self.method.label} does not")
        return pctr

    @torch.inference_mode()
    def pctr(self, batch: Batch) -> Tensor:
        """The method's own pCTR of a batch. Shape: float32 (B,)."""
        return value_of(self.method.predict(self.network(batch))["pctr"])

    @torch.inference_mode()
    def _heads(self, part: Part) -> Iterator[Heads]:
        device = next(self.network.parameters()).device
        for batch in Feed.of(part.dataset).in_order(part.chunks(), PREDICT_ROWS):
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

    def check(self, dataset: Dataset) -> None:
        """Raises: RunError where the dataset is not the one the run was trained on."""
        if dataset.digest != self.dataset_digest:
            raise RunError(
                "a run reads the dataset it was trained on, whose vocabularies it knows",
                f"{dataset.path} is another (digest {dataset.digest[:12]}, the run's {self.dataset_digest[:12]})",
                where=str(self.folder),
            )

    @classmethod
    def open(
        cls, folder: Path | str, dataset: Dataset, reference: Run | None = None, method: Method | None = None
    ) -> Run:
        """A finished run. Nothing is imported by a name in its record.

        Args:
            reference: the run of the reference CTR network, where it is not the one that the record names.
            method: the run's method; needed where its class is one's own.

        Raises: RunError where there is no run, it is not finished or damaged, or it is of another method.
        """
        folder = Path(folder)
        about = read_about(folder)
        if about["status"] != "finished":
            raise RunError(
                "a run must be finished",
                f"it is at epoch {about['position']['epoch'] + 1}",
                where=str(folder),
                do="Give the same `entirespace train` command again: it goes on where it stopped",
            )
        config = parse(Config, about["config"], str(folder / RUN))
        method = _method(about["method"], method, str(folder / RUN))
        if about["dataset"]["digest"] != dataset.digest:
            cls(folder, method, 0, config, about["dataset"]["digest"], None, None).check(dataset)  # type: ignore[arg-type]
        network = build_network(method, dataset, config, about["seed"])
        weights = load_tensors(folder / about["weights"]["file"], about["weights"]["sha256"], "network.")
        network.load_state_dict(weights)
        # a run trained on a GPU is read on any machine
        network.to(config.training.device if torch.cuda.is_available() else "cpu").eval()
        lost = Run.without_reference
        if reference is None and about.get("reference") is not None:
            reference, lost = _recorded_reference(folder, dataset, **about["reference"])
        if reference is not None and "ctr" not in reference.method.heads:
            came = f"{reference.folder} is one of {reference.method.label}"
            raise RunError("the reference must be a run of a CTR network", came, where=str(folder))
        run = cls(folder, method, about["seed"], config, dataset.digest, network, reference, without_reference=lost)
        return replace(run, calibration=load(folder, weights_of(run)))


def _method(spec: dict[str, Any], given: Method | None, where: str) -> Method:
    """The method of a record: the one that is handed in, or one of entirespace."""
    if given is None:
        return from_spec(spec, where)
    if (mine := json.loads(json.dumps(given.spec()))) != spec:
        raise RunError("the method that is handed in must be the run's", f"{mine}, not {spec}", where=where)
    return given


def reference_record(reference: Run | None, folder: Path) -> dict[str, str] | None:
    """What run.json says of the reference CTR network's run: where it is, seen from `folder`, and its weights."""
    if reference is None:
        return None
    path = Path(os.path.relpath(reference.folder.resolve(), folder.resolve())).as_posix()
    return {"path": path, "sha256": read_about(reference.folder)["weights"]["sha256"]}


def _recorded_reference(folder: Path, dataset: Dataset, path: str, sha256: str) -> tuple[Run | None, str]:
    """The reference CTR network's run that a record names; or None, and why it is not there."""
    place = Path(os.path.normpath(folder.resolve() / path))
    if not (place / RUN).exists():
        return None, f"it was at {place}, and is not there any more"
    if read_about(place).get("weights", {}).get("sha256") != sha256:
        return None, f"the run at {place} is another than the one it was trained with"
    return Run.open(place, dataset), ""


def weights_of(run: Run) -> list[str]:
    """SHA-256 of the weights of a run and of its reference: what calibrators were fitted to."""
    folders = [run.folder, *([] if run.reference is None else [run.reference.folder])]
    return [read_about(folder)["weights"]["sha256"] for folder in folders]


def read_about(folder: Path) -> dict[str, Any]:
    """The content of run.json. Raises: RunError where the folder is no run, or of another format."""
    path = folder / RUN
    try:
        about = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RunError(f"a run's folder holds {RUN}", "there is none", where=str(folder)) from error
    except ValueError as error:
        raise RunError(f"{RUN} must be JSON", str(error), where=str(path)) from error
    if about.get("format") != FORMAT:
        raise RunError(f"a run's format must be {FORMAT}", str(about.get("format")), where=str(path))
    return about


def build_network(method: Method, dataset: Dataset, config: Config, seed: int) -> Network:
    """The untrained network of a method: its intercepts stand at the base rates of the training part."""
    train = dataset.train
    return Network(
        method.heads,
        tuple(f.offset for f in dataset.fields),
        dataset.rows,
        config.network,
        share_embedding=method.share_embedding,
        base_rates=method.base_rates(train.counts),
        seed=seed,
        names=[f.name for f in dataset.fields],
    )
