"""The base class of methods. A method is a rule to sample impressions, a loss, and a way to predict probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import product
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..batches.batch import Batch
from ..core.labels import Counts, Labels, Samples
from ..network.probability import Heads, Prob

Predicted: TypeAlias = Mapping[str, Prob | Tensor]
"""Name -> probability; a plain tensor if the value may exceed 1. Shape: (B,) each."""

Penalty: TypeAlias = float | Literal["cv"]
"""C of a logistic regression, whose penalty is ||weights||^2 / (2 C); "cv": chosen by five-fold cross-validation."""


class Method(ABC):
    """A way to learn pCVR.

    A subclass is a frozen dataclass whose fields are its parameters. It needs no registration: pass an instance of your
    own class to `fit` or `compare`.
    """

    heads: ClassVar[tuple[str, ...]]
    """The names of the network's probabilities. Each has its own tower."""
    share_embedding: bool = False
    """True: one embedding for all heads. False: one per head."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Names of the inputs that the loss reads from `batch.given`, such as "reference_pctr"."""
    searched: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Parameter -> the values that the paper searched."""
    sampled: ClassVar[str] = "S: every impression once"
    """A description of the samples, for reports. S: all impressions, S_c: the clicked ones."""
    equation: ClassVar[str] = ""
    """The loss of one sample, for reports."""
    reading: ClassVar[str] = ""
    """How pCVR is predicted, for reports."""

    @abstractmethod
    def samples(self, labels: Labels, rng: np.random.Generator) -> np.ndarray | Samples:
        """How many times each impression occurs in this epoch. Called for one chunk of the training part at a time.

        A method that gives a copy of an impression other labels than the log returns `Samples` instead.
        Shape: labels of n impressions -> int (n,).
        """

    @abstractmethod
    def loss(self, p: Heads, batch: Batch) -> Tensor:
        """The mean loss of the batch's B samples, weighted by `batch.weight`, in nats. Shape: scalar."""

    @abstractmethod
    def base_rates(self, counts: Counts) -> dict[str, float]:
        """Head -> the expected rate of its label in the samples, in (0, 1). Its intercept starts at the logit.

        Args:
            counts: of the training part.
        """

    @abstractmethod
    def predict(self, p: Heads) -> Predicted:
        """The predictions of each impression; those that the method does not learn are left out. Shape: (B,) each.

        "pctr": p(y=1 | x). If left out, the pCTR of the reference CTR network is used.
        "pcvr": p(z=1 | y=1, x).
        "pctcvr": p(y=1, z=1 | x). If left out, it is pctr * pcvr, Eq. (1).
        """
        # NOTE[DIFF]: section 2.1 prints pCTR = p(z=1 | x); Eq. (1) means y.

    def log(self, p: Heads, batch: Batch) -> dict[str, float]:
        """Further numbers of this batch for the training log, by name."""
        return {}

    @property
    def baseline(self) -> Penalty | None:
        """The penalty of the logistic baseline, if the method is that baseline alone and trains no network."""
        return None

    @property
    def predicts(self) -> frozenset[str]:
        """The names of the predictions that `predict` gives."""
        return frozenset(self._predicted())

    @property
    def divides(self) -> bool:
        """Whether pCVR is not a probability but a quotient, which may exceed 1 (Eq. 2)."""
        return isinstance(self._predicted().get("pcvr"), Tensor)

    def _predicted(self) -> Predicted:
        """What `predict` gives if each head is 1/2."""
        even = Prob.of_logit(torch.zeros(1))
        return self.predict(Heads(**dict.fromkeys(self.heads, even)))

    @property
    def name(self) -> str:
        """The method's name in the paper."""
        return type(self).__name__

    @property
    def label(self) -> str:
        """The name with the parameters that the paper searched or that are not the default: "AMAN(rate=0.5)"."""
        shown = [
            f"{f.name}={_shown(value)}" for f, value in self._fields() if f.name in self.searched or value != f.default
        ]
        return f"{self.name}({', '.join(shown)})" if shown else self.name

    @property
    def parameters(self) -> dict[str, Any]:
        """Name -> value of each parameter."""
        return {f.name: value for f, value in self._fields()}

    def spec(self) -> dict[str, Any]:
        """The method as plain values for JSON. A class from outside this package is named module:class."""
        here, cls = __name__.rpartition(".")[0], type(self)
        ours = cls.__module__.rpartition(".")[0] == here
        return {"name": self.name if ours else f"{cls.__module__}:{cls.__qualname__}"} | self.parameters

    @classmethod
    def search(cls) -> tuple[Self, ...]:
        """One method per combination of searched parameters; a single method if there are none."""
        return tuple(cls(**dict(zip(cls.searched, v, strict=True))) for v in product(*cls.searched.values()))

    def _fields(self) -> list[tuple[Any, Any]]:
        return [(f, getattr(self, f.name)) for f in fields(self)] if is_dataclass(self) else []


def once(labels: Labels) -> np.ndarray:
    """Samples of the entire space: every impression once. Shape: labels of n impressions -> int64 (n,)."""
    return np.ones(len(labels), np.int64)


def base_rate(positives: float, samples: float) -> float:
    """(positives + 1/2) / (samples + 1), which is never 0 or 1, so its logit is finite.

    >>> base_rate(0, 0), base_rate(4, 99)
    (0.5, 0.045)
    """
    return (positives + 0.5) / (samples + 1)


def _shown(value: Any) -> str:
    """A parameter as `typed` reads it: true, 0.5, 'cv'."""
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)


def is_whole(value: Any) -> bool:
    """Whether the value is an integer, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether the value is an integer or a float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)
