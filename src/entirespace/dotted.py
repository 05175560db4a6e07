"""Dotted names for values in nested tables: `network.tower.hidden` is table["network"]["tower"]["hidden"]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEEPEST = 50
"""Tables and lists in a TOML or JSON file may be nested this deep; deeper ones would exhaust Python's stack."""


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one flat table with dotted names.

    >>> flat({"seed": 0, "network": {"tower": {"kind": "mlp"}}})
    {'seed': 0, 'network.tower.kind': 'mlp'}
    """
    values: dict[str, Any] = {}
    for key, value in table.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return values


def put(table: dict[str, Any], name: str, value: Any) -> None:
    """Set the value of a dotted name, in place; missing tables are created.

    Raises: TypeError if the name goes through something that is not a table.
    """
    *tables, last = [key.strip() for key in name.split(".")]
    for key in tables:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise TypeError(f"'{key}' of '{name}' is not a table")
    table[last] = value


def cut(table: Mapping[str, Any], name: str) -> tuple[dict[str, Any], bool]:
    """(the tables without the value of a dotted name, whether it was there). The argument is not changed.

    >>> cut({"network": {"hidden": [80], "size": 4}}, "network.hidden")
    ({'network': {'size': 4}}, True)
    """
    key, _, inside = name.partition(".")
    if not inside or not isinstance(table.get(key), Mapping):
        return {k: v for k, v in table.items() if inside or k != key}, not inside and key in table
    remaining, found = cut(table[key], inside)
    return {**table, key: remaining}, found


def merged(data: Mapping[str, Any], over: Any) -> Any:
    """`data` with the values of `over` in place of its own, table by table.

    A table of `over` with another `kind` replaces the whole table of `data`, because other kinds have other settings.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    if not isinstance(over, Mapping) or ("kind" in over and over["kind"] != data.get("kind", over["kind"])):
        return over
    both = {k: merged(data[k], over[k]) for k in data.keys() & over.keys() if isinstance(data[k], Mapping)}
    return {**data, **over, **both}


def is_shallow(value: Any) -> bool:
    """Whether tables and lists are nested at most DEEPEST deep. It uses no recursion.

    >>> is_shallow({"a": [1, [2]]})
    True
    """
    level = [value]
    for _ in range(DEEPEST + 1):
        nested = [v for v in level if isinstance(v, Mapping | list)]
        level = [inner for v in nested for inner in (v.values() if isinstance(v, Mapping) else v)]
        if not level:
            return True
    return False
