"""The rows of a comparison as users write them: methods, LightGBM and BLEND(A, B).

ESMM    AMAN(rate=0.5)    my_module:Mine(alpha=2)    LightGBM    BLEND(ESMM, LightGBM)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

from ..errors import ConfigError
from ..methods import METHODS, Family, Method, families
from .blend import BLEND
from .lightgbm import LightGBM, Rival

Entry: TypeAlias = Method | Rival | BLEND
"""What is trained and scored from a seed: one row of a comparison, or one of the candidates for it."""

RIVALS: Mapping[str, Rival] = {rival.name: rival for rival in (LightGBM(),)}
"""Name -> rival."""


@dataclass(frozen=True)
class Row:
    """One row of a comparison: a name, and one or more candidates, of which the best is reported.

    >>> from ..methods import AMAN
    >>> [entry.label for entry in Row.of(BLEND(AMAN(rate=0.5), LightGBM())).candidates]
    ['BLEND(AMAN(rate=0.5), LightGBM)']
    """

    name: str
    candidates: tuple[Entry, ...]

    @staticmethod
    def of(entry: Row | Family | Entry) -> Row:
        """A row as it is; a family of methods as a row; anything else as a row of one."""
        if isinstance(entry, Row):
            return entry
        if isinstance(entry, Family):
            return Row(entry.name, entry.candidates)
        return Row(entry.label, (entry,))


def leaves(entry: Entry) -> tuple[Method | Rival, ...]:
    """The methods and rivals that an entry is made of: itself, or those of a blend."""
    return tuple(leaf for part in entry.parts for leaf in leaves(part)) if isinstance(entry, BLEND) else (entry,)


def is_rival(text: str) -> bool:
    """Whether a text names a rival or a blend, in any case."""
    return _bracket(text, BLEND.name) is not None or _rival(text) is not None


def rows(texts: Iterable[str], table: Mapping[str, Any] | None = None) -> tuple[Row, ...]:
    """The rows for several texts. A [method] table sets the parameters of the method with its name, as in `families`.

    A blend of families, such as BLEND(AMAN, LightGBM), has a candidate for each pair of candidates.

    Raises: ConfigError as `families`, for a blend of more or fewer than two, or a rival with parameters.

    >>> [row.name for row in rows(["ESMM", "lightgbm", "blend(esmm, LightGBM)"])]
    ['ESMM', 'LightGBM', 'BLEND(ESMM, LightGBM)']
    """
    trees = [_read(text) for text in texts]
    names = list(dict.fromkeys(name for tree in trees for name in _methods(tree)))
    _must_be_known(names)
    return tuple(_row(tree, dict(zip(names, families(names, table), strict=True))) for tree in trees)


def split(text: str) -> list[str]:
    """Split names at the commas outside brackets. Raises: ConfigError for an empty name.

    >>> split("BASE,X(a=1,b=2),BLEND(A, B(c=1))")
    ['BASE', 'X(a=1,b=2)', 'BLEND(A, B(c=1))']
    """
    names, depth = [""], 0
    for character in text:
        depth = max(0, depth + {"(": 1, ")": -1}.get(character, 0))
        if character == "," and not depth:
            names.append("")
        else:
            names[-1] += character
    names = [name.strip() for name in names]
    if not all(names):
        raise ConfigError("--methods must be names separated by commas", f"'{text}'")
    return names


_Tree: TypeAlias = "str | Rival | tuple[_Tree, _Tree]"


def _read(text: str) -> _Tree:
    """A method as it was typed, a rival, or the two parts of a blend."""
    if (rival := _rival(text)) is not None:
        return rival
    inside = _bracket(text, BLEND.name)
    if inside is None:
        return text
    parts = [part.strip() for part in split(inside)] if inside else []
    if len(parts) != 2:
        must = "a blend must be written BLEND(A, B), of two rows of the comparison"
        raise ConfigError(must, f"{len(parts)} in '{text}'", do="Such as BLEND(ESMM, LightGBM)")
    return _read(parts[0]), _read(parts[1])


def _rival(text: str) -> Rival | None:
    """The rival of a name. Raises: ConfigError for parameters, for it has none."""
    for name, rival in RIVALS.items():
        if text.strip().casefold() == name.casefold():
            return rival
        if _bracket(text, name):
            raise ConfigError(f"{name} must have no parameters", f"'{text.strip()}'")
    return None


def _bracket(text: str, name: str) -> str | None:
    """The text in the brackets behind a name, "" if they are absent or empty. None for another name."""
    found = re.fullmatch(rf"\s*{re.escape(name)}\s*(?:\((.*)\))?\s*", text, re.IGNORECASE | re.DOTALL)
    return None if found is None else (found[1] or "").strip()


def _methods(tree: _Tree) -> Iterator[str]:
    """The methods of a tree, as they were typed."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, tuple):
        for part in tree:
            yield from _methods(part)


def _row(tree: _Tree, found: Mapping[str, Family]) -> Row:
    if isinstance(tree, str):
        return Row.of(found[tree])
    if not isinstance(tree, tuple):
        return Row.of(tree)
    first, second = (_row(part, found) for part in tree)
    blends = tuple(BLEND(a, b) for a, b in product(first.candidates, second.candidates))
    return Row(f"{BLEND.name}({first.name}, {second.name})", blends)


def _must_be_known(names: Iterable[str]) -> None:
    """Raises: ConfigError for a name that is next to that of a rival: it suggests the rival."""
    for name in names:
        bare = name.partition("(")[0].strip()
        known = {known.casefold(): known for known in (*METHODS, *RIVALS, BLEND.name)}
        if ":" not in bare and bare.casefold() not in known:
            close = difflib.get_close_matches(bare.casefold(), known, n=1, cutoff=0.5)
            do = f"Did you mean '{known[close[0]]}'?" if close else f"Known: {', '.join(known.values())}"
            must = "each of --methods must be a method of this package, module:Class, LightGBM or BLEND(A, B)"
            raise ConfigError(must, f"'{bare}'", do=do)
