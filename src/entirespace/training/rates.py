"""Solves the logistic baseline of a training part: click on all impressions, and conversion on the clicked ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ..core.rows import Rows
from ..dataset.dataset import Dataset, Part
from ..dataset.together import Together
from ..errors import DataError
from ..kernels.hashing import mix_numbers
from ..methods._method import Method, Penalty
from ..network import Network
from ..network.baseline import CTR, CVR, Baseline
from ..progress import SILENT, Progress
from .logistic import FOLDS, NotFinite, Read, Samples, Solution, solve

FIXED = 0.01
"""C of the baseline below a network (`network.offset`), and the default of RATES."""
LEAST = 0.3
"""The smallest scale of a rate's log odds. A rate that differs less than that among training impressions differs mostly
by chance, from fold to fold. Divided by its small standard deviation it would count as much as any other."""

_solved: WeakKeyDictionary[Dataset, dict[tuple[str, float, Penalty], Mapping[str, Solution]]] = WeakKeyDictionary()


def solve_baseline(
    train: Part | Together, penalty: Penalty = FIXED, progress: Progress = SILENT
) -> Mapping[str, Solution]:
    """The regressions of a training part, by head. They are solved once, and kept as long as the dataset object.

    Raises: DataError if a number of the history is not finite.
    """
    known = _solved.setdefault(train.dataset, {})
    key: tuple[str, float, Penalty] = train.name, train.share, penalty
    if key not in known:
        known[key] = {head: _solve(train, head, penalty, progress) for head in (CTR, CVR)}
    return known[key]


def solve_into(network: Network, method: Method, train: Part | Together, progress: Progress = SILENT) -> None:
    """Solve the baseline of a network, if it has one. Raises: DataError as `solve_baseline`."""
    if network.baseline is not None:
        penalty = FIXED if method.baseline is None else method.baseline
        install(solve_baseline(train, penalty, progress), network.baseline)


def install(solved: Mapping[str, Solution], baseline: Baseline) -> None:
    """Copy the solutions into the baseline of a network, as float32."""
    for head, found in solved.items():
        into = baseline.regression(head)
        for name in ("mean", "scale", "weight"):
            getattr(into, name).copy_(torch.from_numpy(getattr(found, name)))
        into.bias.fill_(found.intercept)


def _solve(train: Part | Together, head: str, penalty: Penalty, progress: Progress) -> Solution:
    names, start = train.dataset.layout.rates, time.monotonic()
    try:
        read = samples(partial(train.chunks, read=names), head, folds=penalty == "cv")
        found = solve(read, len(names), penalty, LEAST)
    except NotFinite as error:
        raise DataError(
            "the log odds of the rates must be finite",
            f"those of {names[error.column]} are not, in the {train.name} part",
            where=str(train.dataset.path),
            do="Prepare the log again",
        ) from error
    progress.say(
        f"logistic baseline, p{head.upper()}: {len(names)} rates, C = {found.c:g}, {found.steps} Newton steps, "
        f"{time.monotonic() - start:.1f} s"
    )
    return found


def samples(chunks: Callable[[], Iterator[Rows]], head: str, *, folds: bool = False) -> Read:
    """A function that reads the samples of "ctr", all impressions; or of "cvr", the clicked ones."""

    def read() -> Iterator[Samples]:
        for rows in chunks():
            assert rows.numbers is not None
            assert rows.labels is not None
            click, conversion, weight = rows.labels.click, rows.labels.conversion, rows.labels.weight
            if head == CTR:
                yield Samples(rows.numbers, click, weight, fold_of(rows.numbers) if folds else None)
            else:
                x = rows.numbers[click]
                yield Samples(
                    x,
                    conversion[click],
                    None if weight is None else weight[click],
                    fold_of(x) if folds else None,
                )

    return read


def fold_of(numbers: np.ndarray) -> np.ndarray:
    """The fold of each impression in cross-validation, by a hash of its numbers: equal rows are in one fold.

    Shape: float32 (n, R) -> int64 (n,).

    >>> np.bincount(fold_of(np.arange(1000, dtype=np.float32).reshape(500, 2))).tolist()
    [96, 86, 100, 107, 111]
    """
    mixed = np.zeros(len(numbers), np.uint64)
    for column in np.ascontiguousarray(numbers.T).view(np.uint32):
        mix_numbers(column.astype(np.uint64), mixed)
    return (mixed % np.uint64(FOLDS)).astype(np.int64)
