"""Comparisons for tests of reports, made without training."""

from __future__ import annotations

import math
from typing import Any

from entirespace.config import Config
from entirespace.metrics.significance import Difference, Paired
from entirespace.metrics.values import Undefined
from entirespace.reports.comparison import (
    Against,
    Comparison,
    DatasetCounts,
    Diagnosis,
    Line,
    OverSeeds,
    PartCounts,
    Spread,
    TaskSpreads,
    TruthSpreads,
)

NO_POSITIVES = Undefined("no positives among 500 impressions")
ONE_SEED = Undefined("one seed has no standard deviation")


def spread(value: float | Undefined, n: int = 3) -> OverSeeds:
    return value if isinstance(value, Undefined) else Spread(mean=value, std=0.01 if n > 1 else None, n=n)


def metrics(
    auc: float | Undefined,
    pcoc: float | Undefined = 1.0,
    interval: tuple[float | Undefined, float | Undefined] = (0.9, 1.1),
    log_loss: float = 0.3,
    n: int = 3,
    positives: float | None = None,
) -> TaskSpreads:
    """The metrics of a task; positives: by default as many as the interval needs."""
    low, high = interval
    if positives is None:
        known_ends = not isinstance(low, Undefined) and not isinstance(high, Undefined)
        positives = (3.92 / math.log(high / low)) ** 2 if known_ends else 0.0
    known = {"positives": positives, "auc": auc, "pcoc": pcoc, "pcoc_low": low, "pcoc_high": high, "log_loss": log_loss}
    all_ = dict.fromkeys(TaskSpreads.model_fields, 1.0) | known
    return TaskSpreads(**{name: spread(value, n) for name, value in all_.items()})


def against(difference: float, p_holm: float | None = 0.001, p_users: float | None = 0.001, n: int = 3) -> Against:
    p = ONE_SEED if p_holm is None else p_holm
    users = Undefined("5 users are too few") if p_users is None else p_users
    return Against(
        seeds=Paired(difference, None if n == 1 else 0.01, p, p, n),
        p_holm=p_holm,
        users=users
        if isinstance(users, Undefined)
        else Difference(difference, 0.01, difference - 0.02, difference + 0.02, 2.0, users),
    )


def line(
    label: str,
    cvr: TaskSpreads,
    ctcvr: TaskSpreads,
    tests: dict[str, tuple[Against, Against]] | None = None,
    truth: dict[str, float] | None = None,
    n: int = 3,
) -> Line:
    """A line; tests: by the other method's name, the differences in the CVR and in the CTCVR task."""
    one = dict.fromkeys(TruthSpreads.model_fields, 1.0)
    return Line(
        name=label,
        label=label,
        method={"name": label},
        candidates=[],
        tasks={"cvr": cvr, "ctcvr": ctcvr},
        truth={
            place: TruthSpreads(**{k: spread(v) for k, v in (one | {"pcoc": ratio}).items()})
            for place, ratio in (truth or {}).items()
        },
        auc={"cvr": [_mean(cvr.auc)] * n, "ctcvr": [_mean(ctcvr.auc)] * n},
        against={other: dict(zip(("cvr", "ctcvr"), both, strict=True)) for other, both in (tests or {}).items()},
    )


def _mean(auc: OverSeeds) -> float | Undefined:
    return auc.mean if isinstance(auc, Spread) else auc


def part(impressions: int = 100_000, clicks: int = 10_000, conversions: int = 1000) -> PartCounts:
    return PartCounts(impressions=impressions, clicks=clicks, conversions=conversions)


def comparison(*lines: Line, seeds: int = 5, **changes: Any) -> Comparison:
    counts = DatasetCounts(path="data", digest="0" * 64, train=part(), validation=part(), test=part())
    made = Comparison(
        entirespace="0",
        dataset=counts,
        description="",
        seeds=list(range(seeds)),
        select="validation",
        config=Config().model_dump(mode="json"),
        methods=list(lines),
        sampling_curve=[],
        diagnosis=Diagnosis(seed=0, edges=[], truth={}, methods={}),
        learning={},
        paper={},
    )
    return made.model_copy(update=changes)
