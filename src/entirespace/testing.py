"""Checks that your own method must pass. Call them in its tests:

    from entirespace.testing import check_method

    def test_mine():
        check_method(Mine())

A check that fails raises AssertionError, which says what must hold and what was found instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batches.batch import Batch
from .core.labels import Counts, Labels, Samples
from .methods import Method
from .network import Heads
from .network.probability import Prob, value_of

N = 4000  # impressions in the log of the checks: 30 % are clicked, and 20 % of these are converted
CLICK = np.arange(N) % 10 < 3
CONVERSION = CLICK & (np.arange(N) // 10 % 5 == 0)
CLICK.flags.writeable = CONVERSION.flags.writeable = False
LABELS = Labels({"click": CLICK, "conversion": CONVERSION})
GIVEN = 0.3  # the value of every input in `Method.reads`, such as the reference pCTR; constant, so no rate changes


def check_method(method: Method, *, may_exceed_1: Collection[str] = ()) -> None:
    """Run all checks of this module on a method.

    Args:
        may_exceed_1: those of "pctr", "pcvr" and "pctcvr" that may be above 1, such as DIVISION's pCVR.

    Raises: AssertionError at the first check that fails.

    >>> from entirespace.methods import DIVISION, ESMM
    >>> check_method(ESMM())
    >>> check_method(DIVISION(), may_exceed_1=("pcvr",))
    >>> check_method(DIVISION())
    Traceback (most recent call last):
    AssertionError: DIVISION: pcvr must be at most 1, however: it is 2.71828 for logits of 1
    """
    for check in CHECKS:
        check(method)
    check_probabilities(method, may_exceed_1=may_exceed_1)


def check_is_a_value(method: Method) -> None:
    """A method is a frozen dataclass: methods with the same parameters are equal, and it can be copied."""
    cls = type(method)
    frozen = is_dataclass(cls) and cls.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    _must(method, frozen, "the class must be a frozen dataclass", "it is not")
    heads = method.heads
    good = isinstance(heads, tuple) and heads and all(isinstance(h, str) and h.isidentifier() for h in heads)
    _must(method, good and len(set(heads)) == len(heads), "heads must be different names in a tuple", repr(heads))
    copy = deepcopy(method)
    _must(method, copy == method and hash(copy) == hash(method), "a copy must be equal to the method", f"{copy!r}")


def check_spec(method: Method) -> None:
    """The parameters can be stored as JSON, and the same method can be made from them, as a run does it."""
    try:
        stored = json.loads(json.dumps(method.spec()))
    except TypeError as error:
        raise AssertionError(f"{method.label}: the parameters must be JSON values, however: {error}") from error
    again = type(method)(**{key: value for key, value in stored.items() if key != "name"})
    _must(method, again == method, "the stored parameters must give the method again", f"{again!r} of {method!r}")


def check_samples(method: Method) -> None:
    """`samples` gives a whole number, at least 0, for each impression, and depends on the labels and the rng only.

    A method that changes the labels of its samples returns `Samples` instead: row numbers and as many labels.
    """
    for n in (N, 1, 0):
        found = method.samples(LABELS.take(np.arange(n)), np.random.default_rng(1))
        times = found.rows if isinstance(found, Samples) else found
        if isinstance(found, Samples):
            _must(method, len(found.labels) == len(times), "samples must have as many labels as rows", f"{found}")
            _must(method, not (times >= n).any(), f"the rows of samples must be below {n}", f"{times.max(initial=0)}")
        else:
            _must(method, times.shape == (n,), f"samples of {n} impressions must have shape ({n},)", f"{times.shape}")
        whole = times.dtype.kind in "iu"
        _must(method, whole and not (times < 0).any(), "samples must be whole numbers, at least 0", f"{times[:5]}")
    (one, labels), (two, others) = _epoch(method), _epoch(deepcopy(method))
    same = np.array_equal(one, two) and all(np.array_equal(labels[s], others[s]) for s in LABELS.reached)
    _must(method, same, "samples must depend on the labels and the given rng only", "two calls that differ")


def check_base_rates(method: Method) -> None:
    """`base_rates` gives each head a rate above 0 and below 1 for any counts, so that its logit is finite."""
    for n, clicks, conversions in ((N, 1200, 240), (N, 0, 0), (N, N, N), (0, 0, 0)):
        counts = Counts(n, {"click": clicks, "conversion": conversions})
        rates = method.base_rates(counts)
        _must(method, set(rates) == set(method.heads), f"base_rates must name {method.heads}", f"{tuple(rates)}")
        for head, rate in rates.items():
            _must(method, 0 < rate < 1, f"the base rate of {head} must be above 0 and below 1", f"{rate} of {counts}")


def check_loss(method: Method) -> None:
    """`loss` is one finite number in the precision of the heads, with a finite gradient for every head."""
    for dtype in (torch.float32, torch.float64):
        for spread, what in ((1.0, "logits of about 1"), (100.0, "logits of about 100")):
            epoch = _epoch(method)
            logits = _random_logits(method, len(epoch[0]), spread, dtype)
            loss = _loss(method, logits, *epoch)
            _must(method, loss.shape == (), "the loss must be a scalar", f"shape {tuple(loss.shape)}")
            _must(method, bool(loss.isfinite()), f"the loss must be finite for {what}", f"{loss.item()}")
            _must(method, loss.dtype == dtype, f"the loss of {dtype} must be {dtype}", f"{loss.dtype}")
            _must(method, loss.requires_grad, "the loss must be differentiable", "it has no gradient")
            loss.backward()
            for head, logit in logits.items():
                _must(method, logit.grad is not None, "the loss must depend on every head", f"not on {head}")
                finite = logit.grad is not None and bool(logit.grad.isfinite().all())
                _must(method, finite, f"the gradient of {head} must be finite for {what}", "it is not")


def check_loss_is_a_mean(method: Method) -> None:
    """`loss` is a mean over the batch, weighted by `batch.weight`.

    A batch repeated twice has the same loss, so the learning rate does not depend on the batch size. An impression of
    weight 0 does not change the loss.
    """
    rows, labels = _epoch(method)
    logits = _random_logits(method, len(rows), 1.0, torch.float64)
    twice = {head: logit.repeat(2) for head, logit in logits.items()}
    both = np.tile(rows, 2), Labels.concatenate([labels, labels])
    one, two = _loss(method, logits, rows, labels).item(), _loss(method, twice, *both).item()
    _must(method, _close(one, two), "a batch repeated twice must have the same loss", f"{one}, {two}")
    weight = np.concatenate([np.ones(len(rows), np.float32), np.zeros(len(rows), np.float32)])
    other = {head: torch.cat([logit, 2 - logit]) for head, logit in logits.items()}
    weighed = _loss(method, other, both[0], replace(both[1], weight=weight)).item()
    _must(method, _close(one, weighed), "impressions of weight 0 must not change the loss", f"{one}, {weighed}")


def check_loss_at_step_0(method: Method) -> None:
    """If every head predicts its base rate, the loss is close to the lowest of all constant predictions."""
    rows, labels = _epoch(method)
    rates = method.base_rates(Counts.of(LABELS))

    def loss(moved: Mapping[str, float]) -> float:
        logits = {h: np.log(r) - np.log1p(-r) + moved.get(h, 0.0) for h, r in rates.items()}
        constant = {h: torch.full((len(rows),), x, dtype=torch.float64) for h, x in logits.items()}
        return _loss(method, constant, rows, labels).item()

    start = loss({})
    for head in method.heads:
        for move in (-0.5, 0.5):
            other = loss({head: move})
            must = "the base rates must have the lowest loss of all constant predictions"
            came = f"it is {start:.6g}, but {other:.6g} if the logit of {head} is moved by {move}"
            _must(method, start <= other + 1e-3 * abs(start), must, came)


def check_probabilities(method: Method, *, may_exceed_1: Collection[str] = ()) -> None:
    """pCTR, pCVR and pCTCVR are one number from 0 to 1 for each impression; those in `may_exceed_1` may exceed 1."""
    for size in (0.0, 1.0, 100.0):
        ends = torch.tensor([-size, size, -size, size]), torch.tensor([-size, -size, size, size])
        p = _heads({head: ends[i % 2] for i, head in enumerate(method.heads)})
        for name, value in _probabilities(method, p).items():
            where = f"for logits of {size:g}"
            _must(method, value.shape == (4,), f"{name} must have one value for each impression", f"{value.shape}")
            _must(method, not bool(value.isnan().any()), f"{name} must be a number", f"it is NaN {where}")
            _must(method, bool((value >= 0).all()), f"{name} must be at least 0", f"it is {value.min():g} {where}")
            good = name in may_exceed_1 or bool((value <= 1 + 1e-6).all())
            _must(method, good, f"{name} must be at most 1", f"it is {value.max():g} {where}")


CHECKS: tuple[Callable[[Method], None], ...] = (
    check_is_a_value,
    check_spec,
    check_samples,
    check_base_rates,
    check_loss,
    check_loss_is_a_mean,
    check_loss_at_step_0,
)


def _must(method: Method, holds: Any, must: str, came: str) -> None:
    if not holds:
        raise AssertionError(f"{method.label}: {must}, however: {came}")


def _close(a: float, b: float) -> bool:
    return bool(np.isclose(a, b, rtol=1e-9))


def _epoch(method: Method) -> tuple[np.ndarray, Labels]:
    """The row numbers of one epoch, each as often as the method samples it, and their labels."""
    found = method.samples(LABELS, np.random.default_rng(1))
    if isinstance(found, Samples):
        return found.rows, found.labels
    rows = np.repeat(np.arange(N), found)
    return rows, LABELS.take(rows)


def _random_logits(method: Method, n: int, spread: float, dtype: torch.dtype) -> dict[str, Tensor]:
    rng = np.random.default_rng(2)
    return {
        head: torch.tensor(spread * rng.standard_normal(n), dtype=dtype, requires_grad=True) for head in method.heads
    }


def _loss(method: Method, logits: Mapping[str, Tensor], rows: np.ndarray, labels: Labels) -> Tensor:
    dtype = next(iter(logits.values())).dtype
    batch = Batch(
        size=len(rows),
        rows=torch.zeros(0, dtype=torch.int64),
        groups=(),
        labels={stage: torch.from_numpy(reached.copy()) for stage, reached in labels.reached.items()},
        weight=None if labels.weight is None else torch.from_numpy(labels.weight),
        given={name: torch.full((len(rows),), GIVEN, dtype=dtype) for name in method.reads},
    )
    return method.loss(_heads(logits), batch)


def _heads(logits: Mapping[str, Tensor]) -> Heads:
    return Heads(**{head: Prob.of_logit(logit) for head, logit in logits.items()})


def _probabilities(method: Method, p: Heads) -> dict[str, Tensor]:
    return {name: value_of(value) for name, value in method.predict(p).items()}
