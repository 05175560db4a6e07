"""Methods by name: the paper's and RATES, the families of methods in Table 2, and methods read from a run's record."""

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
from .rates import RATES
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
        RATES(),
    )
}
"""Name -> method with default parameters."""


@dataclass(frozen=True)
class Family:
    """One line of Table 2: a name and one or more candidate methods, of which the best is reported.

    >>> [method.label for method in Family.of(AMAN(rate=0.5)).candidates]
    ['AMAN(rate=0.5)']
    """

    name: str
    candidates: tuple[Method, ...]

    @staticmethod
    def of(method: Method | Family) -> Family:
        """A family as it is; a single method as a family of one."""
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
"""The lines of Table 2, in order."""


def from_spec(spec: Mapping[str, Any], where: str | None = None) -> Method:
    """The method from the result of `Method.spec`, as it is stored in a run's record.

    A record is data, so it never causes an import: a class from outside this package is refused.

    Raises: ConfigError for an unknown name or parameter (it suggests the nearest), a value out of range, or a class
    from outside this package.

    >>> from_spec({"name": "AMAN", "rate": 0.5})
    AMAN(rate=0.5)
    """
    name = named(spec, where)
    if ":" in name:
        raise ConfigError(
            "a method in a record must be part of entirespace, because reading a record imports nothing",
            f"'{name}' is another class",
            where=where,
            do="Pass the method: es.load(RUN, method=...), or --method module:Class on the command line",
        )
    return of_name(name, {key: value for key, value in spec.items() if key != "name"}, where)


def named(spec: Mapping[str, Any], where: str | None = None) -> str:
    """The name in a spec or a [method] table. Raises: ConfigError if there is none."""
    name = spec.get("name")
    if not isinstance(name, str):
        raise ConfigError("a method must be named", f"name = {name!r}", where=where, do=nearest("", [*METHODS]))
    return name


def of_name(name: str, parameters: Mapping[str, Any], where: str | None = None) -> Method:
    """The method of this package with this name, with the given parameters, and defaults for the others.

    ESMM with share_embedding=False is ESMM-NS. But the name ESMM-NS with share_embedding=True is an error.

    Raises: ConfigError for an unknown name or parameter (it suggests the nearest), or a value out of range.
    """
    if name not in METHODS:
        do = nearest(name.upper(), [*METHODS])
        raise ConfigError("a method must be one of this package, or module:Class", f"'{name}'", where=where, do=do)
    method = with_parameters(METHODS[name], parameters, name, where)
    if method.name != name and type(method).__name__ != name:
        came = ", ".join(f"{key} = {value}".lower() for key, value in parameters.items())
        raise ConfigError(f"the parameters must fit the name {name}", f"{came} is {method.name}", where=where)
    return method


def with_parameters(
    method: Method | type[Method], parameters: Mapping[str, Any], name: str, where: str | None = None
) -> Method:
    """A copy of the method, or an instance of the class, with the given parameters.

    Args:
        name: the name to use in errors.

    Raises: ConfigError for an unknown parameter (it suggests the nearest), a missing one, or a value out of range.
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
