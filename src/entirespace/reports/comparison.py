"""What `compare` found, as records: report.json holds them (docs/formats.md), and every report is made from them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from ..errors import DataError
from ..metrics.evaluation import TaskMetrics, TruthMetrics
from ..metrics.segments import SegmentLine
from ..metrics.significance import Difference, Paired
from ..metrics.values import Undefined, Value, Values
from ..records import Record
from .report import text

HEADLINES = ("cvr", "ctcvr")
"""The paper's two tasks."""

Select: TypeAlias = Literal["validation", "paper"]


class Spread(Values):
    """A metric over seeds."""

    mean: float
    std: float | None
    """With n - 1; None for one seed."""
    n: int

    @staticmethod
    def of(values: Iterable[Value | None]) -> Spread | Undefined:
        """The mean and the deviation; Undefined if one of the values is.

        >>> Spread.of([0.5, 0.75]).mean, Spread.of([0.5, None])
        (0.625, Undefined(reason='not measured'))
        """
        numbers: list[float] = []
        for value in values:
            if value is None:
                return Undefined("not measured")
            if isinstance(value, Undefined):
                return value
            numbers.append(value)
        held = np.array(numbers, np.float64)
        std = float(held.std(ddof=1)) if len(held) > 1 else None
        return Spread(mean=float(held.mean()), std=std, n=len(held))


OverSeeds: TypeAlias = Spread | Undefined


class TaskSpreads(TaskMetrics[OverSeeds]):
    """The metrics of one task over seeds."""


class TruthSpreads(TruthMetrics[OverSeeds]):
    """pCVR against the true pCVR, over seeds."""


class Against(Values):
    """The difference to another method in one task. In JSON the values of `seeds` stand beside the other two."""

    seeds: Paired | Undefined
    """Of AUC, paired by seed."""
    p_holm: float | None
    """Holm's p value over the methods of the table; None where nothing was tested."""
    users: Difference | Undefined
    """Of the mean AUC over seeds, with its interval over samples of users."""

    @model_serializer(mode="wrap")
    def _plain(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found = plain(self)
        return {**found.pop("seeds"), **found}

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: dict[str, Any]) -> dict[str, Any]:
        if "seeds" in given:
            return given
        mine = {name: given[name] for name in ("p_holm", "users") if name in given}
        return {**mine, "seeds": {name: value for name, value in given.items() if name not in mine}}


class Candidate(Values):
    """One method of a family, with what the best was chosen by."""

    label: str
    method: dict[str, Any]
    selection_auc: dict[str, OverSeeds]


class Line(Values):
    """One line of Table 2: the best method of a family."""

    name: str
    label: str
    method: dict[str, Any]
    candidates: list[Candidate]
    """What it was chosen from; empty where the family has one method."""
    tasks: dict[str, TaskSpreads]
    truth: dict[str, TruthSpreads]
    auc: dict[str, list[Value | None]]
    """Of each headline task, by seed."""
    against: dict[str, dict[str, Against]]
    """By the other method's name, then by headline task."""


class CurvePoint(Values):
    """AUC after training on a share of the training impressions (the paper's Fig. 3)."""

    share: float
    impressions: int
    auc: dict[str, dict[str, OverSeeds]]
    """By method, then by headline task."""


class Bin(Values):
    """One of the bins of equal mass of a reliability diagram."""

    impressions: int | float
    predicted: float
    observed: float
    low: float
    high: float


class MethodDiagnosis(Values):
    """Where one run's probabilities are right and where not."""

    reliability: dict[str, list[Bin]]
    """By task: "ctr", "cvr", "ctcvr"."""
    histogram: dict[str, list[int]]
    """pCVR of "clicked" and of "un-clicked" impressions: counts by bin."""
    segments: dict[str, list[SegmentLine]]
    """By decile of pCTR, and by field."""


class Diagnosis(Values):
    """Every method's run of one seed on the test part."""

    seed: int
    edges: list[float]
    """Of the histograms' bins."""
    truth: dict[str, list[int]]
    """The histogram of the true pCVR of a simulated log, else empty."""
    methods: dict[str, MethodDiagnosis]

    def histograms(self) -> dict[str, dict[str, list[int]]]:
        """Of each method, and of the truth where it is known."""
        found = {label: m.histogram for label, m in self.methods.items()}
        return found | ({"the truth": self.truth} if self.truth else {})


class Check(Values):
    """What the trainer wrote at one check on the validation part."""

    step: int
    epoch: int
    loss: float | None = None
    validation_loss: float | None
    best: bool


class PartCounts(Values):
    impressions: int
    clicks: int
    conversions: int


class DatasetCounts(Values):
    """The dataset, and Table 1 by part."""

    path: str
    digest: str
    train: PartCounts
    validation: PartCounts
    test: PartCounts

    @property
    def parts(self) -> dict[str, PartCounts]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


class Comparison(Record):
    """What `compare` found: the content of report.json; `str()` is the report."""

    FORMAT = "entirespace-report/2"
    model_config = ConfigDict(allow_inf_nan=True)

    entirespace: str
    """The version that made it."""
    dataset: DatasetCounts
    description: str
    seeds: list[int]
    select: Select
    config: dict[str, dict[str, Any]]
    methods: list[Line]
    sampling_curve: list[CurvePoint]
    diagnosis: Diagnosis
    learning: dict[str, dict[str, list[Check]]]
    """By method, then by seed."""
    paper: dict[str, dict[str, str]]
    """The paper's own Table 2, by method, then by headline task."""

    def plain(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)

    @classmethod
    def open(cls, path: Path) -> Comparison:
        """The comparison in a report.json. Raises: DataError where it is not whole, or of another format."""
        return cls.read(
            path,
            DataError,
            what="a report",
            must="a report must be as it was written",
            missing="there is none",
            do="Give the same `entirespace compare` command again: it makes the report from the runs that are there",
        )

    def __str__(self) -> str:
        return text(self)
