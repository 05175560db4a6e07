"""The labels of the funnel's stages, in a schema file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field as Value
from pydantic import model_validator

from ...config import Model
from .values import Level, ValuesSchema


class LabelSchema(ValuesSchema):
    """How a label is read from a column. Without `values`, `at_least` and `present`, the column holds 0/1, false/true,
    no/yes or n/y."""

    source: str = Value(alias="from")
    """The column."""
    values: tuple[Level, ...] | None = Value(default=None, min_length=1)
    """The levels that count as 1."""
    others: tuple[Level, ...] = ("0",)
    """With values: the levels that count as 0. A row whose level is in neither list is quarantined."""
    at_least: float | None = None
    """The label is 1 where the column's number is at least this."""
    present: Literal[True] | None = None
    """The label is 1 where the column has a value, and 0 where the value is missing."""
    unclicked: Literal[0] | None = None
    """0: a missing label counts as 0 in a row that was not clicked."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = [name for name in ("values", "at_least", "present") if getattr(self, name) is not None]
        if len(rules) > 1:
            raise ValueError(f"{rules[0]} and {rules[1]} exclude each other: set one of them")
        if "others" in self.model_fields_set and self.values is None:
            raise ValueError("others can only be set with values")
        both = set(self.values or ()) & set(self.others)
        if both:
            raise ValueError(f"the level {min(both)} is in both values and others")
        return self


class LabelsSchema(Model):
    """The columns of the funnel's stages, in order. A stage counts as reached only where every earlier one is."""

    click: str | LabelSchema
    """y: was the impression clicked."""
    conversion: str | LabelSchema | None = None
    """z: did a conversion follow. Models learn y & z. Leave it out if [conversions] names a table of conversions."""

    def by_stage(self) -> dict[str, LabelSchema]:
        """Stage -> how its column is read, in the funnel's order, for the stages that have a column."""
        found = {stage: getattr(self, stage) for stage in STAGES}
        return {
            stage: LabelSchema.model_validate({"from": label}) if isinstance(label, str) else label
            for stage, label in found.items()
            if label is not None
        }

    @model_validator(mode="after")
    def _click_has_no_unclicked(self) -> Self:
        if isinstance(self.click, LabelSchema) and self.click.unclicked is not None:
            raise ValueError("unclicked can only be set for conversion")
        return self


STAGES: tuple[str, ...] = tuple(LabelsSchema.model_fields)
"""The funnel's stages, in order."""
