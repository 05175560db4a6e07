"""Judges a finished training by the loss of predicting the base rates for every impression, which any should beat."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ..batches.batch import Batch
from ..errors import RunError
from ..methods._method import Method
from ..network import Heads
from ..network.probability import Prob

DIVERGED = 10.0  # times the loss of the base rates


def base_rate_loss(method: Method, rates: Mapping[str, float], batches: Iterable[Batch]) -> float:
    """The method's mean loss if each head predicts its base rate for every impression; NaN without impressions.

    Args:
        rates: head -> base rate, in (0, 1).
    """
    logits = {head: torch.tensor(rate, dtype=torch.float64).logit().float() for head, rate in rates.items()}
    total, count = 0.0, 0
    for batch in batches:
        heads = Heads(**{head: Prob.of_logit(x.expand(len(batch)).to(batch.rows.device)) for head, x in logits.items()})
        with torch.inference_mode():
            total += method.loss(heads, batch).item() * len(batch)
        count += len(batch)
    return total / count if count else math.nan


def judge(label: str, part: str, loss: float, base: float, learning_rate: float, where: Path) -> str | None:
    """A warning if a trained model is worse than its base rates, or None.

    Args:
        label: of the method.
        part: the part of which these are the losses.
        loss: the best loss of the training.
        base: the loss of the base rates. A loss that is not positive cannot be compared.

    Raises: RunError if training diverged: the loss is more than ten times that of the base rates.
    """
    if not (base > 0 and loss > base):  # also if one of them is NaN
        return None
    what = f"{part} loss of {label} is {loss:.5g}"
    than = f"the {base:.5g} of predicting the base rates for every impression"
    if loss > DIVERGED * base:
        raise RunError(
            "training must not diverge",
            f"the best {what}, more than {DIVERGED:g} times {than}",
            where=str(where),
            do=lower(learning_rate),
        )
    return (
        f"The best {what}, worse than {than}: this run has learned nothing useful. {lower(learning_rate)}, or train on "
        "more impressions."
    )


def lower(learning_rate: float) -> str:
    """What to do about a training that diverges."""
    return f"Lower optimizer.learning_rate, which is {learning_rate:g}"
