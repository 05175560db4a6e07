"""Methods by name: those of the paper, the families it searched, and any method to and from plain values."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from ..config import nearest
from ..errors import ConfigError
from ._method import Method
from .aman import AMAN
from .base import BASE
from .ctr import CTR
from .division import DIVISION
from .esmm import ESMM
from .oversampling import OVERSAMPLING
from .unbias import UNBIAS

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        BASE(),
        AMAN(),
        OVERSAMPLING(),
        UNBIAS(),
        DIVISION(),
        ESMM(share_embedding=False),
        ESMM(),
        CTR(),
    )
}
"""Each name with its method, at the default parameters."""


@dataclass(frozen=True)
class Family:
    """One line of Table 2: a name, and the methods of which the best is reported (often one alone).

    >>> [method.label for method in Family.of(AMAN(rate=0.5)).candidates]
    ['AMAN(rate=0.5)']
    """

    name: str
    candidates: tuple[Method, ...]

    @staticmethod
    def of(method: Method | Family) -> Family:
        """A method alone is a family of one."""
        return method if isinstance(method, Family) else Family(method.label, (method,))


PAPER: tuple[Family, ...] = (
    Family("BASE", BASE.search()),
    Family("AMAN", AMAN.search()),
    Family("OVERSAMPLING", OVERSAMPLING.search()),
    Family("UNBIAS", UNBIAS.search()),
    Family("DIVISION", DIVISION.search()),
    Family("ESMM-NS", (ESMM(share_embedding=False),)),
    Family("ESMM", ESMM.search()),
)
"""Table 2, line by line."""


def family(text: str, where: str | None = None) -> Family:
    """The family that a person means: a name, with its search, or a name with parameters.

    Raises: ConfigError as `from_spec`.

    >>> len(family("AMAN").candidates), family("AMAN(rate=0.5)").candidates
    (4, (AMAN(rate=0.5),))
    """
    for known in PAPER:
        if known.name == text.strip():
            return known
    name, bracket, inside = text.strip().partition("(")
    if not bracket:
        method = from_spec({"name": name}, where)
        return Family(method.name, method.search()) if method.searched else Family.of(method)
    try:
        if not inside.endswith(")"):
            raise tomllib.TOMLDecodeError("no closing bracket")
        parameters = tomllib.loads(f"x = {{{inside[:-1]}}}")["x"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("a method must read NAME or NAME(parameter=value)", repr(text), where=where) from error
    return Family.of(from_spec({"name": name, **parameters}, where))


def from_spec(spec: Mapping[str, Any], where: str | None = None) -> Method:
    """The method of `Method.spec`, or of a [method] table: a name, and the parameters that are not default.

    A name module:class is a class of one's own, imported from there.
    Raises: ConfigError for an unknown name or parameter (with the nearest), and for a value out of range.

    >>> from_spec({"name": "AMAN", "rate": 0.5})
    AMAN(rate=0.5)
    """
    parameters = {key: value for key, value in spec.items() if key != "name"}
    name = spec.get("name")
    if not isinstance(name, str):
        raise ConfigError("a method must be named", f"name = {name!r}", where=where, do=nearest("", [*METHODS]))
    if ":" in name:
        cls, given = _imported(name, where), parameters
    elif name in METHODS:
        cls, given = type(METHODS[name]), METHODS[name].parameters | parameters
    else:
        do = nearest(name.upper(), [*METHODS])
        raise ConfigError("a method must be one that is known", f"'{name}'", where=where, do=do)
    known = {f.name: f for f in fields(cls)} if is_dataclass(cls) else {}
    for key in parameters:
        if key not in known:
            do = nearest(key, [*known]) if known else f"{name} has no parameters"
            raise ConfigError(f"{name}'s parameters must be known", f"'{key}'", where=where, do=do)
    for key, f in known.items():
        if key not in given and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(f"{name}'s '{key}' must be given", "it is missing", where=where)
    try:
        method = cls(**given)
    except ConfigError as error:
        raise ConfigError(error.must, error.came, where=where, do=error.do) from error
    if ":" not in name and method.name != name:
        came = ", ".join(f"{key} = {value}".lower() for key, value in parameters.items())
        raise ConfigError(f"{name}'s parameters must leave it {name}", f"{came} is {method.name}", where=where)
    return method


def _imported(name: str, where: str | None) -> type[Method]:
    """The class at module:class."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        do = "Put the class at the top of a module that Python finds (PYTHONPATH)"
        raise ConfigError(f"method '{name}' must be importable", str(error), where=where, do=do) from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"'{name}' must be a Method", repr(found), where=where)
    return found
