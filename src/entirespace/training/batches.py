"""The batches that a method learns from: its samples of a part, with the pCTR of the runs that it reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from ..batches.batch import Batch
from ..batches.feed import Feed, sampled
from ..config import Config
from ..dataset.dataset import Dataset, Part
from ..dataset.together import Together
from ..methods._method import Method
from ..runs.build import fields_of
from ..runs.run import Run


class Batches:
    """Makes the batches of a method.

    Args:
        given: the runs whose pCTR the method reads, by the names in `Method.reads`.

    Attributes:
        feed: of the fields that the method's network reads.
    """

    def __init__(self, method: Method, data: Dataset, config: Config, given: Mapping[str, Run]) -> None:
        self._method, self._config, self._given = method, config, given
        self.feed = Feed.of(data, fields_of(method, data.layout, config))
        self._feeds = {name: Feed.of(data, run.chosen) for name, run in given.items()}

    def of(self, part: Part | Together, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one epoch, in random order."""
        settings = self._config.training
        for rows in self.feed.shuffled(
            part,
            self._method.samples,
            batch_size=settings.batch_size,
            shuffle_rows=settings.shuffle_rows,
            block=settings.block,
            rng=rng,
            also={name for run in self._given.values() for name in run.chosen.read},
        ):
            batch = self.feed.batch(rows).to(settings.device)
            given: dict[str, Tensor] = {}
            for name, run in self._given.items():
                feed = self._feeds[name]  # the run may read other fields than the network that is trained
                read = batch if feed is self.feed else feed.batch(rows).to(settings.device)
                given[name] = run.pctr(read).clone()
            yield replace(batch, given=given) if given else batch

    def samples(self, part: Part | Together, seed: int) -> int:
        """About how many impressions an epoch has, after the method's sampling."""
        rng = np.random.default_rng(seed)
        return sum(sampled(self._method.samples(labels, rng)) for labels in part.labels())

    def number(self, samples: int) -> int:
        """How many batches that many impressions are; at least 1."""
        return max(1, math.ceil(samples / self._config.training.batch_size))
