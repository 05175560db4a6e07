"""[history] in a schema file: rates of clicks and conversions by id, as fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field as Value
from pydantic import field_validator, model_validator

from ...config import Model, nearest
from ...features.history.keys import CTCVR, PAIR
from .durations import Duration, seconds
from .labels import STAGES

RATES = (*STAGES, CTCVR)
ALL = "all"
Keys = Literal["all"] | tuple[str | tuple[str, ...], ...]


class HistorySchema(Model):
    """Rates of clicks and conversions by id, counted in the training part; see docs/history.md."""

    keys: Keys
    """"all": every field of kind id or ids; or a list of fields, columns of the impressions, and pairs of them, such as
    ["user_id", "video_id", ["user_id", "tab"]]. "all" in a list: every field of kind id or ids, beside the others."""
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
    seed: int = Value(default=0, ge=0)
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
    def pairs(self) -> tuple[tuple[str, ...], ...]:
        """The keys that are pairs of columns."""
        return () if self.keys == "all" else tuple(key for key in self.keys if not isinstance(key, str))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the keys, of the columns of pairs, and of the parents: fields, or columns of the impressions."""
        keys = () if self.keys == "all" else self.keys
        parts = [name for key in keys for name in ((key,) if isinstance(key, str) else key) if key != ALL]
        return (*parts, *(name for some in self.parents.values() for name in some))

    def parents_of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The parents of a key, or of a pair. By default a pair leans on its first column, and on that one's parents.

        Args:
            names: the column of the key, or the two columns of the pair.
        """
        given = self.parents.get(PAIR.join(names))
        if given is not None or len(names) == 1:
            return given or ()
        return (names[0], *self.parents.get(names[0], ()))

    @field_validator("keys")
    @classmethod
    def _keys_are_columns_and_pairs(cls, keys: Keys) -> Keys:
        if keys == "all":
            return keys
        if not keys:
            raise ValueError('it must list at least one column, or be "all"')
        for key in keys:
            if isinstance(key, str):
                continue
            if len(key) != 2:
                raise ValueError(f"a key must be a column or a pair of columns, not a list of {len(key)}")
            if key[0] == key[1]:
                raise ValueError(f"a pair must have two different columns, not '{key[0]}' twice")
        names = [key if isinstance(key, str) else PAIR.join(sorted(key)) for key in keys]
        twice = next((key for key, name in zip(keys, names, strict=True) if names.count(name) > 1), None)
        if twice is not None:
            what = f"key '{twice}'" if isinstance(twice, str) else f"the pair of '{twice[0]}' and '{twice[1]}'"
            raise ValueError(f"{what} is listed twice")
        return keys

    @field_validator("rates")
    @classmethod
    def _rates_are_known(cls, rates: tuple[str, ...]) -> tuple[str, ...]:
        for rate in rates:
            if rate not in RATES:
                raise ValueError(f"'{rate}' is not a rate. {nearest(rate, RATES)}")
            if rates.count(rate) > 1:
                raise ValueError(f"rate '{rate}' is listed twice")
        if not rates:
            raise ValueError(f"it must list at least one of {', '.join(RATES)}")
        return rates

    @field_validator("prior")
    @classmethod
    def _prior_is_positive(cls, prior: Literal["fit"] | float) -> Literal["fit"] | float:
        if not isinstance(prior, str) and not prior > 0:
            raise ValueError('it must be a positive number of impressions, or "fit"')
        return prior

    @field_validator("half_life")
    @classmethod
    def _half_life_is_positive(cls, half_life: Duration | None) -> Duration | None:
        if half_life is not None and not (half_life if isinstance(half_life, int) else seconds(half_life)):
            raise ValueError("it must be longer than 0; leave it out if all outcomes count alike")
        return half_life

    @model_validator(mode="after")
    def _names_are_valid(self) -> Self:
        for name in self.columns:
            if not name or any(c in name for c in "/\\\0"):
                raise ValueError(
                    f"the name of a key or a parent is used as a file name: it cannot be empty or contain a slash, as "
                    f"'{name}'; make it a field of another name, with from = \"{name}\""
                )
        return self

    @model_validator(mode="after")
    def _no_key_leans_on_itself(self) -> Self:
        for name, parents in self.parents.items():
            twice = next((parent for parent in parents if parents.count(parent) > 1), None)
            if twice is not None:
                raise ValueError(f"'{twice}' is listed twice among the parents of '{name}'")
        parents = {**{PAIR.join(pair): self.parents_of(pair) for pair in self.pairs}, **self.parents}
        for name in parents:
            back = _way_back(name, parents)
            if back:
                raise ValueError(f"parents must not lead back to their key, as {' -> '.join(back)} does")
        return self


def _way_back(name: str, parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The way from a key over parents and their parents to the key itself; () if there is none."""
    ways: list[tuple[str, ...]] = [(name,)]
    seen = {name}
    for way in ways:
        for parent in parents.get(way[-1], ()):
            if parent == name:
                return (*way, name)
            if parent not in seen:
                seen.add(parent)
                ways.append((*way, parent))
    return ()
