"""The ordered stages: impression -> click -> conversion, or longer. Each stage requires the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, Self, TypeVar

import numpy as np

from ..errors import ConfigError


class Label(Protocol):
    """Whether a stage happened: a bool, or an array or tensor of bools."""

    def __and__(self, other: Self, /) -> Self: ...


class Chance(Protocol):
    """A probability: a Prob, an array."""

    def __mul__(self, other: Self, /) -> Self: ...


T = TypeVar("T")
L = TypeVar("L", bound=Label)
P = TypeVar("P", bound=Chance)


@dataclass(frozen=True)
class Funnel:
    """The stages after the impression, in order (the paper's y -> z; its section 4 mentions more than two).

    Eq. (1) applies to any number of stages, and Eq. (3) has one term for each prefix of the chain. With click and
    conversion these are ESMM's two: (y, pCTR) and (y & z, pCTR * pCVR).

    Raises: ConfigError if there is no stage, or if two stages have the same name.

    >>> Funnel().reached([True, False]), Funnel().chain([0.5, 0.1])
    ((True, False), (0.5, 0.05))
    """

    stages: tuple[str, ...] = ("click", "conversion")

    def __post_init__(self) -> None:
        if not self.stages or len(set(self.stages)) < len(self.stages):
            came = ", ".join(self.stages) or "no stage"
            raise ConfigError("a funnel must have at least one stage, and each its own name", came)

    def reached(self, labels: Sequence[L]) -> tuple[L, ...]:
        """The label of each prefix of the chain: y, y & z, ... Shape: one label (B,) per stage -> the same."""
        return tuple(accumulate(self._each(labels), lambda before, y: before & y))

    def chain(self, probs: Sequence[P]) -> tuple[P, ...]:
        """Eq. (1) along the funnel: p1, p1 * p2, ..., where each p is given that the stage before it happened."""
        return tuple(accumulate(self._each(probs), lambda before, p: before * p))

    def terms(self, labels: Sequence[L], probs: Sequence[P]) -> tuple[tuple[L, P], ...]:
        """The terms l(., .) of Eq. (3), one per prefix: the loss is `sum(bce(y, p) for y, p in terms)`."""
        return tuple(zip(self.reached(labels), self.chain(probs), strict=True))

    def orphans(self, labels: Sequence[np.ndarray]) -> dict[str, int]:
        """For each stage but the first: how many rows have it without the stage before it. Shape: bool (B,) each.

        >>> Funnel().orphans([np.array([True, False]), np.array([True, True])])
        {'conversion': 1}
        """
        each = self._each(labels)
        return {
            stage: int(np.count_nonzero(label & ~before))
            for stage, before, label in zip(self.stages[1:], each, each[1:], strict=False)
        }

    def _each(self, values: Sequence[T]) -> Sequence[T]:
        if len(values) != len(self.stages):
            raise ConfigError(f"there must be one value for each of {', '.join(self.stages)}", f"{len(values)} values")
        return values
