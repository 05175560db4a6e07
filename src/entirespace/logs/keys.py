"""The keys of [history]: names of fields, or of columns of the impressions, become what is counted."""

from __future__ import annotations

from collections.abc import Iterable

from ..config import nearest
from ..core.rows import IMPRESSIONS, Field
from ..errors import ConfigError
from ..features.history.keys import HistoryKey, HistorySpec
from .clock import Clock
from .schema import STAGES, HistorySchema, Schema
from .schema.values import value_format

EPOCHS = 16
"""Folds in time with cross_fit = "time", each twice as long as all before it."""


class Keys:
    """The keys of a schema's history.

    Args:
        fields: the fields of x.

    Attributes:
        columns: the columns of the impressions that are keys, or parts of keys, and no fields.

    Raises: ConfigError if a key or a parent cannot be counted by.
    """

    def __init__(self, schema: Schema, fields: tuple[Field, ...]) -> None:
        assert schema.history is not None
        self._schema: HistorySchema = schema.history
        self._fields = {f.name: f for f in fields}
        self._form = value_format(schema.impressions)
        wanted = self._schema.keys
        if wanted == "all":
            wanted = tuple(f.name for f in fields if f.kind != "number")
        self._keys = {key.name: key for key in (self._key((key,) if isinstance(key, str) else key) for key in wanted)}
        for name in self._schema.parents:
            if name not in self._keys:
                do = nearest(name, [*self._keys])
                raise ConfigError("parents in [history] must be given for keys", f"'{name}' is no key", do=do)
        self._add_parents()
        used = [f for key in self._keys.values() for f in key.fields]
        self.columns = tuple(dict.fromkeys(f.name for f in used if f.name not in self._fields))

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

    def _add_parents(self) -> None:
        """Count by parents, too, if they are no keys."""
        parents = {name: self._parents(key) for name, key in self._keys.items()}
        for name in dict.fromkeys(parent for some in parents.values() for parent in some):
            if name not in self._keys:
                self._keys[name] = self._key((name,), rated=False)
        for name, some in parents.items():
            self._keys[name] = HistoryKey(self._keys[name].fields, some)

    def _parents(self, key: HistoryKey) -> tuple[str, ...]:
        """Those of the schema. By default a pair leans on its first column, and on the parents of that."""
        if key.name in self._schema.parents:
            return self._schema.parents[key.name]
        if len(key.fields) == 1:
            return ()
        first = key.fields[0].name
        return (first, *self._schema.parents.get(first, ()))

    def _key(self, names: Iterable[str], *, rated: bool = True) -> HistoryKey:
        fields = tuple(self._field(name) for name in names)
        for f in fields:
            if f.kind == "number":
                must = "a key in [history] must be a field or a column of ids"
                raise ConfigError(must, f"'{f.name}' is a number", do="Leave it out, or count by a column of ids")
            if len(fields) > 1 and f.kind == "ids":
                must = "the columns of a pair in [history] must have one id per row"
                raise ConfigError(must, f"'{f.name}' has any number of ids", do=f"Use '{f.name}' as a key of its own")
        return HistoryKey(fields, rated=rated)

    def _field(self, name: str) -> Field:
        """The field of this name, or else the column of the impressions."""
        return self._fields.get(name) or Field(name, IMPRESSIONS, "id", column=name, format=self._form)
