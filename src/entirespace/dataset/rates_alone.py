"""How well each rate of the history alone ranks impressions, and how many impressions have no history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.labels import Labels
from ..core.rows import PARTS, RATE, TEST, TRAIN, VALIDATION
from ..features.history.history import History
from ..features.history.keys import CTCVR
from ..kernels.pairs import twice_above
from .dataset import Dataset, Part
from .manifest import FieldRecord

IMPRESSIONS, NUMBERS = 1 << 20, 1 << 26  # impressions, and numbers of theirs, that are read, at most


@dataclass(frozen=True)
class KeyAlone:
    """The rates of one key."""

    key: str
    ids: int  # that have impressions
    parents: tuple[str, ...]  # the keys that it leans on, the nearest first
    without_history: dict[str, float | None]  # part -> share of its impressions of whose ids nothing was counted
    auc: dict[str, float | None]
    """Rate -> its AUC for its own outcome: click among impressions, conversion among clicks, ctcvr among impressions.
    None: there are only positives or only negatives."""


@dataclass(frozen=True)
class RatesAlone:
    """The rates of a dataset, each alone.

    They are measured on the validation part, whose outcomes no rate has counted; on the training part, where each rate
    is of the other folds, if there is no validation part; or else on the test part.
    """

    part: str  # the part they are measured on
    impressions: int  # of it that were read
    rates: int  # fields
    rows: int  # of the embedding, for all rates
    keys: tuple[KeyAlone, ...]


def rates_alone(data: Dataset) -> RatesAlone | None:
    """The rates of a dataset, each alone; None if it has no history. At most a million impressions are read."""
    if data.layout.history is None:  # without reading the encoders, which may be large
        return None
    history = data.encoders.history
    assert history is not None
    name = next((part for part in (VALIDATION, TRAIN, TEST) if data.manifest.parts[part].impressions), TEST)
    read, auc = 0, dict[tuple[str, str], float | None]()
    if data.manifest.labelled:
        numbers, labels = _read(getattr(data, name), history.spec.names)
        read, auc = len(numbers), _aucs(history, numbers, labels)
    fields = {f.name: f for f in data.manifest.fields if f.kind == RATE}
    return RatesAlone(
        name,
        read,
        len(fields),
        sum(f.size for f in fields.values()),
        tuple(
            KeyAlone(
                key.name,
                int(np.count_nonzero(history.counts[key.name][:, :, 0].any(axis=1))),
                key.parents,
                _without(fields[f"{RATE}.{history.spec.rates[0]}.{key.name}"]),
                {rate: auc.get((rate, key.name)) for rate in history.spec.rates},
            )
            for key in history.spec.rated
        ),
    )


def _without(field: FieldRecord) -> dict[str, float | None]:
    """Part -> the share of its impressions that have no history; None for an empty part."""
    return {part: field.unseen[part] / field.ids[part] if field.ids[part] else None for part in PARTS}


def _read(part: Part, rates: tuple[str, ...]) -> tuple[np.ndarray, Labels]:
    """The log odds of the rates, and the labels, of some row groups in random order. Shape: float32 (n, rates)."""
    most = min(IMPRESSIONS, NUMBERS // max(1, len(rates)))
    numbers, labels, read = list[np.ndarray](), list[Labels](), 0
    for rows in part.chunks(np.random.default_rng(0), read=rates):
        assert rows.numbers is not None
        assert rows.labels is not None
        kept = np.sort(np.random.default_rng(read).permutation(len(rows))[: most - read])
        numbers.append(rows.numbers[kept])
        labels.append(rows.labels.take(kept))
        read += len(kept)
        if read == most:
            break
    return np.concatenate(numbers), Labels.concatenate(labels)


def _aucs(history: History, numbers: np.ndarray, labels: Labels) -> dict[tuple[str, str], float | None]:
    """(rate, key) -> AUC of the rate for its own outcome; None if it is not defined."""
    spec, found = history.spec, dict[tuple[str, str], float | None]()
    place = {name: i for i, name in enumerate(spec.names)}
    for rate in spec.rates:
        stage = spec.stages[-1] if rate == CTCVR else rate
        first = rate == CTCVR or stage == spec.stages[0]
        among = slice(None) if first else labels[spec.stages[spec.stages.index(stage) - 1]]
        outcome = np.ascontiguousarray(labels[stage][among])
        for key in spec.rated:
            scores = np.ascontiguousarray(numbers[among, place[f"{RATE}.{rate}.{key.name}"]])
            twice, positives, negatives = twice_above([scores], [outcome])
            found[rate, key.name] = twice / (2 * positives * negatives) if positives and negatives else None
    return found
