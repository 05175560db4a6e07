"""The tables of a log, in a schema file: impressions, side tables, conversions and truth."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator
from pydantic import Field as Value

from ...config import Model, nearest
from ...core.rows import IMPRESSIONS
from ..csvform import CsvForm, is_encoding
from .durations import Duration
from .fields import FieldSchema, Name
from .labels import STAGES, LabelsSchema
from .values import ValuesSchema


def _encoding(name: str) -> str:
    if not is_encoding(name):
        raise ValueError(f"'{name}' is no encoding of text; encodings are named as latin-1, windows-1252 or utf-16")
    return name


Encoding = Annotated[str, AfterValidator(_encoding)]


class FilesSchema(Model):
    """Files: CSV (.csv, .csv.gz, .csv.zst, .txt, .tsv) or Parquet (.parquet)."""

    files: tuple[str, ...] = Value(min_length=1)
    """Paths or patterns, relative to the folder of the raw log, or s3://, gs://, az:// addresses."""
    delimiter: str = Value(default=",", min_length=1, max_length=1)
    """CSV: the separator between two columns, one ASCII character."""
    columns: tuple[str, ...] | None = None
    """For CSV without a header: the names of the columns, in order."""
    skip: int = Value(default=0, ge=0)
    """CSV: how many lines to leave out at the beginning. With `columns`, skip = 1 replaces the header."""
    encoding: Encoding = "utf-8"
    """CSV: the encoding of the text, such as latin-1, windows-1252, utf-16 or gb18030."""
    multiline: bool = False
    """CSV: a value in quotes may contain line ends, so that a row has several lines."""

    def csv(self) -> CsvForm:
        """How CSV files of the table are written."""
        return CsvForm(self.delimiter, self.columns, self.skip, self.encoding, self.multiline)

    @model_validator(mode="after")
    def _delimiter_is_usable(self) -> Self:
        if not self.delimiter.isascii() or self.delimiter in '"\r\n':
            raise ValueError("delimiter must be an ASCII character that is not a quote or a line end")
        return self


class TableSchema(FilesSchema, ValuesSchema):
    """A table with fields of x, and how its values are written."""

    fields: dict[Name, FieldSchema] = Value(default_factory=dict)
    """The fields of x that are columns of this table."""


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
    """Columns that together identify an impression. Of rows equal in all of them only one is kept."""
    on_repeat: Literal["first", "last", "any"] | None = None
    """With unique, which row of an impression is kept: the first, the last, or the first with the labels of all rows
    (any): it then reached each stage that any of its rows reached. Default: first."""

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        for stage in self.times:
            if stage not in STAGES:
                raise ValueError(f"'{stage}' in times is not a stage. {nearest(stage, STAGES)}")
        if self.on_repeat is not None and not self.unique:
            raise ValueError("on_repeat can only be set with unique, which says when two rows are one impression")
        return self


class SideSchema(TableSchema):
    """A side table: each of its rows is shared by all impressions with the same key."""

    files: tuple[str, ...] = ()
    """Paths or patterns, as for impressions. Leave it out with from = "impressions"."""
    source: Literal["impressions"] | None = Value(default=None, alias="from")
    """"impressions": the fields are columns of the impressions, and are the same in all rows with the same key."""
    key: str
    """The key's column in this table."""
    on: str | None = None
    """The key's column in the impressions. Default: the same name."""

    @model_validator(mode="after")
    def _files_or_impressions(self) -> Self:
        if (self.source is None) != bool(self.files):
            raise ValueError(f'a side table needs either files or from = "{IMPRESSIONS}"')
        own = [name for name in ("on", *FilesSchema.model_fields) if name != "files" and name in self.model_fields_set]
        if self.source and own:
            raise ValueError(f'{own[0]} cannot be set with from = "{IMPRESSIONS}"')
        return self


class ConversionsSchema(FilesSchema):
    """Conversions in a table of their own, joined to clicked impressions by a key. Each conversion counts for one
    impression: the last clicked one with its key, at or before its time and within `window`."""

    key: tuple[str, ...] | str
    """The column, or columns, of the key in this table."""
    on: tuple[str, ...] | str | None = None
    """The key's columns in the impressions. Default: the same names."""
    time: str | None = None
    """The column of the conversion's time, written as the times of the impressions. It needs `order`."""
    window: Duration | None = None
    """The longest time from the impression to its conversion, such as "7d", "12h" or "30m", or a number in the unit of
    `order`. Default: any time."""

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if len(self.keys()) != len(self.ons()):
            raise ValueError("key and on must name equally many columns")
        if self.window is not None and self.time is None:
            raise ValueError("window needs time, the column of the conversion's time")
        return self

    def keys(self) -> tuple[str, ...]:
        """The columns of the key in this table."""
        return (self.key,) if isinstance(self.key, str) else self.key

    def ons(self) -> tuple[str, ...]:
        """The columns of the key in the impressions."""
        on = self.key if self.on is None else self.on
        return (on,) if isinstance(on, str) else on


class TruthSchema(FilesSchema):
    """Files with the true probabilities of each impression: one row per impression, in the same order."""

    pctr: str = "pctr"
    """The column of the true pCTR."""
    pcvr: str = "pcvr"
    """The column of the true pCVR."""
