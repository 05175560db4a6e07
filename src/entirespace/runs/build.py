"""The method of a record; its untrained network, for one layout and one configuration; the fields that it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scipy.special import logit

from ..config import Config
from ..core.labels import Counts
from ..errors import RunError
from ..features.chosen import ChosenFields
from ..features.layout import Layout
from ..methods import from_spec
from ..methods._method import Method, base_rate
from ..network import Network
from ..network.baseline import CTCVR, CTR, CVR


def recorded_method(spec: dict[str, Any], given: Method | None, where: str) -> Method:
    """The method of a record: the one that the caller gave, or a method of this package.

    Raises: RunError if the given method is another one, or if none was given and it is a class from elsewhere.
    """
    if given is None:
        return from_spec(spec, where)
    if (mine := json.loads(json.dumps(given.spec()))) != spec:
        raise RunError("the given method must be the method of the run", f"{mine}, not {spec}", where=where)
    return given


def fields_of(method: Method, layout: Layout, config: Config, where: str | None = None) -> ChosenFields:
    """The fields that the network of a method reads. Raises: ConfigError as `ChosenFields.of`."""
    return ChosenFields.of(layout.fields, config.network, where, alone=method.baseline is not None)


def build_network(method: Method, layout: Layout, counts: Counts, config: Config, seed: int) -> Network:
    """The untrained network of a method. Its intercepts start at the base rates of `counts`, the training part's.

    The logistic baseline, where there is one, is not solved yet. Beside it an intercept starts at how much higher the
    log odds of the head's label are in the method's samples than in the log: log(copies) for OVERSAMPLING, below 0 for
    AMAN, exactly 0 for every other method of the paper.

    Raises: ConfigError as `ChosenFields.of`.
    """
    chosen = fields_of(method, layout, config)
    base_rates = method.base_rates(counts)
    return Network(
        method.heads,
        chosen.offsets,
        chosen.rows,
        config.network,
        share_embedding=method.share_embedding,
        base_rates=base_rates,
        seed=seed,
        names=chosen.names,
        rates=len(chosen.rates) if chosen.rates else None,
        shifts=_shifts(base_rates, counts),
        alone=method.baseline is not None,
    )


def _shifts(base_rates: Mapping[str, float], counts: Counts) -> dict[str, float]:
    """For each head that the baseline knows: the logit of its base rate, minus that of the rate in the log."""
    impressions, clicks, conversions = counts.impressions, counts["click"], counts["conversion"]
    in_log = {
        CTR: base_rate(clicks, impressions),
        CVR: base_rate(conversions, clicks),
        CTCVR: base_rate(conversions, impressions),
    }
    return {head: float(logit(base_rates[head]) - logit(rate)) for head, rate in in_log.items() if head in base_rates}
