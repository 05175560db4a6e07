"""What a reader must know before the tables of a comparison: warnings in words, made from its counts and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..config import Config
from ..dataset.describe import FEW, few_conversions
from ..dataset.moved import differ, percent
from ..dotted import flat
from ..metrics.significance import holm
from ..metrics.values import Undefined
from .findings import LEVEL, chance, enumerated, for_bids, off_by

if TYPE_CHECKING:
    from .comparison import Comparison, PartCounts, TaskSpreads

FEW_SEEDS = 5
DRIFT = 0.1
"""A base rate that differs between train and test by more than this share of itself, and by more than chance."""
UNSEEN = 0.1
"""A field with more than this share of unseen ids in the test part."""
NAMED = 5  # how many fields, methods or settings a warning names
HARDWARE = ("threads", "device", "precision", "checkpoint_minutes", "shuffle_rows")
"""Settings that decide where and how fast a method is trained, and are not searched."""


def warnings(comparison: Comparison) -> list[str]:
    """The warnings that the comparison holds, then those that follow from its counts and metrics."""
    found = [
        *_few(comparison),
        *_miscalibrated(comparison),
        *_drift(comparison),
        *_unseen(comparison),
        *_not_searched(comparison),
    ]
    return list(dict.fromkeys([*comparison.warnings, *found]))


def _few(comparison: Comparison) -> Iterator[str]:
    if few := few_conversions(comparison.dataset.test.conversions):
        yield few
    validation = comparison.dataset.validation.conversions
    chosen = [line.name for line in comparison.methods if line.candidates]
    if chosen and comparison.select == "validation" and validation < FEW:
        yield (
            f"Few conversions: the validation part has {validation:,}, fewer than {FEW}. "
            f"The parameters of {enumerated(chosen)}, which were chosen on it, are little better than a draw."
        )
    seeds = len(comparison.seeds)
    if len(comparison.methods) > 1 and seeds < FEW_SEEDS:
        trained = "One seed was trained" if seeds == 1 else f"Only {seeds} seeds were trained"
        power = "differences cannot be tested over seeds" if seeds == 1 else "only large differences are significant"
        yield f"{trained}: {power}. More seeds, such as --seeds 10, find smaller ones."


def _miscalibrated(comparison: Comparison) -> Iterator[str]:
    """The probabilities that differ from what was observed by more than chance and more than 5 %.

    Chance: an exact Poisson test, with Holm's correction for the probabilities of all methods and tasks.
    """
    reference = next((m for line in comparison.methods if (m := line.tasks.get("ctr_reference"))), None)
    tested: list[tuple[str, str, TaskSpreads | None]] = [("the reference CTR network", "pCTR", reference)]
    for line in comparison.methods:
        of = {"pCTR": line.tasks.get("ctr"), "pCVR": line.tasks.get("cvr"), "pCTCVR": for_bids(line)}
        tested += [(line.label, name, metrics) for name, metrics in of.items()]
    p_values = holm([chance(metrics) for _, _, metrics in tested])
    said: dict[str, list[str]] = {}
    for (who, name, metrics), p in zip(tested, p_values, strict=True):
        ratio = off_by(metrics)
        if metrics is not None and ratio is not None and isinstance(p, float) and p <= 1 - LEVEL:
            least = "at least " if isinstance(metrics.pcoc, Undefined) else ""
            said.setdefault(who, []).append(f"{name} {least}{ratio:.2f}")
    if said:
        count = sum(isinstance(p, float) for p in p_values)
        tests = f"all {count} tests" if count > 1 else "one test"
        do = "Calibrate before bidding, or before a threshold is set, with entirespace evaluate --calibrate."
        if comparison.calibrated:
            do = "They are calibrated on the validation part; before bidding, calibrate again on later outcomes."
        shown = "; ".join(f"{who} ({', '.join(ratios)})" for who, ratios in said.items())
        yield (
            f"Miscalibrated by more than chance, with Holm's correction for {tests}, in multiples of what was observed"
            f": {shown}. {do}"
        )


def _drift(comparison: Comparison) -> Iterator[str]:
    train, test = comparison.dataset.train, comparison.dataset.test

    def ctr(part: PartCounts) -> tuple[int, int]:
        return part.clicks, part.impressions

    def cvr(part: PartCounts) -> tuple[int, int]:
        return part.conversions, part.clicks

    moved = [
        f"{name} is {percent(*of(train))} in the training part and {percent(*of(test))} in the test part"
        for name, of in (("CTR", ctr), ("CVR of clicked impressions", cvr))
        if differ(*of(train), *of(test), least=DRIFT)
    ]
    if moved:
        yield (
            f"Drift: {enumerated(moved)}. Probabilities learned on the training part are then off by about as "
            "much; a later training part, or a calibration on recent impressions, corrects it."
        )


def _unseen(comparison: Comparison) -> Iterator[str]:
    excluded = comparison.config.get("network", {}).get("exclude", ())
    read = {name: share for name, share in comparison.dataset.unseen.items() if name not in excluded}
    found = sorted(read.items(), key=lambda pair: -pair[1])
    many = [f"{100 * share:.0f} % of the ids of {name!r}" for name, share in found if share > UNSEEN]
    if many:
        yield (
            f"Unseen ids: in the test part, {_some(many, 'fields')} are not in the training part. All unseen ids of "
            "a field share one row of the embedding, so the methods cannot tell them apart."
        )


def _not_searched(comparison: Comparison) -> Iterator[str]:
    defaults = flat(Config().model_dump(mode="json"))
    changed = [
        f"{name} = {value}"
        for name, value in flat(comparison.config).items()
        if name.rpartition(".")[2] not in HARDWARE and (name not in defaults or defaults[name] != value)
    ]
    if changed:
        settings = f"all methods share one configuration, which sets {_some(changed, 'settings')}, else defaults"
    else:
        settings = "learning rate, network and all other settings have their default values for every method"
    yield f"Not searched: {settings}. Tuning each method, with entirespace tune, can change the order."


def _some(words: list[str], what: str) -> str:
    """The first words of a long list, and how many more there are."""
    more = len(words) - NAMED
    return enumerated(words if more <= 0 else [*words[:NAMED], f"{more} more {what}"])
