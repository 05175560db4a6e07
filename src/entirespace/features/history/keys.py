"""What is counted: the keys of a history, their parents, and the rates that become fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core.rows import IMPRESSIONS, RATE, Field

CrossFit = Literal["folds", "time"]
PAIR = " x "
"""Between the names of the two columns of a pair, in its name."""
CTCVR = "ctcvr"
"""The rate of the last stage among all impressions. The other rates have the names of their stages."""


@dataclass(frozen=True)
class HistoryKey:
    """A column, a pair of columns, or a bag, by whose ids impressions are counted."""

    fields: tuple[Field, ...]  # one or two: fields of x, or columns of the impressions that are no fields
    parents: tuple[str, ...] = ()  # the keys that it leans on, the nearest first
    rated: bool = True  # its rates are fields; False: it is only the parent of another key

    @property
    def name(self) -> str:
        """Such as "user_id", or "user_id x tab" for a pair."""
        return PAIR.join(f.name for f in self.fields)

    @property
    def chain(self) -> tuple[str, ...]:
        """The key and its parents, the nearest first."""
        return (self.name, *self.parents)

    @property
    def table(self) -> str:
        """The table that holds its codes: a pair belongs to the impressions."""
        return self.fields[0].table if len(self.fields) == 1 else IMPRESSIONS


@dataclass(frozen=True)
class HistorySpec:
    """All that decides what the counts of a log are, and which rates are made of them."""

    keys: tuple[HistoryKey, ...]
    stages: tuple[str, ...]  # the funnel's, in order
    rates: tuple[str, ...]  # stages, each given the one before; and CTCVR
    cross_fit: CrossFit = "folds"
    folds: int = 5
    seed: int = 0  # of the folds
    prior: float | None = None  # the strength of the back-off, in impressions; None: fitted
    half_life: int | None = None  # in steps of the log's clock; None: counts do not decay
    delay: int = 0  # an outcome is known this many steps after its impression
    counts: bool = False  # the log of the counts are fields too
    buckets: int = 32  # quantile buckets of each rate

    def __getitem__(self, name: str) -> HistoryKey:
        return next(key for key in self.keys if key.name == name)

    @property
    def rated(self) -> tuple[HistoryKey, ...]:
        """The keys whose rates are fields."""
        return tuple(key for key in self.keys if key.rated)

    @property
    def fields_of_keys(self) -> tuple[Field, ...]:
        """The fields and columns by whose ids impressions are counted, each once."""
        return tuple(dict.fromkeys(f for key in self.keys for f in key.fields))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the R rates, key by key; with `counts`, each key's count comes after its rates."""
        return tuple(name for names in self.names_by_key.values() for name in names)

    @property
    def names_by_key(self) -> dict[str, tuple[str, ...]]:
        """Key -> the names of its rates, and of its count."""
        rates = (*self.rates, "count") if self.counts else self.rates
        return {key.name: tuple(f"{RATE}.{rate}.{key.name}" for rate in rates) for key in self.rated}

    def fields(self) -> tuple[Field, ...]:
        """The fields of kind "rate", in the order of `names`."""
        return tuple(Field(name, kind=RATE, buckets=self.buckets) for name in self.names)

    @property
    def columns(self) -> tuple[tuple[int, int], ...]:
        """For each rate the columns of its hits and its trials among the counts: impressions, then each stage."""
        last = len(self.stages)
        return tuple(
            (last, 0) if rate == CTCVR else (1 + self.stages.index(rate), self.stages.index(rate))
            for rate in self.rates
        )
