"""Methods by name: those of the paper, the families it searched, and methods from the plain values of a record."""

from __future__ import annotations

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


def from_spec(spec: Mapping[str, Any], where: str | None = None) -> Method:
    """The method of `Method.spec`, as a run's record holds it. Nothing is imported by a name in a record.

    Raises: ConfigError for an unknown name or parameter (with the nearest), for a value out of range, and for a class
    of one's own.

    >>> from_spec({"name": "AMAN", "rate": 0.5})
    AMAN(rate=0.5)
    """
    name = named(spec, where)
    if ":" in name:
        raise ConfigError(
            "a record's method must be one of entirespace, for a record imports nothing",
            f"'{name}' is a class of one's own",
            where=where,
            do="Hand the method in: es.load(RUN, method=...), or --method module:Class on the command line",
        )
    return of_name(name, {key: value for key, value in spec.items() if key != "name"}, where)


def named(spec: Mapping[str, Any], where: str | None = None) -> str:
    """The name in a spec or a [method] table. Raises: ConfigError where there is none."""
    name = spec.get("name")
    if not isinstance(name, str):
        raise ConfigError("a method must be named", f"name = {name!r}", where=where, do=nearest("", [*METHODS]))
    return name


def of_name(name: str, parameters: Mapping[str, Any], where: str | None = None) -> Method:
    """A method of entirespace, with the parameters that are not default.

    ESMM(share_embedding=False) is ESMM-NS; but what is called ESMM-NS cannot share.
    """
    if name not in METHODS:
        do = nearest(name.upper(), [*METHODS])
        raise ConfigError("a method must be one that is known", f"'{name}'", where=where, do=do)
    method = with_parameters(METHODS[name], parameters, name, where)
    if method.name != name and type(method).__name__ != name:
        came = ", ".join(f"{key} = {value}".lower() for key, value in parameters.items())
        raise ConfigError(f"{name}'s parameters must leave it {name}", f"{came} is {method.name}", where=where)
    return method


def with_parameters(
    method: Method | type[Method], parameters: Mapping[str, Any], name: str, where: str | None = None
) -> Method:
    """The method, or one of the class, with these parameters; `name` is what errors call it.

    Raises: ConfigError for an unknown parameter (with the nearest), a missing one, and a value out of range.
    """
    cls = method if isinstance(method, type) else type(method)
    given = {**({} if isinstance(method, type) else method.parameters), **parameters}
    known = {f.name: f for f in fields(cls)} if is_dataclass(cls) else {}
    for key in parameters:
        if key not in known:
            do = nearest(key, [*known]) if known else f"{name} has no parameters"
            raise ConfigError(f"{name}'s parameters must be known", f"'{key}'", where=where, do=do)
    for key, f in known.items():
        if key not in given and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(f"{name}'s '{key}' must be given", "it is missing", where=where)
    try:
        return cls(**given)
    except ConfigError as error:
        raise ConfigError(error.must, error.came, where=where, do=error.do) from error
