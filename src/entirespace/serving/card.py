"""The model card of a bundle, as values: data, counts, metrics, calibration, and what drift is measured against."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ..config import Model
from ..errors import BundleError
from ..records import Record
from .manifest import CARD, Parity

RAW_IDS = (
    "This bundle holds raw ids: the vocabularies in vocabulary/ and lookup/ and the counts in history/ have the ids of "
    "users and items as they are in the log. Treat it as you treat the log."
)


class TrainedOnCard(Model):
    """The data that the run was trained on."""

    dataset: str
    """Digest of the dataset."""
    impressions: int
    """Of the training part."""
    reached: dict[str, int]
    """Stage -> impressions of the training part that reached it."""
    rates: dict[str, float]
    """The base rates of the training part: ctr, cvr (of clicked impressions) and ctcvr."""


class ValidationCard(Model):
    """The metrics on the validation part, of the calibrated scores. null: undefined."""

    scores: str
    """Whose scores: of the run, or of the selection model of a run that was trained on this part, too."""
    impressions: int
    reached: dict[str, int]
    tasks: dict[str, dict[str, float | None]]
    """Task -> metric -> value; see `evaluate`."""
    unseen: dict[str, float]
    """Field -> the share of its ids that were unseen; of a number, the share that was missing. Empty if not known."""


class Histogram(Model):
    """How many scores are between two edges; the first and the last bin are open. Shape: n edges, n + 1 counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float


class ModelCard(Record):
    """The content of model_card.json."""

    FORMAT: ClassVar = "entirespace-model-card/1"

    name: str
    method: dict[str, Any]
    samples: str
    """Which impressions the method learns from."""
    loss: str
    """The loss of one sample."""
    reading: str
    """How pCVR is predicted."""
    seeds: tuple[int, ...]
    config: dict[str, Any]
    trained_on: TrainedOnCard
    layout: str
    history: str | None
    validation: ValidationCard | None
    no_validation: str
    """Why there are no metrics; empty if there are."""
    calibration: dict[str, Any]
    calibrated: str
    """How the scores are calibrated, in words."""
    drift: dict[str, Histogram]
    """Output -> its scores on the validation part, which scores of tomorrow can be compared with."""
    parity: Parity
    warnings: tuple[str, ...]
    raw_ids: str = RAW_IDS
    versions: dict[str, str]
    made: str

    @staticmethod
    def open(folder: Path) -> ModelCard:
        """Read the model card of a bundle. Raises: BundleError if it is missing or damaged."""
        must = "the files of a bundle must not change after they are written"
        return ModelCard.read(
            folder / CARD, BundleError, what="a bundle", must=must, missing="it is missing", do="Export the run again"
        )
