"""Nested tables by dotted names: `network.tower.hidden` is the value hidden of the table tower of the table network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables by dotted names.

    >>> flat({"seed": 0, "network": {"tower": {"kind": "mlp"}}})
    {'seed': 0, 'network.tower.kind': 'mlp'}
    """
    values: dict[str, Any] = {}
    for key, value in table.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return values


def put(table: dict[str, Any], name: str, value: Any) -> None:
    """Write the value of a dotted name. Raises: TypeError where a table of the name is a value."""
    *tables, last = [key.strip() for key in name.split(".")]
    for key in tables:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise TypeError(f"'{key}' of '{name}' is no table")
    table[last] = value


def cut(table: Mapping[str, Any], name: str) -> tuple[dict[str, Any], bool]:
    """The tables without the value of a dotted name, and whether it was there.

    >>> cut({"network": {"hidden": [80], "size": 4}}, "network.hidden")
    ({'network': {'size': 4}}, True)
    """
    key, _, inside = name.partition(".")
    if not inside or not isinstance(table.get(key), Mapping):
        return {k: v for k, v in table.items() if inside or k != key}, not inside and key in table
    rest, found = cut(table[key], inside)
    return {**table, key: rest}, found


def merged(data: Mapping[str, Any], over: Any) -> Any:
    """`over` laid over `data`, table by table. Where the kind changes, the settings of the former kind go.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    if not isinstance(over, Mapping) or ("kind" in over and over["kind"] != data.get("kind", over["kind"])):
        return over
    both = {k: merged(data[k], over[k]) for k in data.keys() & over.keys() if isinstance(data[k], Mapping)}
    return {**data, **over, **both}
