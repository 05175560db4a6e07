"""The results of `compare` as records: the content of report.json (docs/formats.md) and the data of all reports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from ..errors import DataError
from ..metrics.evaluation import TaskMetrics, TruthMetrics
from ..metrics.segments import SegmentLine
from ..metrics.significance import Difference, Paired
from ..metrics.values import Undefined, Value, Values
from ..records import Record
from ..runs.coefficients import Coefficients
from .report import text

HEADLINES = ("cvr", "ctcvr")
"""The paper's two tasks."""
BID = "bid"
"""The pCTCVR for bids: the method's own, else that with the pCTR of the reference CTR network."""

Select: TypeAlias = Literal["validation", "paper"]


class Spread(Values):
    """A metric over seeds."""

    mean: float
    std: float | None
    """The standard deviation (n - 1); None for one seed."""
    n: int
    """How many seeds."""

    @staticmethod
    def of(values: Iterable[Value | None]) -> Spread | Undefined:
        """The mean and the standard deviation of values. Undefined if a value is Undefined or None.

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
    """The metrics of one task, as means over seeds."""


class TruthSpreads(TruthMetrics[OverSeeds]):
    """pCVR against the true pCVR, as means over seeds."""


class Against(Values):
    """The difference of AUC to another method in one task.

    In JSON, the values of `seeds` are at the same level as `p_holm` and `users`.
    """

    seeds: Paired | Undefined
    """The difference paired by seed, with its test."""
    p_holm: float | None
    """The p value of that test with Holm's correction for all methods of the table; None if there is no p value."""
    users: Difference | Undefined
    """The difference of the mean AUC over seeds, with its interval over samples of users."""

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
    """One method of a family, with the AUCs by which the best method was chosen."""

    label: str
    method: dict[str, Any]
    selection_auc: dict[str, OverSeeds]
    """By headline task, on the part that the best was chosen on."""


class Line(Values):
    """One line of Table 2: the best method of a family, a rival or a blend."""

    name: str
    """The family's name."""
    label: str
    """The method's name with its parameters."""
    kind: Literal["method", "rival", "blend"] = "method"
    """What it is: a method; a rival, which is trained beside them; or a blend of two others."""
    method: dict[str, Any]
    """The method's name and parameters as plain values."""
    candidates: list[Candidate]
    """The methods that it was chosen from; empty if the family has only one."""
    tasks: dict[str, TaskSpreads]
    """By task."""
    truth: dict[str, TruthSpreads]
    """By "clicked", "un-clicked" and "all" impressions; empty if the log does not give the true pCVR."""
    auc: dict[str, list[Value | None]]
    """By headline task and "bid", then for each seed."""
    against: dict[str, dict[str, Against]]
    """By the other method's name, then by headline task; and "bid" if the other one is a line to beat."""
    weights: dict[str, OverSeeds] = Field(default_factory=dict[str, OverSeeds])
    """Of a blend: the weight of its first part, by head "ctr" and "cvr"; that of the second is the remainder to 1."""


class CurvePoint(Values):
    """AUC after training on a share of the training impressions (the paper's Fig. 3)."""

    share: float
    impressions: int
    auc: dict[str, dict[str, OverSeeds]]
    """By method, then by headline task."""


class Bin(Values):
    """One bin of a reliability diagram; all bins have about the same number of impressions."""

    impressions: int | float
    predicted: float
    """The mean prediction."""
    observed: float
    """The observed rate, and its 95 % interval."""
    low: float
    high: float


class MethodDiagnosis(Values):
    """The calibration of one run in bins and segments, and the distribution of its pCVR."""

    reliability: dict[str, list[Bin]]
    """By task: "ctr", "cvr", "ctcvr"."""
    histogram: dict[str, list[int]]
    """Counts of pCVR by bin, on "clicked" and on "un-clicked" impressions."""
    segments: dict[str, list[SegmentLine]]
    """By the name of the field, or "decile of pCTR"."""


class Diagnosis(Values):
    """The diagnosis of each method's run of one seed, on the test part."""

    seed: int
    edges: list[float]
    """The edges of the histograms' bins."""
    truth: dict[str, list[int]]
    """The histogram of the true pCVR; empty if the log does not give it."""
    methods: dict[str, MethodDiagnosis]
    """By label of the method."""

    def histograms(self) -> dict[str, dict[str, list[int]]]:
        """The histograms of pCVR by method, and of the true pCVR if it is known."""
        found = {label: m.histogram for label, m in self.methods.items()}
        return found | ({"the true pCVR": self.truth} if self.truth else {})


class Check(Values):
    """A line of metrics.jsonl: one validation during training. Losses are in nats."""

    step: int
    epoch: int
    loss: float | None = None
    """The method's own loss in the epoch."""
    validation_loss: float | None
    """What `watch` names: the method's own loss, or the cross entropy of pCTCVR or of pCVR."""
    best: bool
    watch: Literal["own", "ctcvr", "cvr"] = "own"


class PartCounts(Values):
    """The counts of one part."""

    impressions: int
    clicks: int
    conversions: int


class DatasetCounts(Values):
    """The dataset and the counts of its parts, as in the paper's Table 1."""

    path: str
    digest: str
    train: PartCounts
    validation: PartCounts
    test: PartCounts
    unseen: dict[str, float] = Field(default_factory=dict[str, float])
    """The share of the test part's ids that are not in the training part, by field of ids."""

    @property
    def parts(self) -> dict[str, PartCounts]:
        """The counts by name of the part."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


REFERENCE_CTR = "reference CTR network"


class Comparison(Record):
    """The results of `compare`, which are the content of report.json; `str()` is the report."""

    FORMAT = "entirespace-report/2"
    model_config = ConfigDict(allow_inf_nan=True)

    entirespace: str
    """The version of the package that made it."""
    dataset: DatasetCounts
    description: str
    """The report of `describe` on the dataset."""
    seeds: list[int]
    select: Select
    config: dict[str, dict[str, Any]]
    methods: list[Line]
    sampling_curve: list[CurvePoint]
    diagnosis: Diagnosis
    learning: dict[str, dict[str, list[Check]]]
    """By method, then by seed."""
    coefficients: dict[str, dict[str, Coefficients]] = Field(default_factory=dict[str, dict[str, Coefficients]])
    """Of a method that is the logistic baseline alone: by method, then by head, "ctr" and "cvr"."""
    calibrated: dict[str, dict[str, dict[str, int]]] = Field(default_factory=dict[str, dict[str, dict[str, int]]])
    """With training.calibrate: by method, then by "pctr" and "pcvr", for how many seeds each kind of calibrator was
    chosen; and "pctr" of REFERENCE_CTR."""
    paper: dict[str, dict[str, str]]
    """The paper's own Table 2, by method, then by headline task."""
    warnings: list[str] = Field(default_factory=list[str])
    """What a reader of the report must know first, one sentence or two each, such as few conversions in a part."""

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.model_dump(exclude_unset=True)

    @classmethod
    def open(cls, path: Path) -> Comparison:
        """Read a report.json. Raises: DataError if it is missing, incomplete, changed or of another format."""
        return cls.read(
            path,
            DataError,
            what="a report",
            must="a report must be as it was written",
            missing="there is none",
            do="Run the same `entirespace compare` command again: it makes the report from the runs in the folder",
        )

    def __str__(self) -> str:
        return text(self)
