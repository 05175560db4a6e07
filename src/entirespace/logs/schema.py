"""The schema file of a log: one impressions table, and side tables joined to it by a key (docs/formats.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator
from pydantic import Field as Value

from ..config import Model, nearest, parse, read_toml
from ..core.rows import IMPRESSIONS, Field
from ..features.layout import Key

TAKEN = ("order", "user", "part", "weight", "true_pctr", "true_pcvr")
"""Columns that `prepare` writes to the impressions beside their stages and fields: no field may have these names."""


def _usable(name: str) -> str:
    """Check the name of a field or a table, which is also used in names of files and columns of the dataset."""
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise ValueError(
            "the name of a field or a table is used as a file name: it cannot contain a slash or begin with a dot"
        )
    if name.startswith(("link.", "fingerprint.", "time.")) or name.endswith(".weights"):
        raise ValueError("link.X, fingerprint.X, time.X and X.weights are reserved for columns that `prepare` writes")
    return name


Name = Annotated[str, AfterValidator(_usable)]


class FieldSchema(Model):
    """One field of x."""

    kind: Literal["id", "ids", "number"] = "id"
    """id: one raw id per row; ids: any number of raw ids per row; number: a quantity, cut into quantile buckets."""
    source: str | None = Value(default=None, alias="from")
    """The column that holds it. Default: the column with the field's name."""
    separator: str | None = Value(default=None, min_length=1)
    """kind = "ids", as text: the separator between two ids."""
    weights: str | None = None
    """kind = "ids": the column with one weight per id, separated in the same way."""
    min_count: int = Value(default=1, ge=1)
    """A raw id that occurs in fewer training impressions than this shares row 0, "unseen"."""
    hash: int | None = Value(default=None, ge=1, lt=2**31 - 1)
    """Hash raw ids into this many rows instead of fitting a vocabulary."""
    buckets: int | None = Value(default=None, ge=2)
    """kind = "number": the number of quantile buckets. Default: 20."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind != "ids" and (self.separator is not None or self.weights is not None):
            raise ValueError("separator and weights can only be set with kind = 'ids'")
        if self.kind != "number" and self.buckets is not None:
            raise ValueError("buckets can only be set with kind = 'number'")
        if self.kind == "number" and (self.hash is not None or self.min_count != 1):
            raise ValueError("hash and min_count cannot be set with kind = 'number'")
        if self.hash is not None and self.min_count != 1:
            raise ValueError("min_count cannot be set with hash: hashed ids are not counted")
        return self


class LabelSchema(Model):
    """A label read from a column with several levels: 1 where the column has one of `values`."""

    source: str = Value(alias="from")
    """The column."""
    values: tuple[str | int, ...] = Value(min_length=1)
    """The levels that count as 1."""
    others: tuple[str | int, ...] = (0,)
    """The levels that count as 0. A row whose level is in neither list is quarantined."""

    @model_validator(mode="after")
    def _levels_are_distinct(self) -> Self:
        both = {str(v) for v in self.values} & {str(v) for v in self.others}
        if both:
            raise ValueError(f"the level {min(both)} is in both values and others")
        return self


class LabelsSchema(Model):
    """The columns of the funnel's stages, in order. A stage counts as reached only where every earlier one is."""

    click: str | LabelSchema
    """y: was the impression clicked."""
    conversion: str | LabelSchema
    """z: did a conversion follow. Models learn y & z."""

    def by_stage(self) -> dict[str, str | LabelSchema]:
        """Stage -> its column, in the funnel's order."""
        return {stage: getattr(self, stage) for stage in STAGES}


STAGES: tuple[str, ...] = tuple(LabelsSchema.model_fields)
"""The funnel's stages, in order."""


class TableSchema(Model):
    """A table in files: CSV (.csv, .csv.gz, .csv.zst, .txt, .tsv) or Parquet (.parquet)."""

    files: tuple[str, ...] = Value(min_length=1)
    """Paths or patterns, relative to the folder of the raw log, or s3://, gs://, az:// addresses."""
    delimiter: str = Value(",", min_length=1, max_length=1)
    """CSV: the separator between two columns, one ASCII character."""
    columns: tuple[str, ...] | None = None
    """For CSV without a header: the names of the columns, in order."""
    fields: dict[Name, FieldSchema] = Value(default_factory=dict)
    """The fields of x that are columns of this table."""

    @model_validator(mode="after")
    def _delimiter_is_usable(self) -> Self:
        if not self.delimiter.isascii() or self.delimiter in '"\r\n':
            raise ValueError("delimiter must be an ASCII character that is not a quote or a line end")
        return self


class ImpressionsSchema(TableSchema):
    """The impressions table: one row per impression."""

    order: str | None = None
    """The column of time. Default: rows are in order of time."""
    labels: LabelsSchema
    """The columns of click and conversion."""
    times: dict[str, str] = Value(default_factory=dict)
    """Stage -> the column of the time when it was reached, in the unit of `order`."""
    weight: str | None = None
    """The column of each impression's weight in every loss. Default: all weigh 1. Metrics ignore weights."""
    unique: tuple[str, ...] = ()
    """Columns that together identify an impression. Of rows equal in all of them only the first is kept."""

    @model_validator(mode="after")
    def _times_are_of_stages(self) -> Self:
        for stage in self.times:
            if stage not in STAGES:
                raise ValueError(f"'{stage}' in times is not a stage. {nearest(stage, STAGES)}")
        return self


class SideSchema(TableSchema):
    """A side table: each of its rows is shared by all impressions with the same key."""

    key: str
    """The key's column in this table."""
    on: str | None = None
    """The key's column in the impressions. Default: the same name."""


class SplitSchema(Model):
    """How impressions are split into parts. The split is made before any vocabulary is fitted."""

    by: Literal["order", "column", "file", "all"] = "order"
    """order: by time; column: by the value of a column; file: by file name; all: every impression in one part."""
    part: Literal["train", "validation", "test"] | None = None
    """by = "all": the part that all impressions go to."""
    column: str | None = None
    """by = "column": the column."""
    train: float | tuple[str, ...] = 0.5
    """by = "order": the share of impressions for training, the earliest (paper: 1/2). by = "column" or "file": the
    column values or file patterns of training impressions."""
    test: tuple[str, ...] = ()
    """by = "column" or "file": the column values or file patterns of test impressions."""
    validation: float = Value(default=0.1, ge=0, lt=1)
    """The share of the training part, the latest in time, that becomes the validation part. Early stopping and the
    choice of settings use it, never the test part."""

    @model_validator(mode="after")
    def _options_fit_by(self) -> Self:
        if (self.by == "all") != (self.part is not None):
            raise ValueError("part must be set with by = 'all', and only then")
        if self.by in ("order", "all"):
            if not isinstance(self.train, float | int) or not 0 < self.train < 1:
                raise ValueError("by = 'order' needs a share between 0 and 1 in train")
            if self.column or self.test:
                raise ValueError("column and test can only be set with by = 'column' or 'file'")
        else:
            if not isinstance(self.train, tuple) or not self.train or not self.test:
                raise ValueError(f"by = '{self.by}' needs lists in train and test")
            if (self.by == "column") != (self.column is not None):
                raise ValueError("column must be set with by = 'column', and only then")
            both = set(self.train) & set(self.test)
            if both:
                raise ValueError(f"'{min(both)}' is in both train and test")
        return self


class Roles(Model):
    """The fields that identify a user and an item, for Table 1 and the AUC grouped by user."""

    user: str | None = None
    item: str | None = None


class TruthSchema(Model):
    """Files with the true probabilities, if they are known: one row per impression, in the same order."""

    files: tuple[str, ...] = Value(min_length=1)
    """Paths or patterns, relative to the folder of the raw log."""
    pctr: str = "pctr"
    """The column of the true pCTR."""
    pcvr: str = "pcvr"
    """The column of the true pCVR."""


class Schema(Model):
    """The content of a schema file: impressions, side tables, split, roles, and the truth if it is known."""

    impressions: ImpressionsSchema
    tables: dict[Name, SideSchema] = Value(default_factory=dict)
    split: SplitSchema = SplitSchema()
    roles: Roles = Roles()
    truth: TruthSchema | None = None

    @model_validator(mode="after")
    def _names_are_valid(self) -> Self:
        if IMPRESSIONS in self.tables:
            raise ValueError(f"a side table cannot be named '{IMPRESSIONS}'")
        names = [name for table in self._all() for name in table.fields]
        if not names:
            raise ValueError("no fields: name at least one in [impressions.fields] or [tables.NAME.fields]")
        twice = sorted({name for name in names if names.count(name) > 1})
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
            if role is not None and role not in names:
                raise ValueError(f"role '{role}' is not a field. {nearest(role, names)}")
            if any(f.name == role and f.kind == "number" for f in self.fields()):
                raise ValueError(f"role '{role}' is a number; a role must be a field of ids")
        return self

    def _all(self) -> list[TableSchema]:
        return [self.impressions, *self.tables.values()]

    def fields(self) -> tuple[Field, ...]:
        """The fields of x in the order of the schema: those of the impressions first, then those of each side table."""
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
        """Side table -> the columns that join it to the impressions."""
        return {name: Key(key=table.key, on=table.on or table.key) for name, table in self.tables.items()}


def read_schema(path: Path) -> Schema:
    """Read a schema file. Raises: ConfigError that names the key, its value, and what must hold."""
    return parse(Schema, read_toml(path), str(path))
