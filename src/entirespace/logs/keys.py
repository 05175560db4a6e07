"""The keys of [history]: names of fields, or of columns of the impressions, become what is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..config import nearest
from ..core.rows import IMPRESSIONS, Field
from ..errors import ConfigError
from ..features.history.keys import HistoryKey, HistorySpec
from ..features.layout import Encoders
from .clock import Clock
from .schema import STAGES, HistorySchema, Schema
from .schema.history import ALL
from .schema.values import value_format

EPOCHS = 16
"""Folds in time with cross_fit = "time", each twice as long as all before it."""


def keys_of(
    schema: Schema, fields: tuple[Field, ...], encoders: Encoders | None, note: Callable[[str], None]
) -> Keys | KnownKeys | None:
    """What a log is counted by; None: it has no history.

    A later log is counted as the layout of its encoders says. If its schema says otherwise, a note says so.

    Args:
        fields: the fields of x.
        encoders: those of an earlier layout.
        note: adds a note to the audit.
    """
    mine = None if schema.history is None else Keys(schema, fields)
    if encoders is None:
        return mine
    known = None if encoders.history is None else KnownKeys(encoders.history.spec)
    if mine is not None and known is None:
        note("The layout has no history, so the schema's [history] is not used.")
    elif mine is not None and known is not None and mine.names != known.names:
        note("The schema's [history] has other keys or parents than the layout's, which is used.")
    return known


@dataclass(frozen=True)
class KnownKeys:
    """The keys of an earlier layout."""

    history: HistorySpec

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields, and columns of the impressions that are no fields, by whose ids impressions are counted."""
        return self.history.fields_of_keys

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Key -> its parents."""
        return {key.name: key.parents for key in self.history.keys}

    def spec(self, clock: Clock) -> HistorySpec:
        """What is counted."""
        return self.history


class Keys:
    """The keys of a schema's history.

    Args:
        fields: the fields of x.

    Attributes:
        fields: the fields, and columns of the impressions that are no fields, by whose ids impressions are counted.

    Raises: ConfigError if a key or a parent cannot be counted by.
    """

    def __init__(self, schema: Schema, fields: tuple[Field, ...]) -> None:
        assert schema.history is not None
        self._schema: HistorySchema = schema.history
        self._fields = {f.name: f for f in fields}
        self._form = value_format(schema.impressions)
        self._keys: dict[str, HistoryKey] = {}
        for names in self._wanted():
            key = self._key(names)
            self._keys[key.name] = HistoryKey(key.fields, self._schema.parents_of(names))
        for name in self._schema.parents:
            if name not in self._keys:
                do = nearest(name, [*self._keys])
                raise ConfigError("parents in [history] must be given for keys", f"'{name}' is no key", do=do)
        self._add_parents()
        self.fields = tuple(dict.fromkeys(f for key in self._keys.values() for f in key.fields))

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Key -> its parents."""
        return {key.name: key.parents for key in self._keys.values()}

    def spec(self, clock: Clock) -> HistorySpec:
        """What is counted, with durations in steps of the clock."""
        s = self._schema
        return HistorySpec(
            keys=tuple(self._keys.values()),
            stages=STAGES,
            rates=s.rates,
            cross_fit=s.cross_fit,
            folds=s.folds if s.cross_fit == "folds" else EPOCHS,
            seed=s.seed,
            prior=None if isinstance(s.prior, str) else s.prior,
            half_life=None if s.half_life is None else clock.steps(s.half_life, "half_life"),
            delay=0 if s.delay is None else clock.steps(s.delay, "delay"),
            counts=s.counts,
            buckets=s.buckets,
        )

    def _wanted(self) -> tuple[tuple[str, ...], ...]:
        """The columns of each key, the fields that "all" stands for first. Raises: ConfigError if there are none."""
        listed = () if self._schema.keys == ALL else self._schema.keys
        if self._schema.keys != ALL and ALL not in listed:
            return tuple((key,) if isinstance(key, str) else key for key in listed)
        fields = [f.name for f in self._fields.values() if f.kind != "number"]
        if not fields:
            must = 'keys = "all" in [history] needs a field of kind id or ids'
            raise ConfigError(must, "all fields are numbers", do="List columns of ids in keys")
        others = [(key,) if isinstance(key, str) else key for key in listed if key != ALL and key not in fields]
        return (*((name,) for name in fields), *others)

    def _add_parents(self) -> None:
        """Count by parents, too, if they are no keys. A parent may be a pair only if it is a key."""
        for name in dict.fromkeys(parent for key in self._keys.values() for parent in key.parents):
            if name not in self._keys:
                self._keys[name] = self._key((name,), rated=False)

    def _key(self, names: Iterable[str], *, rated: bool = True) -> HistoryKey:
        fields, what = tuple(self._field(name) for name in names), "key" if rated else "parent"
        for f in fields:
            if f.kind == "number":
                must = f"a {what} in [history] must be a field or a column of ids"
                raise ConfigError(must, f"'{f.name}' is a number", do="Leave it out, or count by a column of ids")
            if len(fields) > 1 and f.kind == "ids":
                must = "the columns of a pair in [history] must have one id per row"
                raise ConfigError(must, f"'{f.name}' has any number of ids", do=f"Use '{f.name}' as a key of its own")
        return HistoryKey(fields, rated=rated)

    def _field(self, name: str) -> Field:
        """The field of this name, or else the column of the impressions."""
        return self._fields.get(name) or Field(name, IMPRESSIONS, "id", column=name, format=self._form)
