"""Which fields belong to a request, and are the same for all of its candidates, and which to each candidate.

A server scores one request with many candidates: what belongs to the request is sent, encoded and multiplied once.
The choice changes no score, for rows can always be sent one by one, each as a request with one candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.rows import RATE
from .history.keys import HistoryKey
from .layout import Layout


@dataclass(frozen=True)
class Sides:
    """The fields of a layout by side, rates of the history included, in the layout's order."""

    request: tuple[str, ...]
    candidate: tuple[str, ...]
    keys: tuple[str, ...] = ()  # columns that belong to the request and only the history counts by

    @staticmethod
    def of(layout: Layout, request: Sequence[str] | None = None) -> Sides:
        """The sides of a layout's fields.

        [request] of the schema lists the fields of the request. Without it, the item's fields belong to the candidate:
        the field or column that is the role "item", and the fields of the side table that it is the key of. All others
        belong to the request. Without an item, all fields belong to the candidate, so each candidate is a whole row.
        A rate belongs to the request if its key does, and all parents of the key.

        Args:
            request: use these fields in place of those that the layout names.
        """
        listed = layout.request if request is None else tuple(request)
        of_request: set[str] = set()
        for f in layout.fields:
            if f.kind != RATE and _is_of_request(layout, listed, f.name, f.column or f.name, f.table):
                of_request.add(f.name)
        if layout.history is not None:
            keys = {key.name: key for key in layout.history.keys}

            def belongs(key: HistoryKey) -> bool:
                return all(_is_of_request(layout, listed, f.name, f.source, f.table) for f in key.fields)

            for key, names in layout.history.names_by_key.items():
                if all(belongs(keys[name]) for name in keys[key].chain):
                    of_request.update(names)
        names = [f.name for f in layout.fields]
        counted = () if layout.history is None else layout.history.fields_of_keys
        return Sides(
            tuple(name for name in names if name in of_request),
            tuple(name for name in names if name not in of_request),
            tuple(
                f.name
                for f in counted
                if f.name not in names and _is_of_request(layout, listed, f.name, f.source, f.table)
            ),
        )


def _is_of_request(layout: Layout, listed: tuple[str, ...] | None, name: str, column: str, table: str) -> bool:
    if listed is not None:
        return name in listed
    if layout.item is None:
        return False
    item = next((f for f in layout.fields if f.name == layout.item), None)
    names = {layout.item} if item is None else {item.name, item.column or item.name}
    if item is not None and item.table in layout.keys:
        if table == item.table:
            return False
        names.add(layout.keys[item.table].on)
    if table in layout.keys:
        return layout.keys[table].on not in names
    return names.isdisjoint((name, column))
