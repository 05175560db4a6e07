"""The scores of a selection model on the validation part, kept in the folder of a run with `training.refit`.

The run itself was trained on the validation part too. So whatever is chosen or fitted on that part (methods,
calibrators, weights of a blend) uses these scores, of the model that knew the training part only.

validation.safetensors    own.pctr, own.pcvr, own.pctcvr, reference_pctr: those that there are. Shape: float32 (N,)
                          reached.click, reached.conversion: the outcomes. Shape: bool (N,)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..core.labels import Counts
from ..dataset.dataset import Part
from ..errors import RunError
from .checkpoint import load_tensors, prefixed, save_tensors, unprefixed
from .outputs import Outputs, average
from .record import VALIDATION, TensorFile

_REFERENCE = "reference_pctr"


@dataclass(frozen=True)
class Kept:
    """Scores and outcomes of the N impressions of a validation part.

    Attributes:
        outputs: what the selection model predicted, uncalibrated, and the pCTR of the reference CTR network.
        reached: stage -> whether each impression reached it. Shape: bool (N,).
        where: the file, for errors.
    """

    outputs: Outputs
    reached: Mapping[str, np.ndarray]
    where: str
    name: str = "validation"  # of the part

    @staticmethod
    def of(outputs: Outputs, validation: Part, folder: Path) -> Kept:
        """The outputs of a run for the validation part, and the outcomes of that part."""
        reached = {stage: validation.column(stage) for stage in validation.counts.reached}
        return Kept(outputs, reached, str(folder / VALIDATION))

    @staticmethod
    def average(many: Sequence[Kept], divides: bool, folder: Path) -> Kept:
        """The scores of an ensemble, from those of its members.

        Args:
            divides: `Method.divides`.
            folder: of the ensemble.
        """
        return Kept(average([one.outputs for one in many], divides), many[0].reached, str(folder / VALIDATION))

    @staticmethod
    def open(folder: Path, file: TensorFile) -> Kept:
        """Read the scores in a run's folder. Raises: RunError if the file is missing or damaged."""
        tensors = load_tensors(folder / file.file, file.sha256)
        own = {name: tensor.numpy() for name, tensor in unprefixed("own.", tensors).items()}
        reference = tensors.get(_REFERENCE)
        outputs = Outputs(own, None if reference is None else reference.numpy())
        reached = {stage: tensor.numpy() for stage, tensor in unprefixed("reached.", tensors).items()}
        return Kept(outputs, reached, str(folder / file.file))

    def save(self, folder: Path) -> TensorFile:
        """Write the scores into a run's folder; the record of the run must name the result."""
        own = {name: torch.from_numpy(p) for name, p in self.outputs.own.items()}
        reached = {stage: torch.from_numpy(values) for stage, values in self.reached.items()}
        tensors = prefixed("own.", own) | prefixed("reached.", reached)
        if self.outputs.reference_pctr is not None:
            tensors[_REFERENCE] = torch.from_numpy(self.outputs.reference_pctr)
        return TensorFile(file=VALIDATION, sha256=save_tensors(folder / VALIDATION, tensors))

    def __len__(self) -> int:
        return self.counts.impressions

    def __bool__(self) -> bool:
        return True

    @property
    def counts(self) -> Counts:
        """Impressions, and how many reached each stage."""
        reached = {stage: int(np.count_nonzero(values)) for stage, values in self.reached.items()}
        return Counts(len(next(iter(self.reached.values()))), reached)

    def must_be_of(self, part: Part) -> None:
        """Raises: RunError if the scores are not those of all impressions of the part, with the rates of its table."""
        if len(part) == len(self) and part.online is None:
            return
        rates = " with online rates" if part.online is not None else ""
        raise RunError(
            "a run with training.refit must be measured on the validation scores that it keeps, or on other parts",
            f"it keeps {len(self):,} scores, and not those of {part}{rates}",
            where=str(Path(self.where).parent),
            do="Use the test part, or the whole validation part of the dataset that it was trained on",
        )

    def column(self, stage: str) -> np.ndarray:
        """Whether each impression reached a stage. Shape: bool (N,)."""
        return self.reached[stage]
