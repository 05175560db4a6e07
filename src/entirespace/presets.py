"""Presets: settings of training over one dataset.

`paper` is what the paper says: the method's own loss ends training, there is no refit, numbers are buckets, and the
history is not read. `best` is what came out of docs/study.md: with a history the network is small, reads the rates in
place of the ids that have some, and is stopped by its CTCVR loss; without one it is that of the paper. In both cases it
has calibrators where they help, and the faster precision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from .config import Config, nearest, parse, with_settings
from .dataset.dataset import Dataset
from .errors import ConfigError

Preset = Literal["paper", "best"]

STEPS = 500
"""The least number of steps in `PASSES` passes over the training part, if that is large enough."""
PASSES = 6
LEAST, MOST = 64, 1024  # impressions of a batch

_PAPER: Mapping[str, Any] = {"network.history": False}
_BEST: Mapping[str, Any] = {"training.precision": "auto", "training.calibrate": "auto"}
_VALIDATED: Mapping[str, Any] = {
    "training.watch": "ctcvr",
    "training.checks_per_epoch": 4,
    "training.patience": 2,
    "training.refit": True,
}
_BLIND: Mapping[str, Any] = {"training.epochs": 1, "training.calibrate": "none"}
"""Where the validation part lacks an outcome and can stop nothing: most networks overfit after one epoch."""
_BY_RATES: Mapping[str, Any] = {
    "network.numbers": "interpolate",
    "network.offset": "rates",
    "network.offset_hidden": [64],
    "network.history": False,
    "network.rated_ids": False,
    "network.embedding_size": 8,
    "network.hidden": [64, 32],
}


def preset_settings(name: str, data: Dataset | None = None) -> dict[str, Any]:
    """The settings of a preset by dotted name; those that it leaves out have their defaults.

    Args:
        data: the dataset to train on. Absent: one with a history and 100,000 training impressions.

    Raises: ConfigError for an unknown preset.
    """
    if name not in get_args(Preset):
        raise ConfigError("the preset must be known", f"'{name}'", do=nearest(name, get_args(Preset)))
    if name == "paper":
        return dict(_PAPER)
    if data is None:
        rows, rates, seen = 100_000, True, True
    else:
        rows, rates, counts = len(data.train), bool(data.layout.rates), data.validation.counts
        seen = 0 < counts["conversion"] < counts["click"] < len(data.validation)
    found = {**_BEST, **_BY_RATES, "training.batch_size": batch_size(rows)} if rates else dict(_BEST)
    if not seen:
        return {**found, **_BLIND}
    return {**found, **_VALIDATED} if rates else found


def preset(name: str, data: Dataset | None = None) -> Config:
    """The configuration of a preset. Args and Raises: as `preset_settings`."""
    return parse(Config, with_settings({}, preset_settings(name, data)), f"preset {name}")


def batch_size(rows: int) -> int:
    """The largest power of two, from 64 to 1024, with which six passes over the rows are at least `STEPS` steps.

    >>> [batch_size(rows) for rows in (2_000, 54_000, 10_000_000)]
    [64, 512, 1024]
    """
    return min(MOST, max(LEAST, 2 ** int(math.log2(max(1.0, rows * PASSES / STEPS)))))
