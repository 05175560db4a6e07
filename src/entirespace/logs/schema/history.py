"""[history] in a schema file: rates of clicks and conversions by id, as fields."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field as Value
from pydantic import model_validator

from ...config import Model, nearest
from ...features.history.keys import CTCVR, PAIR
from .durations import Duration
from .labels import STAGES

RATES = (*STAGES, CTCVR)


class HistorySchema(Model):
    """Rates of clicks and conversions by id, counted in the training part; see docs/history.md."""

    keys: Literal["all"] | tuple[str | tuple[str, ...], ...]
    """"all": every field of kind id or ids; or a list of fields, columns of the impressions, and pairs of them, such as
    ["user_id", "video_id", ["user_id", "tab"]]."""
    parents: dict[str, tuple[str, ...]] = Value(default_factory=dict)
    """Key -> the fields or columns whose rates a rare id leans on, the nearest first; after them the mean. A pair is
    named "user_id x tab"."""
    rates: tuple[str, ...] = RATES
    """click (of impressions), conversion (of clicks), ctcvr (conversions of impressions)."""
    cross_fit: Literal["folds", "time"] = "folds"
    """A training impression knows: the other folds of the training part (folds), or strictly earlier impressions of
    it (time)."""
    folds: int = Value(default=5, ge=2, le=50)
    """The number of folds."""
    seed: int = 0
    """Draws the folds."""
    prior: Literal["fit"] | float = "fit"
    """How strongly rates lean on their parents, in impressions; "fit": by maximum likelihood."""
    half_life: Duration | None = None
    """An outcome this much older counts half, such as "7d" or a number in the unit of `order`. Default: all count
    alike."""
    delay: Duration | None = None
    """An outcome counts only this long after its impression, when it is known, such as "1d". Default: at once."""
    counts: bool = False
    """The log of the number of impressions of each id is a field too."""
    buckets: int = Value(default=32, ge=2, le=65536)
    """Quantile buckets of each rate."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the keys, of the columns of pairs, and of the parents: fields, or columns of the impressions."""
        keys = () if self.keys == "all" else self.keys
        parts = [name for key in keys for name in ((key,) if isinstance(key, str) else key)]
        return (*parts, *(name for some in self.parents.values() for name in some))

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.keys != "all":
            names = [key if isinstance(key, str) else PAIR.join(key) for key in self.keys]
            for key in self.keys:
                if not isinstance(key, str) and len(key) != 2:
                    raise ValueError(f"a key must be a column or a pair of columns, not a list of {len(key)}")
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"key '{twice}' is listed twice")
            if not names:
                raise ValueError('keys must list at least one column, or be "all"')
        for rate in self.rates:
            if rate not in RATES:
                raise ValueError(f"'{rate}' in rates is not a rate. {nearest(rate, RATES)}")
        if not self.rates or len(set(self.rates)) < len(self.rates):
            raise ValueError("rates must list each rate once")
        if not isinstance(self.prior, str) and not self.prior > 0:
            raise ValueError("prior must be positive")
        return self
