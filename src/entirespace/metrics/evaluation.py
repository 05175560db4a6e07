"""The metrics of each task: AUC, AUC inside users, log loss, Brier score, calibration; and pCVR against the true pCVR.

    ctr, ctr_reference   pCTR of all impressions against y
    cvr                  pCVR of the clicked impressions against z
    ctcvr, ctcvr_own     pCTCVR of all impressions against y & z

The probabilities are given by task (`runs.outputs.Outputs.tasks`); no probabilities are multiplied here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from ..dataset.dataset import Part
from .auc import auc, grouped_auc
from .calibration import Calibration
from .correlation import rank_correlation
from .losses import Sums
from .values import Undefined, Value, Values

Probabilities: TypeAlias = Mapping[str, np.ndarray]
"""The probabilities to measure, by task. Shape: float32 (N,); every task has those of all impressions."""

V = TypeVar("V")


class TaskMetrics(Values, Generic[V]):
    """The metrics of one task: V is a value of one run, or its mean over seeds."""

    impressions: V
    positives: V
    auc: V
    grouped_auc: V
    """The mean of the AUC inside each user, weighted by impressions."""
    grouped_auc_share: V
    """The share of impressions whose users have an AUC."""
    log_loss: V
    brier: V
    normalised_entropy: V
    ece: V
    pcoc: V
    """Predicted over observed, and its 95 % interval."""
    pcoc_low: V
    pcoc_high: V


class TruthMetrics(Values, Generic[V]):
    """pCVR against the true pCVR that the log gives."""

    impressions: V
    rank_correlation: V
    log_loss: V
    log_loss_of_truth: V
    """The log loss of the true pCVR, the lowest possible one."""
    pcoc: V
    mean: V
    true_mean: V


class TaskValues(TaskMetrics[Value]):
    """The metrics of one task of one run."""


class TruthValues(TruthMetrics[Value]):
    """pCVR against the true pCVR, of one run."""


@dataclass(frozen=True)
class Truths:
    """The labels of a part, which its predictions are measured against. Shape: (N,) each."""

    click: np.ndarray  # bool, y
    conversion: np.ndarray  # bool, y & z
    user: np.ndarray | None  # int32, -1 if unknown; None if the dataset names no user
    pcvr: np.ndarray | None  # float32, the true pCVR; None if the log does not give it

    @staticmethod
    def of(part: Part) -> Truths:
        """Read the labels of a part."""
        truth = part.truth()
        named = part.dataset.manifest.roles.user is not None
        return Truths(
            part.column("click"),
            part.column("conversion"),
            part.column("user") if named else None,
            truth[1] if truth else None,
        )


def measure(p: Probabilities, truths: Truths, unclicked_weight: float = 1.0) -> dict[str, TaskValues]:
    """The metrics of each task.

    Args:
        unclicked_weight: the weight of an un-clicked impression: 1 / r if the log kept the share r of them. AUC is not
            weighted: it is that of the impressions in the log.

    Raises: ValueError for predictions that are NaN or negative.
    """
    y, z, user = truths.click, truths.conversion, truths.user
    found: dict[str, TaskValues] = {}
    for task, values in p.items():
        if task == "cvr":
            found[task] = _metrics(values[y], z[y], None if user is None else user[y])
        else:
            label = y if task in ("ctr", "ctr_reference") else z
            found[task] = _metrics(values, label, user, y, unclicked_weight)
    return found


def _metrics(
    p: np.ndarray,
    label: np.ndarray,
    user: np.ndarray | None,
    click: np.ndarray | None = None,
    unclicked_weight: float = 1.0,
) -> TaskValues:
    grouped = Undefined("the dataset's roles name no user") if user is None else grouped_auc(p, label, user)
    undefined = isinstance(grouped, Undefined)
    return TaskValues(
        impressions=len(p),
        positives=int(label.sum()),
        auc=auc(p, label),
        grouped_auc=grouped if undefined else grouped.value,
        grouped_auc_share=grouped if undefined else grouped.share,
        **Calibration.of(p, label, click, unclicked_weight).as_dict(),
    )


def measure_against_truth(pcvr: np.ndarray, truths: Truths) -> dict[str, TruthValues]:
    """pCVR against the true pCVR, by "clicked", "un-clicked" and "all" impressions; empty if the log does not give it.

    Shape: float32 (N,). Raises: ValueError for predictions that are NaN or negative.
    """
    if truths.pcvr is None:
        return {}
    y = truths.click
    places: dict[str, np.ndarray] = {"clicked": y, "un-clicked": ~y, "all": np.ones(len(y), np.bool_)}
    return {place: _against_truth(pcvr[where], truths.pcvr[where]) for place, where in places.items()}


def _against_truth(p: np.ndarray, true: np.ndarray) -> TruthValues:
    sums, none = Sums.of(p, true), Undefined("no impressions")
    return TruthValues(
        impressions=len(p),
        rank_correlation=rank_correlation(p, true),
        log_loss=sums.log_loss(),
        log_loss_of_truth=Sums.of(true, true).log_loss(),
        pcoc=sums.pcoc(),
        mean=sums.predicted / len(p) if len(p) else none,
        true_mean=sums.observed / len(p) if len(p) else none,
    )
