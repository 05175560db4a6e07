"""The labels of impressions: one bool per stage, and optionally the time of each stage and a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .funnel import Funnel


@dataclass(frozen=True, eq=False)
class Labels:
    """The stages that each of n impressions reached, by name, in the funnel's order.

    A stage counts as reached only if every earlier stage is: the label of the conversion is y & z, not z.
    A stage is also an attribute: `labels.click`. An unknown stage raises an AttributeError that lists the known ones.

    >>> labels = Labels.of({"click": np.array([True, False]), "conversion": np.array([True, True])})
    >>> labels.click.tolist(), labels.conversion.tolist()
    ([True, False], [True, False])
    """

    reached: Mapping[str, np.ndarray]  # stage -> bool (n,)
    times: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """Stage -> the time when it was reached, in the log's unit. Shape: int64 (n,)."""
    observed_until: int | None = None  # the time up to which outcomes are known, in the same unit
    weight: np.ndarray | None = None  # float32 (n,); None: every impression weighs 1

    @staticmethod
    def of(
        happened: Mapping[str, np.ndarray],
        times: Mapping[str, np.ndarray] | None = None,
        observed_until: int | None = None,
        weight: np.ndarray | None = None,
    ) -> Labels:
        """Labels from the outcome of each stage as logged. Shape: bool (n,) each.

        A stage that is logged without an earlier one does not count as reached.
        """
        reached = Funnel(tuple(happened)).reached(list(happened.values()))
        return Labels(dict(zip(happened, reached, strict=True)), times or {}, observed_until, weight)

    def __len__(self) -> int:
        return len(next(iter(self.reached.values())))

    def __getitem__(self, stage: str) -> np.ndarray:
        return self.reached[stage]

    def __getattr__(self, stage: str) -> np.ndarray:
        return stage_of(self.__dict__.get("reached", {}), stage)

    def take(self, rows: np.ndarray) -> Labels:
        """The labels of the given impressions, in the given order. Shape: rows int or bool (n,)."""
        return Labels(
            {stage: values[rows] for stage, values in self.reached.items()},
            {stage: values[rows] for stage, values in self.times.items()},
            self.observed_until,
            None if self.weight is None else self.weight[rows],
        )

    @staticmethod
    def concatenate(pieces: Sequence[Labels]) -> Labels:
        """The labels of several pieces of one log, one piece after the other."""
        first = pieces[0]
        weights = [piece.weight for piece in pieces if piece.weight is not None]
        return Labels(
            {stage: np.concatenate([piece.reached[stage] for piece in pieces]) for stage in first.reached},
            {stage: np.concatenate([piece.times[stage] for piece in pieces]) for stage in first.times},
            first.observed_until,
            np.concatenate(weights) if weights else None,
        )


@dataclass(frozen=True)
class Samples:
    """m samples drawn from n impressions, whose labels may differ from the log's (for delayed feedback)."""

    rows: np.ndarray  # int (m,): the index of each sample's impression, from 0 to n - 1
    labels: Labels  # of the m samples


@dataclass(frozen=True)
class Counts:
    """The number of impressions, and how many of them reached each stage.

    >>> counts = Counts(9_999, {"click": 400, "conversion": 2})
    >>> counts["click"]
    400
    """

    impressions: int
    reached: Mapping[str, int]

    @staticmethod
    def of(labels: Labels) -> Counts:
        """The counts of some impressions."""
        return Counts(len(labels), {stage: int(np.count_nonzero(values)) for stage, values in labels.reached.items()})

    def __getitem__(self, stage: str) -> int:
        return self.reached[stage]

    def __add__(self, other: Counts) -> Counts:
        reached = {stage: count + other[stage] for stage, count in self.reached.items()}
        return Counts(self.impressions + other.impressions, reached)

    def __str__(self) -> str:
        stages = (f"{count:,} {stage}s" for stage, count in self.reached.items())
        return ", ".join([f"{self.impressions:,} impressions", *stages])


def stage_of(stages: Mapping[str, Any], name: str) -> Any:
    """The value of a stage. Raises: AttributeError that lists the known stages."""
    if name.startswith("_") or name not in stages:
        raise AttributeError(f"a stage must be one of {', '.join(stages) or 'none'}, however: '{name}'")
    return stages[name]
