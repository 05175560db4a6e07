"""docs/schema.md names every key of a schema and every reason of the audit, and its examples are valid."""

from __future__ import annotations

import copy
import re
import tomllib
from dataclasses import dataclass
from typing import Any

import pytest
from documents import ROOT

from entirespace.config import Model
from entirespace.logs.audit import REASONS
from entirespace.logs.schema import (
    ConversionsSchema,
    FilesSchema,
    HistorySchema,
    ImpressionsSchema,
    LabelSchema,
    LabelsSchema,
    RequestSchema,
    Roles,
    Schema,
    SideSchema,
    SplitSchema,
    TableSchema,
    TimeSchema,
    TruthSchema,
)
from entirespace.logs.schema.fields import FieldSchema
from entirespace.logs.schema.values import ValuesSchema

PAGE = (ROOT / "docs" / "schema.md").read_text()

LOG = """
[impressions]
files = ["a.csv"]
order = "t"
labels = { click = "y", conversion = "z" }
fields = { item = { kind = "id" } }
[roles]
user = "item"
"""
SIDE = """
[tables.user]
key = "user_id"
fields = { user = { kind = "id" } }
"""


@dataclass(frozen=True)
class Section:
    """A section of the page, and where its examples stand in a schema."""

    model: type[Model]
    heading: str
    path: tuple[str, ...]  # of the table that the examples are put into
    log: str = LOG  # a schema that lacks only what the examples say


SECTIONS = (
    Section(FilesSchema, "### Every table", ("impressions",)),
    Section(ValuesSchema, "### How values are written", ("impressions",)),
    Section(TimeSchema, "#### time", ("impressions",)),
    Section(ImpressionsSchema, "### [impressions]", ("impressions",)),
    Section(TableSchema, "### [impressions]", ("impressions",)),
    Section(LabelsSchema, "### [impressions.labels]", ("impressions", "labels")),
    Section(LabelSchema, "#### A label", ("impressions", "labels")),
    Section(FieldSchema, "### Fields", ("impressions", "fields")),
    Section(SideSchema, "### [tables.NAME]", ("tables", "user"), LOG + SIDE),
    Section(
        ConversionsSchema,
        "### [conversions]",
        ("conversions",),
        LOG.replace(', conversion = "z"', "") + '[conversions]\nfiles = ["c.csv"]\nkey = "k"\n',
    ),
    Section(SplitSchema, "### [split]", ("split",)),
    Section(Roles, "### [roles]", ("roles",)),
    Section(RequestSchema, "### [request]", ("request",)),
    Section(HistorySchema, "### [history]", ("history",)),
    Section(TruthSchema, "### [truth]", ("truth",), LOG + '[truth]\nfiles = ["p.csv"]\n'),
)
SHARED = "### Every table"  # keys that several models have


def rows(heading: str) -> list[list[str]]:
    """The cells of each row of the tables below a heading, up to the next heading."""
    assert f"\n{heading}\n" in PAGE, f"the page has no heading '{heading}'"
    text = PAGE.partition(f"\n{heading}\n")[2]
    text = re.split(r"\n#+ ", text)[0]
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return [row for row in cells if row[0] not in ("key", "reason") and not row[0].startswith("---")]


def keys(heading: str) -> set[str]:
    return {row[0].strip("`") for row in rows(heading)}


def own(model: type[Model]) -> set[str]:
    """The keys that a model adds to those of its parent, as they are written in TOML."""
    parents = {name for parent in model.__mro__[1:] for name in getattr(parent, "__annotations__", {})}
    return {field.alias or name for name, field in model.model_fields.items() if name not in parents}


def models(annotation: Any) -> set[type[Model]]:
    """All models below an annotation."""
    found: set[type[Model]] = set()
    if isinstance(annotation, type) and issubclass(annotation, Model):
        found = {m for m in annotation.__mro__ if issubclass(m, Model) and m is not Model}
        for model in set(found):
            found |= {m for field in model.model_fields.values() for m in models(field.annotation)}
        return found
    for argument in getattr(annotation, "__args__", ()):
        found |= models(argument)
    return found


def test_every_model_of_a_schema_has_a_section() -> None:
    assert {section.model for section in SECTIONS} == models(Schema) - {Schema}
    headings = set(re.findall(r"\n### \[(\w+)[.\]]", PAGE))
    assert headings == set(Schema.model_fields)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.model.__name__)
def test_a_section_has_every_key_of_its_model(section: Section) -> None:
    missing = own(section.model) - keys(section.heading)
    assert not missing - keys(SHARED)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.model.__name__)
def test_a_section_has_no_other_keys_and_its_examples_are_valid(section: Section) -> None:
    known = {field.alias or name for name, field in section.model.model_fields.items()}
    if section.model is TableSchema:  # they stand among those of ImpressionsSchema
        return
    for key, _, default, example in rows(section.heading):
        name = key.strip("`")
        assert name in known
        added = tomllib.loads("\n".join(re.findall(r"`([^`]+)`", example)))
        assert f"{name} = " in example
        schema = copy.deepcopy(tomllib.loads(section.log))
        place = schema
        for step in section.path:
            place = place.setdefault(step, {})
        place.update(added)
        if section.model is SideSchema and "from" not in added:
            place.setdefault("files", ["users.csv"])
        Schema.model_validate(schema)
        if default.startswith("`"):
            _default_is(section.model, name, tomllib.loads(f"x = {default.strip('`')}")["x"])


def _default_is(model: type[Model], name: str, stated: Any) -> None:
    field = next(f for n, f in model.model_fields.items() if name in (n, f.alias))
    default = field.default
    if default is not None:  # None: what it stands for is not in the model
        assert (list(default) if isinstance(default, tuple) else default) == stated


def test_the_page_has_every_reason_of_the_audit_and_what_happens_to_the_row() -> None:
    named = {row[0].strip("`"): row[2] for row in rows("## What happens to bad rows")}
    assert named == {reason: about.outcome for reason, about in REASONS.items()}
