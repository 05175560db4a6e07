"""Methods as users write them, on the command line or in the [method] table of a configuration.

    ESMM    esmm-ns    AMAN(rate=0.5)    ESMM(share_embedding=False)    my_module:Mine(alpha=2)

A class module:Class is imported here, and only here. Reading a run's record never imports anything (`from_spec`).
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ConfigError
from ..text import shortened
from ._method import Method
from .named import METHODS, PAPER, Family, named, of_name, with_parameters

BOOLEANS = {"true": True, "false": False}  # as in TOML


def family(text: str, table: Mapping[str, Any] | None = None, where: str | None = None) -> Family:
    """The family for a name, or for a name with parameters.

    A name alone stands for all values of the parameters that the paper searched; with parameters it is one method.

    Args:
        text: what the user typed, such as "AMAN" or "AMAN(rate=0.5)".
        table: a [method] table, whose parameters replace those of the text.
        where: the place to name in errors.

    Raises: ConfigError for an unknown name or parameter (it suggests the nearest), a value out of range, or a table of
    another method.

    >>> len(family("AMAN").candidates), family("aman(rate=0.5)").candidates
    (4, (AMAN(rate=0.5),))
    """
    name, parameters = _read(text, where)
    if table and "name" in table:
        other = _canonical(named(table, where))
        if other != name and other != _method(name, parameters, where).name:
            raise ConfigError(
                "the [method] table must be of the method that was typed", f"{other}, not {name}", where=where
            )
    parameters |= {key: value for key, value in (table or {}).items() if key != "name"}
    if not parameters:
        for known in PAPER:
            if known.name == name:
                return known
    method = _method(name, parameters, where)
    return Family(method.name, method.search()) if method.searched and not parameters else Family.of(method)


def families(
    texts: Iterable[str], table: Mapping[str, Any] | None = None, where: str | None = None
) -> tuple[Family, ...]:
    """The families for several names, as `family`. A [method] table sets the parameters of the method with its name.

    Raises: ConfigError as `family`, and if the method of the table is not among the texts.

    >>> [f.candidates for f in families(["BASE", "AMAN"], {"name": "AMAN", "rate": 0.5})]
    [(BASE(),), (AMAN(rate=0.5),)]
    """
    texts = list(texts)
    if not table:
        return tuple(family(text, None, where) for text in texts)
    fixed = _method(_canonical(named(table, where)), {k: v for k, v in table.items() if k != "name"}, where)
    name, used = fixed.spec()["name"], False
    found: list[Family] = []
    for text in texts:
        typed, parameters = _read(text, where)
        if typed == name and not parameters:
            one = Family(name, (fixed,)) if name in METHODS else Family.of(fixed)
        else:
            one = family(text, None, where)
        used |= fixed in one.candidates
        found.append(one)
    if not used:
        raise ConfigError(
            "the [method] table must be of one of the methods that are compared",
            f"{fixed.label} is not among {', '.join(texts)}",
            where=where,
            do=f"Name {name} without parameters among the methods, or delete the table",
        )
    return tuple(found)


def imported(name: str, where: str | None = None) -> type[Method]:
    """Import the class module:class. Raises: ConfigError if it cannot be imported, or is not a Method."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        do = "Define the class at the top level of a module that Python can import (see PYTHONPATH)"
        raise ConfigError(f"method '{name}' must be importable", str(error), where=where, do=do) from error
    if isinstance(found, type) and issubclass(found, Method):
        return found
    raise ConfigError(f"'{name}' must be a Method", f"{found!r}", where=where)


def _method(name: str, parameters: Mapping[str, Any], where: str | None) -> Method:
    if ":" in name:
        return with_parameters(imported(name, where), parameters, name, where)
    return of_name(name, parameters, where)


def _canonical(name: str) -> str:
    """The name as in METHODS if it differs only in case; any other name unchanged."""
    name = name.strip()
    return next((known for known in METHODS if known.casefold() == name.casefold()), name)


def _read(text: str, where: str | None) -> tuple[str, dict[str, Any]]:
    """A name and its parameters.

    >>> _read("esmm-ns", None), _read("X(a=1, b=true, c=[2, 'd'])", None)
    (('ESMM-NS', {}), ('X', {'a': 1, 'b': True, 'c': [2, 'd']}))
    """
    name, bracket, inside = text.strip().partition("(")
    parameters: dict[str, Any] = {}
    try:
        if bracket:
            call = ast.parse(f"method({inside}", mode="eval").body
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
                raise ValueError("it is not a list of parameters")
            for keyword in call.keywords:
                if keyword.arg is None or keyword.arg in parameters:
                    raise ValueError("a parameter occurs twice")
                value = keyword.value
                word = value.id if isinstance(value, ast.Name) else ""
                parameters[keyword.arg] = BOOLEANS[word] if word in BOOLEANS else ast.literal_eval(value)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: nested too deep
        came = repr(shortened(text, 80))
        raise ConfigError("a method must be written NAME or NAME(parameter=value)", came, where=where) from error
    return _canonical(name), parameters
