"""Finds fields that know too much: a field that alone predicts a stage almost perfectly is probably its outcome.

A log may hold an outcome under another name, such as the seconds that a video was played. Each field is tried alone:
an id is scored by the rate of the stage among training impressions with this id, a bag by the mean of its ids, and the
scores are tested by their exact AUC on the validation part. A stage is tested on the impressions that reached the stage
before it: clicks on all impressions, conversions on clicked ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from ..core.rows import IMPRESSIONS, PlacedField, Ragged, Rows
from ..features.encoders import buckets_of
from ..kernels.pairs import twice_above
from .dataset import Dataset, Part

SUSPECT = 0.95  # AUC of one field alone
POSITIVES = 20  # and negatives in the validation part: fewer do not tell
TRAINING, VALIDATION = 1 << 19, 1 << 18  # impressions that are read, at most, up to whole row groups
CELLS = 1 << 26  # impressions x fields that are read, at most
PRIOR = 1.0  # impressions of the base rate that are added to the counts of each id


@dataclass(frozen=True)
class Leak:
    """A field that alone reaches a suspicious AUC for a stage on the validation part."""

    field: str
    stage: str
    auc: float

    def __str__(self) -> str:
        return (
            f"The field '{self.field}' may be an outcome: it alone predicts the {self.stage} with an AUC of "
            f"{100 * self.auc:.1f} % on the validation part. Leave it out if it is not known before the impression "
            "is shown."
        )


def leaks(data: Dataset) -> tuple[Leak, ...]:
    """The suspicious fields of a dataset, in the layout's order; found once, and kept as long as the dataset object.

    At most half a million training impressions are read. Empty if outcomes are not known.
    """
    if data not in _found:
        _found[data] = tuple(_leaks(data)) if data.manifest.labelled else ()
    return _found[data]


_found: WeakKeyDictionary[Dataset, tuple[Leak, ...]] = WeakKeyDictionary()


def _leaks(data: Dataset) -> Iterator[Leak]:
    stages = {stage: None if i == 0 else data.manifest.stages[i - 1] for i, stage in enumerate(data.manifest.stages)}
    few = [p for p in (data.train, data.validation) if not any(_tells(p.counts.reached, stages, len(p)).values())]
    if few:
        return
    most = CELLS // max(1, len(data.fields))
    train, validation = _some(data.train, min(TRAINING, most)), _some(data.validation, min(VALIDATION, most))
    if train is None or validation is None:
        return
    for f in data.fields:
        bags = [_of(data, rows, f) for rows in (train, validation)]
        for stage, before in stages.items():
            auc = _auc(f, stage, before, (train, validation), bags)
            if auc is not None and auc > SUSPECT:
                yield Leak(f.name, stage, auc)


def _tells(reached: Mapping[str, int], stages: dict[str, str | None], impressions: int) -> dict[str, bool]:
    """Stage -> whether a part has enough positives and negatives of it."""
    of = {stage: impressions if before is None else reached[before] for stage, before in stages.items()}
    return {stage: min(reached[stage], n - reached[stage]) >= POSITIVES for stage, n in of.items()}


def _some(part: Part, most: int) -> Rows | None:
    """At most `most` impressions of a part, whole row groups in random order; None if the part is empty."""
    held: list[Rows] = []
    for chunk in part.chunks(np.random.default_rng(0)):
        left = most - sum(map(len, held))
        if len(chunk) >= left:
            rows = np.sort(np.random.default_rng(1).permutation(len(chunk))[:left])
            held.append(chunk.take(rows))
            break
        held.append(chunk)
    return Rows.concatenate(held) if held else None


def _of(data: Dataset, rows: Rows, f: PlacedField) -> tuple[Ragged, np.ndarray | None]:
    """(bags of the field's table, row of each impression in it or None if they are the impressions' own)."""
    if f.table == IMPRESSIONS:
        return rows.fields[f.name], None
    return data.tables[f.table][f.name], rows.links[f.table]


def _auc(
    f: PlacedField,
    stage: str,
    before: str | None,
    parts: tuple[Rows, Rows],
    bags: list[tuple[Ragged, np.ndarray | None]],
) -> float | None:
    """The AUC of one field alone for a stage on the second part, learned from the first; None if it cannot tell."""
    labels = [rows.labels for rows in parts]
    assert labels[0] is not None
    assert labels[1] is not None
    y, z = labels[0][stage], labels[1][stage]
    among, tested = (slice(None) if before is None else of[before] for of in labels if of is not None)
    positives = int(np.count_nonzero(z[tested]))
    if min(positives, len(z[tested]) - positives) < POSITIVES or not len(y[among]):
        return None
    rates = _rates(f, *bags[0], y, None if before is None else labels[0][before])
    scores = _scores(f, *bags[1], rates)[tested]
    twice, positives, negatives = twice_above([scores], [np.ascontiguousarray(z[tested])])
    return twice / (2 * positives * negatives)


def _ids(f: PlacedField, bags: Ragged) -> np.ndarray:
    return buckets_of(bags.values) if f.is_position else bags.values


def _rates(
    f: PlacedField, bags: Ragged, link: np.ndarray | None, y: np.ndarray, among: np.ndarray | None
) -> np.ndarray:
    """The smoothed rate of y for each row of the field, and at the end for empty bags.

    Shape: link int (n,) or None, y bool (n,), among bool (n,): the impressions that count -> float64 (f.size + 1,).
    """
    counted = np.ones(len(y)) if among is None else among.astype(np.float64)
    times, hits = counted, counted * y
    if link is not None:  # of each row of the side table
        times, hits = (np.bincount(link, weights, minlength=len(bags)) for weights in (times, hits))
    base = hits.sum() / max(1.0, times.sum())
    ids = _ids(f, bags)
    if bags.offsets is None:
        n, k = (np.bincount(ids, weights, minlength=f.size + 1) for weights in (times, hits))
    else:
        length = np.diff(bags.offsets)
        n, k = (np.bincount(ids, np.repeat(weights, length), minlength=f.size + 1) for weights in (times, hits))
        n[-1], k[-1] = times[length == 0].sum(), hits[length == 0].sum()
    return (k + PRIOR * base) / (n + PRIOR)


def _scores(f: PlacedField, bags: Ragged, link: np.ndarray | None, rates: np.ndarray) -> np.ndarray:
    """The rate of each impression: that of its id, or the mean over its bag. Shape: -> float32 (n,)."""
    scores = rates[_ids(f, bags)]
    if bags.offsets is not None:
        sums = np.concatenate([[0.0], np.cumsum(scores)])
        length = np.diff(bags.offsets)
        mean = (sums[bags.offsets[1:]] - sums[bags.offsets[:-1]]) / np.maximum(length, 1)
        scores = np.where(length > 0, mean, rates[-1])
    return (scores if link is None else scores[link]).astype(np.float32)
