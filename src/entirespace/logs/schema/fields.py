"""Fields of x, in a schema file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator
from pydantic import Field as Value

from ...core.rows import Field, TimePart
from .values import ValuesSchema, value_format


def _usable(name: str) -> str:
    """Check the name of a field or a table, which is also used in names of files and columns of the dataset."""
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise ValueError(
            "the name of a field or a table is used as a file name: it cannot contain a slash or begin with a dot"
        )
    if name.startswith(RESERVED) or name.endswith(".weights"):
        listed = ", ".join(f"{start}X" for start in RESERVED)
        raise ValueError(f"{listed} and X.weights are reserved for columns that `prepare` writes")
    return name


RESERVED = ("link.", "fingerprint.", "time.", "segment.", "rate.", "history.", "earlier.")
MOST_HASHED = 2**27  # rows; with an embedding of 18 numbers and Adam's moments they are 29 GB
MOST_BUCKETS = 2**16  # more would have the same quantiles, and float32 positions would be inexact

Name = Annotated[str, AfterValidator(_usable)]


class FieldSchema(ValuesSchema):
    """One field of x."""

    kind: Literal["id", "ids", "number"] = "id"
    """id: one raw id per row; ids: any number of raw ids per row; number: a quantity, cut into quantile buckets."""
    source: str | None = Value(default=None, alias="from", min_length=1)
    """The column that holds it. Default: the column with the field's name."""
    part: TimePart | None = None
    """The column holds times, and the field is this part of them: hour (0-23), weekday (1 = Monday), day of the month,
    or month."""
    separator: str | None = Value(default=None, min_length=1)
    """kind = "ids", as text: the separator between two ids. Text such as "[27, 9]" needs none."""
    weights: str | None = None
    """kind = "ids": the column with one weight per id, separated in the same way."""
    min_count: int = Value(default=1, ge=1)
    """A raw id that occurs in fewer training impressions than this shares row 0, "unseen"."""
    hash: int | None = Value(default=None, ge=1, le=MOST_HASHED)
    """Hash raw ids into this many rows instead of fitting a vocabulary."""
    buckets: int | None = Value(default=None, ge=2, le=MOST_BUCKETS)
    """kind = "number": the number of quantile buckets. Default: 20."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind != "ids" and (self.separator is not None or self.weights is not None):
            raise ValueError("separator and weights can only be set with kind = 'ids'")
        if self.kind == "ids" and self.part is not None:
            raise ValueError("part cannot be set with kind = 'ids'")
        if self.kind != "number" and self.buckets is not None:
            raise ValueError("buckets can only be set with kind = 'number'")
        if self.kind == "number" and (self.hash is not None or self.min_count != 1):
            raise ValueError("hash and min_count cannot be set with kind = 'number'")
        if self.hash is not None and self.min_count != 1:
            raise ValueError("min_count cannot be set with hash: hashed ids are not counted")
        return self

    def field(self, name: str, table: str, *values: ValuesSchema) -> Field:
        """The field of a table. How values are written is said by the field, or by the first of `values` that does."""
        return Field(
            name,
            table,
            self.kind,
            self.min_count,
            self.hash,
            (self.buckets or 20) if self.kind == "number" else None,
            self.source,
            self.separator,
            self.weights,
            self.part,
            value_format(self, *values),
        )
