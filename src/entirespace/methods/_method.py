"""What a method is: which impressions it learns from, its loss, and how its probabilities are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import product
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..batches.batch import Batch
from ..core.labels import Counts, Labels, Samples
from ..network.probability import Heads, Prob

Predicted: TypeAlias = Mapping[str, Prob | Tensor]
"""Probabilities by name, or plain values where they may exceed 1."""


class Method(ABC):
    """A way to learn pCVR. A subclass, a frozen dataclass whose fields are its parameters, says all of it.

    Nothing else needs to know the class: hand an instance of your own to `fit` or `compare`.
    """

    heads: ClassVar[tuple[str, ...]]
    """The network's probabilities, each with a tower of its own."""
    share_embedding: bool = False
    """One embedding for all heads, or one a head."""
    reads: ClassVar[tuple[str, ...]] = ()
    """What the loss finds in `batch.given`, beside the heads and the labels: "reference_pctr"."""
    searched: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Parameters that the paper searched, and where."""
    sampled: ClassVar[str] = "S: every impression once"
    """The samples, in words."""
    equation: ClassVar[str] = ""
    """The loss of one sample."""
    reading: ClassVar[str] = ""
    """How pCVR is read."""

    @abstractmethod
    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray | Samples:
        """How many times each impression is seen this epoch. A rule on labels, called chunk by chunk.

        A method whose copies of an impression have other labels than the log returns `Samples` instead.
        Shape: labels of n impressions -> int (n,).
        """

    @abstractmethod
    def loss(self, p: Heads, batch: Batch) -> Tensor:
        """The mean loss over the batch's B samples, each weighing `batch.weight`. Shape: -> scalar."""

    @abstractmethod
    def base_rates(self, counts: Counts) -> dict[str, float]:
        """The rate of each head's label under `samples`, in (0, 1): where the head's intercept starts."""

    @abstractmethod
    def predict(self, p: Heads) -> Predicted:
        """What the method knows of each impression; it leaves out what it does not know. Shape: (B,) each.

        "pctr": p(y=1 | x); without it the pCTR of the reference CTR network is taken. "pcvr": p(z=1 | y=1, x).
        "pctcvr": p(y=1, z=1 | x); without it the product of the two is taken, Eq. (1).
        """
        # NOTE[DIFF]: section 2.1 prints pCTR = p(z=1 | x); Eq. (1) means y.

    def log(self, p: Heads, batch: Batch) -> dict[str, float]:
        """What else of this batch is worth a line of the training log."""
        return {}

    @property
    def predicts(self) -> frozenset[str]:
        """The names of `predict`."""
        even = Prob.of_logit(torch.zeros(1))
        return frozenset(self.predict(Heads(**dict.fromkeys(self.heads, even))))

    @property
    def name(self) -> str:
        """What the paper calls it."""
        return type(self).__name__

    @property
    def label(self) -> str:
        """The name, with the parameters that were searched or are not the default: "AMAN(rate=0.5)"."""
        shown = [
            f"{f.name}={str(value).lower() if isinstance(value, bool) else value}"
            for f, value in self._fields()
            if f.name in self.searched or value != f.default
        ]
        return f"{self.name}({', '.join(shown)})" if shown else self.name

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name."""
        return {f.name: value for f, value in self._fields()}

    def spec(self) -> dict[str, Any]:
        """The method as plain values, for `from_spec`. One's own class is named module:class."""
        here, cls = __name__.rpartition(".")[0], type(self)
        ours = cls.__module__.rpartition(".")[0] == here
        return {"name": self.name if ours else f"{cls.__module__}:{cls.__qualname__}"} | self.parameters

    @classmethod
    def search(cls) -> tuple[Self, ...]:
        """One method for each combination of the searched parameters; one alone where none is searched."""
        return tuple(cls(**dict(zip(cls.searched, v, strict=True))) for v in product(*cls.searched.values()))

    def _fields(self) -> list[tuple[Any, Any]]:
        return [(f, getattr(self, f.name)) for f in fields(self)] if is_dataclass(self) else []


def once(labels: Labels) -> np.ndarray:
    """Every impression once: the entire space. Shape: n impressions -> int64 (n,)."""
    return np.ones(len(labels), np.int64)


def base_rate(positives: float, samples: float) -> float:
    """(positives + 1/2) / (samples + 1): never 0 nor 1, so that its logit is finite.

    >>> base_rate(0, 0), base_rate(4, 99)
    (0.5, 0.045)
    """
    return (positives + 0.5) / (samples + 1)


def is_whole(value: Any) -> bool:
    """A whole number that is no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """A number that is no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)
