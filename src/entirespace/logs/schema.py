"""The schema file of a log: one impressions table, and side tables joined by a key (DESIGN, section 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator
from pydantic import Field as Value

from ..config import Model, nearest, parse, read_toml
from ..core.rows import IMPRESSIONS, Field
from ..features.layout import Key

TAKEN = ("order", "user", "part", "weight", "true_pctr", "true_pcvr")
"""Columns that `prepare` itself writes beside the stages and the fields of the impressions."""


def _usable(name: str) -> str:
    """The name of a field or a table: it names files and columns of the dataset."""
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise ValueError("the name of a field or a table names a file: it has no slash and does not begin with a dot")
    if name.startswith(("link.", "fingerprint.", "time.")) or name.endswith(".weights"):
        raise ValueError("names such as link.X, fingerprint.X and X.weights are those of the dataset's own columns")
    return name


Name = Annotated[str, AfterValidator(_usable)]


class FieldSchema(Model):
    """One field of x."""

    kind: Literal["id", "ids", "number"] = "id"
    """id: one raw id; ids: many; number: a quantity, cut into quantile buckets."""
    source: str | None = Value(default=None, alias="from")
    """The column it stands in; absent: the column of the field's own name."""
    separator: str | None = Value(default=None, min_length=1)
    """kind ids in text: what stands between two ids."""
    weights: str | None = None
    """kind ids: the column with a weight for each id, separated alike."""
    min_count: int = Value(default=1, ge=1)
    """A raw id that stands less often than this in training impressions shares row 0, "unseen"."""
    hash: int | None = Value(default=None, ge=1, lt=2**31 - 1)
    """Hash raw ids into this many rows in place of a vocabulary."""
    buckets: int | None = Value(default=None, ge=2)
    """kind number: how many quantile buckets (default 20)."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind != "ids" and (self.separator is not None or self.weights is not None):
            raise ValueError("separator and weights go with kind = 'ids'")
        if self.kind != "number" and self.buckets is not None:
            raise ValueError("buckets go with kind = 'number'")
        if self.kind == "number" and (self.hash is not None or self.min_count != 1):
            raise ValueError("hash and min_count do not go with kind = 'number'")
        if self.hash is not None and self.min_count != 1:
            raise ValueError("min_count does not go with hash: hashed ids share rows as they fall")
        return self


class LabelSchema(Model):
    """A label read from a column of levels: 1 where the column holds one of `values`."""

    source: str = Value(alias="from")
    """The column."""
    values: tuple[str | int, ...] = Value(min_length=1)
    """The levels that count as 1 (every other level found must be in `others`)."""
    others: tuple[str | int, ...] = (0,)
    """The levels that count as 0."""

    @model_validator(mode="after")
    def _tells_them_apart(self) -> Self:
        both = {str(v) for v in self.values} & {str(v) for v in self.others}
        if both:
            raise ValueError(f"the level {min(both)} stands in values and in others")
        return self


class LabelsSchema(Model):
    """The columns of the funnel's stages, in order. A stage counts as reached only where every earlier one is."""

    click: str | LabelSchema
    """y: was the impression clicked."""
    conversion: str | LabelSchema
    """z: did a conversion follow. What is learned is y & z."""

    def by_stage(self) -> dict[str, str | LabelSchema]:
        """Stage -> its column, in the funnel's order."""
        return {stage: getattr(self, stage) for stage in STAGES}


STAGES: tuple[str, ...] = tuple(LabelsSchema.model_fields)
"""The funnel's stages, in order."""


class TableSchema(Model):
    """A table as it lies in files: CSV (.csv, .csv.gz, .csv.zst, .txt, .tsv) or Parquet (.parquet)."""

    files: tuple[str, ...] = Value(min_length=1)
    """Paths or patterns, relative to the folder of the raw log, or s3://, gs://, az:// addresses."""
    delimiter: str = Value(",", min_length=1, max_length=1)
    """CSV: what stands between two columns."""
    columns: tuple[str, ...] | None = None
    """CSV without a header: the names of the columns, in order."""
    fields: dict[Name, FieldSchema] = Value(default_factory=dict)
    """The fields of x that stand in this table."""

    @model_validator(mode="after")
    def _delimits(self) -> Self:
        if not self.delimiter.isascii() or self.delimiter in '"\r\n':
            raise ValueError("delimiter must be an ASCII character, and neither a quote nor a line end")
        return self


class ImpressionsSchema(TableSchema):
    """The impressions, one row each."""

    order: str | None = None
    """The column of time; absent: the order of the rows."""
    labels: LabelsSchema
    """The columns of the click and the conversion."""
    times: dict[str, str] = Value(default_factory=dict)
    """Stage -> the column of the time when it was reached, told as `order` is."""
    weight: str | None = None
    """The column of how much an impression weighs in every loss; absent: 1. Metrics do not weigh."""
    unique: tuple[str, ...] = ()
    """Columns that together name an impression: an exact repeat is dropped and counted."""

    @model_validator(mode="after")
    def _times_are_of_stages(self) -> Self:
        for stage in self.times:
            if stage not in STAGES:
                raise ValueError(f"times has no stage '{stage}'. {nearest(stage, STAGES)}")
        return self


class SideSchema(TableSchema):
    """A table that many impressions share by a key."""

    key: str
    """The key's column in this table."""
    on: str | None = None
    """The key's column in the impressions; absent: the same name."""


class SplitSchema(Model):
    """Who trains and who tests; known before any vocabulary is fitted."""

    by: Literal["order", "column", "file", "all"] = "order"
    """order: the first share in time trains; column: a column names the part; file: file names do; all: one part."""
    part: Literal["train", "validation", "test"] | None = None
    """by = all: the part that holds all impressions."""
    column: str | None = None
    """by = column: the column."""
    train: float | tuple[str, ...] = 0.5
    """by = order: the share that trains (paper: 1/2); else the column's values or the file patterns."""
    test: tuple[str, ...] = ()
    """by = column or file: the values or file patterns that test."""
    validation: float = Value(default=0.1, ge=0, lt=1)
    """The last share of the training part, in time: early stopping and choices look here, never at test."""

    @model_validator(mode="after")
    def _fits_its_way(self) -> Self:
        if (self.by == "all") != (self.part is not None):
            raise ValueError("part goes with by = 'all'")
        if self.by in ("order", "all"):
            if not isinstance(self.train, float | int) or not 0 < self.train < 1:
                raise ValueError("by = 'order' needs a share between 0 and 1 in train")
            if self.column or self.test:
                raise ValueError("column and test go with by = 'column' or 'file'")
        else:
            if not isinstance(self.train, tuple) or not self.train or not self.test:
                raise ValueError(f"by = '{self.by}' needs lists in train and test")
            if (self.by == "column") != (self.column is not None):
                raise ValueError("column goes with by = 'column'")
            both = set(self.train) & set(self.test)
            if both:
                raise ValueError(f"'{min(both)}' stands in train and in test")
        return self


class Roles(Model):
    """Which fields name a user and an item: for Table 1 and the AUC grouped by user."""

    user: str | None = None
    item: str | None = None


class TruthSchema(Model):
    """True probabilities of a simulated log, row by row beside the impressions."""

    files: tuple[str, ...] = Value(min_length=1)
    pctr: str = "pctr"
    pcvr: str = "pcvr"


class Schema(Model):
    """A log: impressions, side tables, roles and the split."""

    impressions: ImpressionsSchema
    tables: dict[Name, SideSchema] = Value(default_factory=dict)
    split: SplitSchema = SplitSchema()
    roles: Roles = Roles()
    truth: TruthSchema | None = None

    @model_validator(mode="after")
    def _names_are_one(self) -> Self:
        if IMPRESSIONS in self.tables:
            raise ValueError(f"a side table cannot be named '{IMPRESSIONS}'")
        names = [name for table in self._all() for name in table.fields]
        if not names:
            raise ValueError("no fields: name at least one in [impressions.fields] or [tables.NAME.fields]")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"field '{twice[0]}' stands in two tables; rename one and say from = \"{twice[0]}\"")
        for name, table in self.tables.items():
            if not table.fields:
                raise ValueError(f"no fields in table '{name}': name one in [tables.{name}.fields], or leave it out")
        taken = [name for name in self.impressions.fields if name in (*STAGES, *TAKEN)]
        if taken:
            raise ValueError(
                f"field '{taken[0]}' of the impressions has the name of one of the dataset's own columns; "
                f'name it otherwise and say from = "{self.impressions.fields[taken[0]].source or taken[0]}"'
            )
        for role in (self.roles.user, self.roles.item):
            if role is not None and role not in names:
                raise ValueError(f"role '{role}' is no field. {nearest(role, names)}")
            if any(f.name == role and f.kind == "number" for f in self.fields()):
                raise ValueError(f"role '{role}' is a number, and a role must be a field of ids")
        return self

    def _all(self) -> list[TableSchema]:
        return [self.impressions, *self.tables.values()]

    def fields(self) -> tuple[Field, ...]:
        """The fields of x in the order of the schema: impressions first, then each side table's."""
        tables: dict[str, TableSchema] = {IMPRESSIONS: self.impressions, **self.tables}
        return tuple(
            Field(
                name,
                table,
                f.kind,
                f.min_count,
                f.hash,
                (f.buckets or 20) if f.kind == "number" else None,
                f.source,
                f.separator,
                f.weights,
            )
            for table, schema in tables.items()
            for name, f in schema.fields.items()
        )

    def keys(self) -> dict[str, Key]:
        """Side table -> the columns that join it."""
        return {name: Key(key=table.key, on=table.on or table.key) for name, table in self.tables.items()}


def read_schema(path: Path) -> Schema:
    """The schema file at `path`. Raises: ConfigError with the place and what is wrong there."""
    return parse(Schema, read_toml(path), str(path))
