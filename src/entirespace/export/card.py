"""The model card of a bundle, from a run, its record and its scores of the validation part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dataset.dataset import Dataset
from ..errors import EntirespaceError
from ..experiments.protocol import evaluated
from ..metrics.evaluation import Truths
from ..reports.evaluation import TASKS
from ..runs.outputs import Outputs
from ..runs.record import RunRecord
from ..runs.run import Run
from ..serving.card import Histogram, ModelCard, TrainedOnCard, ValidationCard
from ..serving.inputs import OUTPUTS
from ..serving.manifest import Parity
from ..tables import markdown_table
from ..text import printable

BINS = 20  # of a histogram of scores, each with as many scores of the validation part as the next
COUNTS = ("impressions", "positives")
SHOWN = (*COUNTS, "auc", "log_loss", "ece", "pcoc")


def model_card(run: Run, parity: Parity, history: str | None, versions: dict[str, str], made: str) -> ModelCard:
    """The card of a run.

    Args:
        history: digest of the counts that the bundle holds.
        made: when it is exported.
    """
    record = RunRecord.finished(run.folder)
    validation, drift, why = _validation(run, record)
    trained, reached = record.dataset, record.dataset.reached
    rates = {"ctr": (reached["click"], trained.impressions), "cvr": (reached["conversion"], reached["click"])}
    rates["ctcvr"] = reached["conversion"], trained.impressions
    return ModelCard(
        name=run.title,
        method=run.method.spec(),
        samples=run.method.sampled,
        loss=run.method.equation,
        reading=run.method.reading,
        seeds=tuple(member.seed for member in run.members) or (run.seed,),
        config=run.config.model_dump(mode="json"),
        trained_on=TrainedOnCard(
            dataset=trained.digest,
            impressions=trained.impressions,
            reached=reached,
            rates={name: part / of for name, (part, of) in rates.items() if of},
        ),
        layout=run.layout.digest,
        history=history,
        validation=validation,
        no_validation=why,
        calibration=run.calibration.as_dict(),
        calibrated=str(run.calibration),
        drift=drift,
        parity=parity,
        warnings=record.warnings,
        versions=versions,
        made=made,
    )


def _validation(run: Run, record: RunRecord) -> tuple[ValidationCard | None, dict[str, Histogram], str]:
    """The metrics and histograms on the validation part; or None, and why.

    The scores are kept in the run, or else made from the dataset that it was trained on, if that is still in its place.
    """
    try:
        if (kept := run.kept_validation) is not None:
            outputs, counts, unseen = run.validation_scores(), kept.counts, {}
            truths = Truths(kept.column("click"), kept.column("conversion"), None, None)
            whose = "of the selection model, which has not learned from the validation part"
        else:
            dataset = Dataset(record.dataset.path)
            if dataset.digest != record.dataset.digest:
                return None, {}, "the folder of the dataset that the run was trained on holds another one"
            part = dataset.validation
            if not len(part):
                return None, {}, "the dataset has no validation part"
            outputs, counts, truths, whose = run.validation_scores(part), part.counts, Truths.of(part), "of the run"
            unseen = {
                name: (u.unseen if u.missing is None else u.missing) / u.ids
                for name, u in part.unseen.items()
                if name in run.read and u.ids
            }
    except EntirespaceError as error:
        return None, {}, printable(str(error))
    outputs = run.calibration.apply(outputs)
    tasks = evaluated(outputs, truths, "validation", 1 / run.calibration.negatives_kept).tasks
    card = ValidationCard(
        scores=whose,
        impressions=counts.impressions,
        reached=dict(counts.reached),
        tasks={task: {name: _finite(value) for name, value in metrics} for task, metrics in tasks.items()},
        unseen=unseen,
    )
    return card, _histograms(outputs), ""


def _finite(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _histograms(outputs: Outputs) -> dict[str, Histogram]:
    found: dict[str, Histogram] = {}
    for name in OUTPUTS:
        p = getattr(outputs, name)
        if p is None:
            continue
        edges = np.unique(np.quantile(p.astype(np.float64), np.arange(1, BINS) / BINS))
        counts = np.bincount(np.searchsorted(edges, p, side="left"), minlength=len(edges) + 1)
        found[name] = Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()), mean=float(p.mean()))
    return found


def card_text(card: ModelCard) -> str:
    """The card as Markdown."""
    trained = card.trained_on
    counts = ", ".join(f"{count:,} reached {stage}" for stage, count in trained.reached.items())
    sizes = ", ".join(map(str, card.parity.batch_sizes))
    rates = ", ".join(f"{name.upper()} {100 * rate:.3g} %" for name, rate in trained.rates.items())
    parts = [
        f"# {printable(card.name)}",
        "pCTR: the probability of a click. pCVR: of a conversion, if there is a click. pCTCVR: of both.",
        f"- samples: {card.samples}\n- loss of one sample: {card.loss}\n- pCVR: {card.reading}\n"
        f"- {card.calibrated}\n- exported {card.made} with entirespace {card.versions['entirespace']}",
        f"**{card.raw_ids}**",
        "## Data",
        f"{trained.impressions:,} training impressions, of which {counts}: {rates}. Digest of the dataset "
        f"`{trained.dataset[:12]}`, of the encoders `{card.layout[:12]}`"
        + (f", of the counts of the history `{card.history[:12]}`." if card.history else "."),
        "## Metrics on the validation part",
        _metrics(card.validation) if card.validation is not None else f"None: {card.no_validation}.",
        "## Drift reference",
        _drift(card),
        "## Parity",
        f"{card.parity.rows:,} random rows and edge cases, in batches of {sizes}: "
        f"the scores are those of the run to {card.parity.largest:.1g}; at most {card.parity.tolerance:g} is allowed.",
        "## Versions",
        ", ".join(f"{name} {version}" for name, version in card.versions.items()),
    ]
    if card.warnings:
        parts += ["## Warnings", "\n".join(f"- {printable(warning)}" for warning in card.warnings)]
    return "\n\n".join(parts) + "\n"


def _metrics(card: ValidationCard) -> str:
    def shown(name: str, value: float | None) -> str:
        form = ",.0f" if name in COUNTS else ".5g"
        return "undefined" if value is None else format(value, form)

    rows = [[TASKS[task], *(shown(name, metrics.get(name)) for name in SHOWN)] for task, metrics in card.tasks.items()]
    table = markdown_table(["task", "impressions", "positives", "AUC", "log loss", "ECE", "predicted/observed"], rows)
    return f"Scores {card.scores}; {card.impressions:,} impressions.\n\n{table}"


def _drift(card: ModelCard) -> str:
    if not card.drift:
        return "None, for there are no validation scores."
    rows = [
        [name, f"{h.mean:.5g}", f"{h.edges[0]:.3g}", f"{h.edges[len(h.edges) // 2]:.3g}", f"{h.edges[-1]:.3g}"]
        for name, h in card.drift.items()
    ]
    return "Scores of the validation part; `model_card.json` has their histograms.\n\n" + markdown_table(
        ["output", "mean", "lowest 5 %", "median", "highest 5 %"], rows
    )
