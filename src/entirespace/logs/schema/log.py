"""The content of a schema file as a whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Self

from pydantic import Field as Value
from pydantic import model_validator

from ...config import Model, nearest, parse
from ...core.rows import IMPRESSIONS, Field
from ...features.layout import Key
from ...toml import read_toml
from .fields import Name
from .history import HistorySchema
from .labels import STAGES
from .split import SplitSchema
from .tables import ConversionsSchema, ImpressionsSchema, SideSchema, TableSchema, TruthSchema
from .values import ValuesSchema

TAKEN = ("order", "user", "part", "fold", "weight", "true_pctr", "true_pcvr")
"""Columns that `prepare` writes to the impressions beside their stages and fields: no field may have these names."""


class Roles(Model):
    """What identifies a user and an item, for Table 1 and the AUC grouped by user; and columns to measure by.

    Each is a field, or a column of the impressions that is no field.
    """

    user: str | None = None
    """The user."""
    item: str | None = None
    """The item."""
    segments: tuple[str, ...] = ()
    """Columns of the impressions that `evaluate --by` can use although they are not fields of x."""


class RequestSchema(Model):
    """What belongs to a request, and is the same for all of its candidates; see `features.sides`."""

    fields: tuple[str, ...]
    """Fields, and columns that only [history] counts by. All others belong to each candidate."""


class Schema(Model):
    """The content of a schema file: impressions, side tables, conversions, history, split, roles, request, truth."""

    impressions: ImpressionsSchema
    tables: dict[Name, SideSchema] = Value(default_factory=dict)
    conversions: ConversionsSchema | None = None
    history: HistorySchema | None = None
    split: SplitSchema = SplitSchema()
    roles: Roles = Roles()
    request: RequestSchema | None = None
    truth: TruthSchema | None = None

    @model_validator(mode="after")
    def _names_are_valid(self) -> Self:
        if IMPRESSIONS in self.tables:
            raise ValueError(f"a side table cannot be named '{IMPRESSIONS}'")
        names = [name for table in self._all() for name in table.fields]
        if not names:
            raise ValueError("no fields: name at least one in [impressions.fields] or [tables.NAME.fields]")
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            raise ValueError(f"field '{twice[0]}' is in two tables; rename one of them and add from = \"{twice[0]}\"")
        for name, table in self.tables.items():
            if not table.fields:
                raise ValueError(
                    f"no fields in table '{name}': name one in [tables.{name}.fields], or delete the table"
                )
        taken = [name for name in self.impressions.fields if name in (*STAGES, *TAKEN)]
        if taken:
            raise ValueError(
                f"field '{taken[0]}' of the impressions has the name of a column that `prepare` writes; "
                f'rename the field and add from = "{self.impressions.fields[taken[0]].source or taken[0]}"'
            )
        for role in (self.roles.user, self.roles.item):
            if any(f.name == role and f.kind == "number" for f in self.fields()):
                raise ValueError(f"role '{role}' is a number; a role must be a field or a column of ids")
        return self

    @model_validator(mode="after")
    def _tables_fit_together(self) -> Self:
        impressions, conversions = self.impressions, self.conversions
        if (impressions.labels.conversion is None) == (conversions is None):
            raise ValueError("'conversion' in [impressions.labels] must be given, or [conversions], but not both")
        if conversions is not None and conversions.time is not None and impressions.order is None:
            raise ValueError("time in [conversions] is compared with the time of the impressions: set order")
        if conversions is not None and "conversion" in impressions.times:
            raise ValueError("the time of a conversion is set twice: in [impressions.times] and in [conversions]")
        history = self.history
        if history is not None and impressions.order is None and (history.half_life or history.delay):
            raise ValueError("half_life and delay in [history] need the times of the impressions: set order")
        if self.split.by == "user" and self.roles.user is None:
            raise ValueError("by = 'user' in [split] needs user in [roles]")
        return self

    @model_validator(mode="after")
    def _no_field_reads_an_outcome(self) -> Self:
        outcomes = {label.source: stage for stage, label in self.impressions.labels.by_stage().items()}
        outcomes |= {column: f"the time of a {stage}" for stage, column in self.impressions.times.items()}
        of_impressions = [self.impressions, *(t for t in self.tables.values() if t.source == IMPRESSIONS)]
        for table in of_impressions:
            for name, field in table.fields.items():
                for column in (field.source or name, field.weights):
                    if column in outcomes:
                        raise ValueError(
                            f"field '{name}' reads column '{column}', which is {outcomes[column]}: an outcome is not "
                            "known when the impression is shown, so it cannot be a field"
                        )
        named = {f.name for f in self.fields()}
        for column in () if self.history is None else self.history.columns:
            if column in outcomes and column not in named:
                raise ValueError(
                    f"[history] counts by column '{column}', which is {outcomes[column]}: an outcome is not known when "
                    "the impression is shown, so it cannot be a key"
                )
        return self

    @model_validator(mode="after")
    def _a_request_has_known_fields(self) -> Self:
        known = {f.name for f in self.fields()} | {*(() if self.history is None else self.history.columns)}
        for name in () if self.request is None else self.request.fields:
            if name not in known:
                raise ValueError(
                    f"'{name}' in [request] is neither a field nor a column that [history] counts by. "
                    f"{nearest(name, sorted(known))}"
                )
        return self

    def _all(self) -> list[TableSchema]:
        return [self.impressions, *self.tables.values()]

    def files(self) -> tuple[str, ...]:
        """The paths and patterns of the files of all tables."""
        others = (table for table in (self.conversions, self.truth) if table is not None)
        return tuple(name for table in (*self._all(), *others) for name in table.files)

    def fields(self) -> tuple[Field, ...]:
        """The fields of x in the order of the schema: those of the impressions first, then those of each side table."""
        tables: dict[str, TableSchema] = {IMPRESSIONS: self.impressions, **self.tables}
        return tuple(
            f.field(name, table, *self.values(table))
            for table, schema in tables.items()
            for name, f in schema.fields.items()
        )

    def values(self, table: str) -> tuple[ValuesSchema, ...]:
        """What says how the values of a table are written, the nearest first."""
        if table == IMPRESSIONS:
            return (self.impressions,)
        side = self.tables[table]
        return (side, self.impressions) if side.source == IMPRESSIONS else (side,)

    def keys(self) -> dict[str, Key]:
        """Side table -> the columns that join it to the impressions."""
        found = {}
        for name, table in self.tables.items():
            missing = {*(table.missing or ()), *(self.impressions.missing or ())}
            found[name] = Key(key=table.key, on=table.on or table.key, missing=tuple(sorted(missing)))
        return found


def read_schema(path: Path) -> Schema:
    """Read a schema file. Raises: ConfigError that names the key, its value, and what must hold."""
    return parse(Schema, read_toml(path), str(path))
