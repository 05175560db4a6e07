"""The scores of a rival in a folder of their own, so that it is trained once.

scores.safetensors   PART.pctr and PART.pcvr; of the validation part those of the trees that had not seen it
rival.json           what was chosen, and the SHA-256 of the scores; written last
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from ..dataset.dataset import Part
from ..errors import RunError
from ..records import Record
from ..runs.checkpoint import load_tensors, save_tensors
from ..runs.outputs import Outputs
from .lightgbm import Chosen, Trees

RIVAL, SCORES = "rival.json", "scores.safetensors"


class RivalRecord(Record):
    """The content of rival.json."""

    FORMAT: ClassVar = "entirespace-rival/1"

    lightgbm: str
    """The version of the package."""
    chosen: dict[str, Chosen]
    """By head."""
    left: tuple[str, ...]
    """The fields that it does not read."""
    scores: str
    """SHA-256 of the scores."""


@dataclass(frozen=True)
class RivalScores:
    """What a rival gives for the validation and the test part."""

    by_part: Mapping[str, Outputs]
    chosen: Mapping[str, Chosen]
    left: tuple[str, ...]
    version: str

    @staticmethod
    def of(trees: Trees, test: Part) -> RivalScores:
        """The scores of a trained rival."""
        by_part = {trees.validation.name: trees.validation_scores(), test.name: trees.outputs(test)}
        return RivalScores(by_part, trees.chosen, trees.columns.left, trees.version)

    def save(self, folder: Path) -> None:
        """Write the files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{part}.{name}": torch.from_numpy(np.ascontiguousarray(p))
            for part, outputs in self.by_part.items()
            for name, p in outputs.own.items()
        }
        scores = save_tensors(folder / SCORES, tensors)
        record = RivalRecord(lightgbm=self.version, chosen=dict(self.chosen), left=self.left, scores=scores)
        record.write(folder / RIVAL)

    @staticmethod
    def there(folder: Path) -> RivalScores | None:
        """The scores of a folder; None if there are none, or not all. Raises: RunError if they were changed."""
        if not (folder / RIVAL).exists():
            return None
        must, do = "the scores of a rival must be as they were written", "Delete the folder, and compare again"
        record = RivalRecord.read(folder / RIVAL, RunError, what="a rival", must=must, missing="there is none", do=do)
        by_part: dict[str, dict[str, np.ndarray]] = {}
        for name, tensor in load_tensors(folder / SCORES, record.scores).items():
            part, _, head = name.partition(".")
            by_part.setdefault(part, {})[head] = tensor.numpy()
        found = {part: Outputs(own) for part, own in by_part.items()}
        return RivalScores(found, record.chosen, record.left, record.lightgbm)
