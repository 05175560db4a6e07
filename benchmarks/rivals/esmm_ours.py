"""Ours as `entirespace train` runs it: the feed makes batches from the dataset's files, the learner steps."""

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch_loop import precisions
from worker import Train, folder, serve, threads

from entirespace.batches.batch import Batch
from entirespace.batches.feed import Feed
from entirespace.config import Config, TrainingConfig
from entirespace.dataset.dataset import ROW_GROUP, open_dataset
from entirespace.methods import ESMM
from entirespace.training.learner import Learner

torch.set_num_threads(threads())
dataset = open_dataset(folder() / "dataset")
method, feed = ESMM(), Feed.of(dataset)


def batches(size: int) -> Iterator[Batch]:
    """Epoch after epoch. A row group is read and shuffled at a time: so each turn, which is one long, reads one."""
    for epoch in itertools.count():
        rng = np.random.default_rng([0, epoch])
        shuffled = feed.shuffled(dataset.train, method.samples, batch_size=size, shuffle_rows=ROW_GROUP, rng=rng)
        yield from map(feed.batch, shuffled)


def way(precision: Literal["fp32", "bf16"]) -> Train:
    learner = Learner(method, dataset, Config(training=TrainingConfig(precision=precision)), seed=0)
    open_: dict[int, Iterator[Batch]] = {}

    def train(batch: int, rows: slice) -> None:
        if batch not in open_:
            open_[batch] = batches(batch)
        for _ in range(0, rows.stop - rows.start, batch):
            learner.step(next(open_[batch]))[0].item()

    return train


serve({name: way(name) for name in precisions()}, len(dataset.train), turn=ROW_GROUP)
