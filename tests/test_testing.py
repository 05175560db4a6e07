"""The checks of a user's own method: every built-in method passes them, and each check catches a broken one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from entirespace.core.labels import Labels, Samples
from entirespace.methods import METHODS, Method, base_rate, once
from entirespace.network.probability import bce
from entirespace.testing import check_method


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_built_in_methods_pass(method: Method) -> None:
    check_method(method, may_exceed_1=("pcvr",) if method.name == "DIVISION" else ())


@dataclass(frozen=True)
class Good(Method):
    """ESMM, for the broken ones to break."""

    weight: float = 1.0

    heads = ("ctr", "cvr")

    def samples(self, labels, rng):
        return once(labels)

    def loss(self, p, batch):
        return bce(batch.click, p.ctr, batch.weight) + self.weight * bce(batch.conversion, p.ctr * p.cvr, batch.weight)

    def base_rates(self, counts):
        return {
            "ctr": base_rate(counts["click"], counts.impressions),
            "cvr": base_rate(counts["conversion"], counts["click"]),
        }

    def predict(self, p):
        return {"pctr": p.ctr, "pcvr": p.cvr, "pctcvr": p.ctr * p.cvr}


def test_a_good_method_passes() -> None:
    check_method(Good(weight=2.0))


class ListOfHeads(Good):
    heads = ["ctr", "cvr"]  # noqa: RUF012


class NeverEqual(Good):
    def __eq__(self, other):
        return False

    def __hash__(self):
        return 0


class NotPlain(Good):
    def spec(self):
        return {**super().spec(), "weight": np.float32(1)}


class Forgets(Good):
    def spec(self):
        return {**super().spec(), "weight": 7.0}


class Halves(Good):
    def samples(self, labels, rng):
        return 0.5 * once(labels)


class Negative(Good):
    def samples(self, labels, rng):
        return once(labels) - 2 * labels.click


class TooFew(Good):
    def samples(self, labels, rng):
        return np.ones(int(labels.click.sum()), np.int64)


class Remembers(Good):
    calls = 0

    def samples(self, labels, rng):
        Remembers.calls += 1
        return once(labels) * Remembers.calls


class GlobalGenerator(Good):
    def samples(self, labels, rng):
        return np.random.randint(0, 2, len(labels))  # noqa: NPY002


class NoRateForCVR(Good):
    def base_rates(self, counts):
        return {"ctr": 0.3}


class RateOf0(Good):
    def base_rates(self, counts):
        return {"ctr": counts["click"] / max(1, counts.impressions), "cvr": 0.2}


class RateOverAll(Good):
    def base_rates(self, counts):
        return {**super().base_rates(counts), "cvr": base_rate(counts["conversion"], counts.impressions)}


class OnePerSample(Good):
    def loss(self, p, batch):
        return -torch.where(batch.click, p.ctr.log, p.ctr.log_not)


class Logarithm(Good):
    def loss(self, p, batch):
        ctr, cvr = p.ctr.value, p.cvr.value
        return bce(batch.conversion, p.cvr) - (torch.where(batch.click, ctr, 1 - ctr).log()).mean() + 0 * cvr.mean()


class SinglePrecision(Good):
    def loss(self, p, batch):
        return super().loss(p, batch).float()


class NoGradient(Good):
    def loss(self, p, batch):
        return super().loss(p, batch).detach()


class OneHeadOnly(Good):
    def loss(self, p, batch):
        return bce(batch.click, p.ctr)


class Sum(Good):
    def loss(self, p, batch):
        return len(batch.click) * super().loss(p, batch)


class Unweighted(Good):
    def loss(self, p, batch):
        return bce(batch.click, p.ctr) + bce(batch.conversion, p.ctr * p.cvr)


class Odds(Good):
    def predict(self, p):
        return {"pcvr": p.cvr.value / p.cvr.log_not.exp()}


class LogProbability(Good):
    def predict(self, p):
        return {"pctr": p.ctr.log}


class MeanOnly(Good):
    def predict(self, p):
        return {"pctr": p.ctr.value.mean()}


class Quotient(Good):
    def predict(self, p):
        return {"pcvr": (p.cvr.value - p.cvr.value) / (p.cvr.value - p.cvr.value)}


BROKEN = {
    ListOfHeads: "heads must be different names in a tuple",
    NeverEqual: "a copy must be equal",
    NotPlain: "the parameters must be JSON values",
    Forgets: "the stored parameters must give the method again",
    Halves: "samples must be whole numbers",
    Negative: "samples must be whole numbers, at least 0",
    TooFew: "samples of 4000 impressions must have shape",
    Remembers: "samples must depend on the labels and the given rng only",
    GlobalGenerator: "samples must depend on the labels and the given rng only",
    NoRateForCVR: "base_rates must name",
    RateOf0: "the base rate of ctr must be above 0 and below 1",
    RateOverAll: "the base rates must have the lowest loss of all constant predictions",
    OnePerSample: "the loss must be a scalar",
    Logarithm: "must be finite for logits of about 100",
    SinglePrecision: "the loss of torch.float64 must be torch.float64",
    NoGradient: "the loss must be differentiable",
    OneHeadOnly: "the loss must depend on every head",
    Sum: "a batch repeated twice must have the same loss",
    Unweighted: "impressions of weight 0 must not change the loss",
    Odds: "pcvr must be at most 1",
    LogProbability: "pctr must be at least 0",
    MeanOnly: "pctr must have one value for each impression",
    Quotient: "pcvr must be a number, however: it is NaN",
}


@dataclass(frozen=True)
class Copies(Good):
    """Its samples have labels of their own: each conversion comes once more, as a click without a conversion."""

    def samples(self, labels, rng):
        again = np.flatnonzero(labels.conversion)
        rows = np.concatenate([np.arange(len(labels)), again])
        conversion = np.concatenate([labels.conversion, np.zeros(len(again), bool)])
        return Samples(rows, Labels({"click": labels.click[rows], "conversion": conversion}))

    def base_rates(self, counts):
        n, y, z = counts.impressions, counts["click"], counts["conversion"]
        return {"ctr": base_rate(y + z, n + z), "cvr": base_rate(z, y + z)}


class TooManyLabels(Copies):
    def samples(self, labels, rng):
        found = super().samples(labels, rng)
        return Samples(found.rows[: len(labels) // 2], found.labels)


class RowsBeyond(Copies):
    def samples(self, labels, rng):
        found = super().samples(labels, rng)
        return Samples(found.rows + 1, found.labels)


BROKEN |= {
    TooManyLabels: "samples must have as many labels as rows",
    RowsBeyond: "the rows of samples must be below 4000",
}


@pytest.mark.parametrize(("cls", "says"), BROKEN.items(), ids=[cls.__name__ for cls in BROKEN])
def test_a_broken_method_is_caught(cls: type[Good], says: str) -> None:
    with pytest.raises(AssertionError) as error:
        check_method(dataclass(frozen=True)(cls)())
    assert says in str(error.value)


def test_samples_with_labels_of_their_own_pass() -> None:
    check_method(Copies())


def test_a_class_that_is_no_frozen_dataclass_is_caught() -> None:
    class Plain(Method):
        heads, samples, loss, base_rates = ("ctr",), Good.samples, Good.loss, Good.base_rates
        predict = Good.predict

    with pytest.raises(AssertionError, match="the class must be a frozen dataclass"):
        check_method(Plain())
