"""What a request may hold, by the schema of a bundle; and a request -> columns of values.

    {"user_id": "u1", "user": {...}, "context": {...}, "candidates": [{"id": "v1", ...}, "v2"]}

`user` holds the columns of the user: the user's own id, and the side tables that it is the key of. `context` holds the
other columns of the request. Candidates hold theirs, and `id`, which is the item. A column that is not sent is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, NoReturn

from ..config import nearest
from ..core.rows import IMPRESSIONS, Field, ValueFormat
from ..features.layout import Layout
from .schema import BundleSchema, Holds

Place = Literal["user", "context", "candidate"]
PLACES: tuple[Place, ...] = ("user", "context", "candidate")
_NONE = type(None)
TYPES: Mapping[Holds, frozenset[type]] = {
    "id": frozenset((str, int, float, bool, _NONE)),
    "ids": frozenset((str, int, float, bool, list, _NONE)),
    "number": frozenset((int, float, str, _NONE)),
    "time": frozenset((str, int, float, _NONE)),
    "weights": frozenset((list, str, _NONE)),
}
_ELEMENTS: Mapping[Holds, frozenset[type]] = {
    "ids": frozenset((str, int, float, bool)),
    "weights": frozenset((int, float)),
}
WORDS: Mapping[Holds, str] = {
    "id": "an id: a text, a number, true, false or null",
    "ids": "ids: a list of texts, numbers, true and false; or a text; or null",
    "number": "a number, a text that holds a number, or null",
    "time": "a time: a text in ISO 8601, or null",
    "weights": "weights: a list of numbers that are not negative, or null",
}
ID = frozenset((str, int))
NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?")
"""A number as text."""
LARGEST_WEIGHT = 1e38
LONGEST_ID = 10_000
_AS_TEXT = "Send a large id as text"


class BadRequest(Exception):
    """A request that is not as it must be; `where` is the place in its JSON."""

    def __init__(self, must: str, came: str, where: str, do: str | None = None, code: str = "bad_request") -> None:
        super().__init__(must, came, where, do, code)
        self.must, self.came, self.where, self.do, self.code = must, came, where, do, code


@dataclass(frozen=True)
class Sent:
    """A column that a request may hold: where, and what."""

    name: str
    place: Place
    holds: Holds
    of: tuple[tuple[str, str], ...]  # (table, column) of the bundle's schema that it is
    plain: bool = True  # numbers as text are written as in JSON


@dataclass(frozen=True)
class Request:
    """A request with n candidates, or n requests with one candidate each, that was checked.

    Attributes:
        ids: the id of each candidate, as it was sent.
        request: (table, column) -> one value for each request. Columns that were not sent are left out.
        candidate: (table, column) -> n values.
        rows: how many requests: 1 or n.
    """

    ids: list[Any]
    request: dict[tuple[str, str], list[Any]]
    candidate: dict[tuple[str, str], list[Any]]
    rows: int = 1


@dataclass(frozen=True)
class RequestForm:
    """The form of requests for one bundle.

    Attributes:
        columns: place -> name -> column.
        user, item: (table, column) of the ids that `user_id` and a candidate's `id` are.
    """

    columns: Mapping[Place, Mapping[str, Sent]]
    user: tuple[tuple[str, str], ...]
    item: tuple[tuple[str, str], ...]
    of_request: frozenset[tuple[str, str]] = field(default_factory=frozenset[tuple[str, str]])

    @staticmethod
    def of(schema: BundleSchema, layout: Layout) -> RequestForm:
        """The form for a bundle's schema."""
        user, item = _same(layout.user, schema, layout), _same(layout.item, schema, layout)
        keys_of_user = {name for name, table in schema.tables.items() if (IMPRESSIONS, table.on) in user}
        keys_of_user |= {table for table, _ in user if table != IMPRESSIONS}
        found: dict[Place, dict[str, Sent]] = {place: {} for place in PLACES}
        of_request = {(c.table, c.name) for c in schema.columns if "request" in c.sides}
        listed: list[tuple[str, str, Holds]] = [(c.table, c.name, c.holds) for c in schema.columns]
        known = {(table, name) for table, name, _ in listed}
        listed.extend((IMPRESSIONS, t.on, "id") for t in schema.tables.values() if (IMPRESSIONS, t.on) not in known)
        of_request |= {(IMPRESSIONS, t.on) for t in schema.tables.values() if t.side == "request"}
        for table, name, holds in dict.fromkeys(listed):
            place: Place = "candidate"
            if (table, name) in of_request:
                place = "user" if table in keys_of_user or (table, name) in user else "context"
            before = found[place].get(name)
            of = ((table, name),) if before is None else tuple(dict.fromkeys((*before.of, (table, name))))
            kind = holds if before is None or before.holds == "id" else before.holds
            plain = all(
                _is_plain(about.field()) for about in layout.fields if (about.table, about.column or about.name) in of
            )
            found[place][name] = Sent(name, place, kind, of, plain)
        return RequestForm(found, user, item, frozenset(of_request))

    def read(self, body: Any, most: int = 5000, longest: int = 1000) -> Request:
        """The request of a JSON value.

        Args:
            most: candidates.
            longest: values of one list.

        Raises: BadRequest that names the place of the first fault.
        """
        _object(body, "the request")
        for name in body:
            if name not in ("user_id", "user", "context", "candidates"):
                do = nearest(name, ["user_id", "user", "context", "candidates"])
                raise BadRequest("a request must hold user_id, user, context and candidates", f"'{name}'", "body", do)
        user_id = body.get("user_id")
        if user_id is not None:
            _id(user_id, "user_id")
        request: dict[tuple[str, str], list[Any]] = {}
        if user_id is not None:
            request.update((of, [user_id]) for of in self.user)
        for place in ("user", "context"):
            given = body.get(place, {})
            _object(given, place)
            columns = self.columns[place]
            for name, value in given.items():
                column = columns.get(name)
                if column is None:
                    self._unknown(name, place, place)
                self.check(column, [value], longest, lambda _, place=place: place)
                request.update((of, [value]) for of in column.of)
        if "candidates" not in body:
            raise BadRequest("a request must hold candidates", "there are none", "candidates")
        candidates = body["candidates"]
        if type(candidates) is not list:
            raise BadRequest("candidates must be a list", _kind(candidates), "candidates")
        if len(candidates) > most:
            came = f"{len(candidates):,} candidates"
            raise BadRequest(f"a request must have at most {most:,} candidates", came, "candidates", None, "too_many")
        ids, columns = self._candidates(candidates, longest)
        return Request(ids, request, columns)

    def _candidates(self, candidates: list[Any], longest: int) -> tuple[list[Any], dict[tuple[str, str], list[Any]]]:
        n, known = len(candidates), self.columns["candidate"]
        whole = candidates
        if set(map(type, candidates)) > {dict} or (candidates and type(candidates[0]) is not dict):
            whole = [each if type(each) is dict else {"id": _id(each, f"candidates[{i}]", True)}
                     for i, each in enumerate(candidates)]  # fmt: skip
        names: dict[str, None] = {}
        shapes = dict.fromkeys(map(tuple, whole))  # candidates mostly have the same names in the same order
        for keys in shapes:
            names |= dict.fromkeys(keys)
            for name in keys:
                if name != "id" and name not in known:
                    i = next(i for i, each in enumerate(whole) if name in each)
                    self._unknown(name, "candidate", f"candidates[{i}]")
        together: dict[str, list[Any]] = {}
        if len(shapes) == 1:
            together = dict(zip(names, map(list, zip(*map(dict.values, whole), strict=True)), strict=True))
        try:
            ids = [each["id"] for each in whole]
        except KeyError:
            i = next(i for i, each in enumerate(whole) if "id" not in each)
            raise BadRequest("a candidate must have an id", "there is none", f"candidates[{i}]") from None
        if not set(map(type, ids)) <= {str} or (ids and max(map(len, ids)) > LONGEST_ID):
            for i, value in enumerate(ids):
                _id(value, f"candidates[{i}].id")
        found: dict[tuple[str, str], list[Any]] = dict.fromkeys(self.item, ids)
        for name in names:
            column = known.get(name)
            if column is None:
                continue
            values = together[name] if together else [each.get(name) for each in whole]
            self.check(column, values, longest, lambda i: f"candidates[{i}]")
            for of in column.of:
                if of in self.item and None in values:
                    values = [one if value is None else value for value, one in zip(values, ids, strict=True)]
                found[of] = values
        assert all(len(values) == n for values in found.values())
        return ids, found

    def check(self, column: Sent, values: list[Any], longest: int, where: Callable[[int], str]) -> None:
        """Check the types of the values of a column, and the lengths of lists and texts. Raises: BadRequest.

        Args:
            where: row -> its place.
        """
        types, allowed = set(map(type, values)), TYPES[column.holds]
        if types <= allowed and _fine(column, values, types, longest):
            return
        if not types <= allowed:
            i = next(i for i, value in enumerate(values) if type(value) not in allowed)
            raise self._bad(column, values[i], f"{where(i)}.{column.name}")
        if int in types:
            numbers = values if types == {int} else [value for value in values if type(value) is int]
            if not (min(numbers) >= -(2**63) and max(numbers) < 2**64):
                i = next(i for i, value in enumerate(values) if type(value) is int and not -(2**63) <= value < 2**64)
                raise BadRequest(
                    "a whole number must have 64 bits", "a larger one", f"{where(i)}.{column.name}", _AS_TEXT
                )
        if float in types and column.holds == "id" and max(abs(v) for v in values if type(v) is float) > 2**53 - 1:
            i = next(i for i, value in enumerate(values) if type(value) is float and abs(value) > 2**53 - 1)
            raise self._bad(column, values[i], f"{where(i)}.{column.name}")
        if str in types:
            for i, value in enumerate(values):
                if type(value) is str and len(value) > 100 * longest:
                    _too_long(f"{where(i)}.{column.name}", f"a text of {len(value):,} characters", 100 * longest)
                if type(value) is str and column.holds == "number" and column.plain and not NUMBER.fullmatch(value):
                    raise self._bad(column, value, f"{where(i)}.{column.name}")
        if list in types:
            elements = _ELEMENTS[column.holds]
            for i, value in enumerate(values):
                if type(value) is list:
                    if len(value) > longest:
                        _too_long(f"{where(i)}.{column.name}", f"a list of {len(value):,} values", longest)
                    if not set(map(type, value)) <= elements:
                        j = next(j for j, each in enumerate(value) if type(each) not in elements)
                        raise self._bad(column, value[j], f"{where(i)}.{column.name}[{j}]")
                    self._check_elements(column, value, f"{where(i)}.{column.name}")

    def _check_elements(self, column: Sent, values: list[Any], where: str) -> None:
        for j, value in enumerate(values):
            if column.holds == "weights":
                if not 0 <= value <= LARGEST_WEIGHT:
                    raise self._bad(column, value, f"{where}[{j}]")
            elif type(value) is float and abs(value) > 2**53 - 1:
                raise BadRequest("an id must be exact", str(value), f"{where}[{j}]", _AS_TEXT)
            elif type(value) is int and not -(2**63) <= value < 2**64:
                raise BadRequest("a whole number must have 64 bits", "a larger one", f"{where}[{j}]", _AS_TEXT)

    @staticmethod
    def _bad(column: Sent, value: Any, where: str) -> BadRequest:
        return BadRequest(f"'{column.name}' must hold {WORDS[column.holds]}", _kind(value), where)

    def _unknown(self, name: str, place: Place, where: str) -> NoReturn:
        """Raises: BadRequest."""
        names = list(self.columns[place])
        right = [other for other in PLACES if name in self.columns[other]]
        do = f"Send it in {' or '.join(right)}" if right else (nearest(name, names) if names else None)
        known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") if names else "nothing"
        raise BadRequest(f"{place} must hold columns of the model: {known}", f"'{name[:80]}'", where, do)


def _fine(column: Sent, values: list[Any], types: set[type], longest: int) -> bool:
    """Whether no value is too long or too large, found without looking at each value in Python. False: maybe."""
    if list in types:
        lists = values if types == {list} else [value for value in values if type(value) is list]
        if max(map(len, lists)) > longest:
            return False
        flat = list(chain.from_iterable(lists))
        of_elements = set(map(type, flat))
        if not (of_elements <= _ELEMENTS[column.holds] and _small(flat, of_elements, 100 * longest)):
            return False
        if column.holds == "weights" and flat and not (min(flat) >= 0 and max(flat) <= LARGEST_WEIGHT):
            return False
        values, types = [value for value in values if type(value) is not list], types - {list}
    return not (column.holds == "number" and str in types) and _small(values, types, 100 * longest)


def _small(values: list[Any], types: set[type], longest: int) -> bool:
    """Whether texts are short, integers have 64 bits and floats are exact. Shape: values of these types."""
    for kind in types & {str, int, float}:
        some = values if len(types) == 1 else [value for value in values if type(value) is kind]
        if kind is str and max(map(len, some)) > longest:
            return False
        if kind is not str and not (max(some) < 2**53 and min(some) > -(2**53)):
            return False
    return True


def _same(name: str | None, schema: BundleSchema, layout: Layout) -> tuple[tuple[str, str], ...]:
    """(table, column) of all columns that hold the ids of a role."""
    if name is None:
        return ()
    about = next((f for f in layout.fields if f.name == name), None)
    table, column = (IMPRESSIONS, name) if about is None else (about.table, about.column or about.name)
    found = [(table, column)]
    if table in schema.tables and schema.tables[table].key == column:
        found.append((IMPRESSIONS, schema.tables[table].on))
    found += [(t, about.key) for t, about in schema.tables.items() if (IMPRESSIONS, about.on) in found]
    return tuple(dict.fromkeys(found))


def _is_plain(f: Field) -> bool:
    return f.kind != "number" or (f.format == ValueFormat() and f.quantity in (None, "number") and f.part is None)


def _object(value: Any, where: str) -> None:
    if type(value) is not dict:
        raise BadRequest(f"{where} must be an object", _kind(value), where)


def _id(value: Any, where: str, bare: bool = False) -> Any:
    whole = type(value) is float and value.is_integer() and abs(value) < 2**53
    small = type(value) is not int or -(2**63) <= value < 2**64
    if (type(value) not in ID and not whole) or not small:
        what = "a candidate must be an object, or an id:" if bare else "an id must be"
        raise BadRequest(f"{what} a text, or a whole number of 64 bits", _kind(value), where)
    if type(value) is str and len(value) > LONGEST_ID:
        _too_long(where, f"a text of {len(value):,} characters", LONGEST_ID)
    return value


def _too_long(where: str, came: str, most: int) -> NoReturn:
    raise BadRequest(f"'{where}' must hold at most {most:,} values or characters", came, where, None, "too_many")


def _kind(value: Any) -> str:
    """A value for `came`: what it is, and its text where it is short."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "", int: "", float: ""}
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    text = text if len(text) <= 60 and not isinstance(value, dict | list) else ""
    return f"{names[type(value)]} {text}".strip() or "a number"
