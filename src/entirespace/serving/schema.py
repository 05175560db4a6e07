"""schema.json of a bundle: the columns that a raw row must have, and which of them belong to a request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

from ..config import Model
from ..core.rows import RATE, Field
from ..errors import BundleError
from ..features.layout import Layout
from ..features.sides import Sides
from ..records import Record
from .manifest import SCHEMA

Holds = Literal["id", "ids", "number", "time", "weights"]


class RowColumn(Model):
    """A column of a raw row, or of a side table."""

    name: str
    table: str
    """"impressions", or a side table: the column is then in that table, or in the row if the table is not given."""
    holds: Holds
    """One id, several ids, a number, a time, or the weights of several ids."""
    sides: tuple[Literal["request", "candidate"], ...]
    """Where it is read: once for a request, for each candidate, or both."""
    fields: tuple[str, ...]
    """The fields that it is read for. A column that only the history counts by is a field of its own name."""


class SideTable(Model):
    """The columns that join a side table to the rows."""

    key: str
    """The key's column in the side table."""
    on: str
    """The key's column in the rows."""
    side: Literal["request", "candidate"]


class BundleSchema(Record):
    """The content of schema.json."""

    FORMAT: ClassVar = "entirespace-bundle-schema/1"

    user: str | None
    """The field or column that identifies a user."""
    item: str | None
    """The field or column that identifies an item."""
    columns: tuple[RowColumn, ...]
    tables: dict[str, SideTable]

    @staticmethod
    def of(layout: Layout, read: Iterable[str], sides: Sides) -> BundleSchema:
        """The schema of a bundle.

        Args:
            read: the fields that the bundle reads.
        """
        read, of_request = frozenset(read), frozenset((*sides.request, *sides.keys))
        fields = [about.field() for about in layout.fields if about.name in read and about.kind != RATE]
        if layout.history is not None and any(f.name in read and f.kind == RATE for f in layout.fields):
            known = {about.name: about.field() for about in layout.fields}
            named = {f.name for f in fields}
            fields += [known.get(f.name, f) for f in layout.history.fields_of_keys if f.name not in named]
        found: dict[tuple[str, str, Holds], tuple[list[str], list[str]]] = {}
        for f in fields:
            side = "request" if f.name in of_request else "candidate"
            read_of: list[tuple[str | None, Holds]] = [(f.source, _holds(f)), (f.weights, "weights")]
            for column, holds in read_of:
                if column is not None:
                    names, places = found.setdefault((f.table, column, holds), ([], []))
                    names.append(f.name)
                    places.append(side)
        columns = tuple(
            RowColumn(
                name=column,
                table=table,
                holds=holds,
                sides=tuple(side for side in ("request", "candidate") if side in places),
                fields=tuple(names),
            )
            for (table, column, holds), (names, places) in found.items()
        )
        tables = {
            name: SideTable(
                key=key.key,
                on=key.on,
                side="candidate" if any("candidate" in c.sides for c in columns if c.table == name) else "request",
            )
            for name, key in layout.keys.items()
            if any(c.table == name for c in columns)
        }
        return BundleSchema(user=layout.user, item=layout.item, columns=columns, tables=tables)

    @staticmethod
    def open(folder: Path) -> BundleSchema:
        """Read the schema of a bundle. Raises: BundleError if it is missing or damaged."""
        must = "the files of a bundle must not change after they are written"
        return BundleSchema.read(
            folder / SCHEMA, BundleError, what="a bundle", must=must, missing="it is missing", do="Export the run again"
        )


def _holds(field: Field) -> Holds:
    if field.part is not None:
        return "time"
    return "ids" if field.kind == "ids" else "number" if field.kind == "number" else "id"
