"""What a column of the sample holds: numbers, times, lists or ids; tried with the readers of values themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from ...core.rows import ValueFormat
from ...features.values import number, text, without_missing
from ...text import exact
from . import words as known
from .dates import TimeGuess, guess
from .missing import SURE, WORDS

EXAMPLES, LONGEST = 3, 24
FEW_BAD = 0.0005  # the share of values that may be unreadable
_WAYS = tuple({"thousands": t, "decimal": d} for t, d in ((",", "."), (None, ","), (".", ","), (" ", "."), ("'", ".")))
_CODES = r"^[+-]?0[0-9]+$"
_SEPARATORS = ("|", ";", ",", " ")
_BRACKETED = r"^\s*(?:\[.*\]|\(.*\)|\{.*\})\s*$"


@dataclass(frozen=True)
class Column:
    """One column of the sample, of n rows."""

    name: str
    values: pl.Series  # as they are read from the files
    form: ValueFormat  # how they are written, so far as numbers and words for missing values go
    numbers: np.ndarray | None = None  # float64 (n,), NaN where missing; None: it holds no numbers
    time: TimeGuess | None = None
    separator: str | None = None  # of lists as text; "": they need none, or are lists of Parquet
    lists: bool = False
    doubts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # words for missing values that occur

    @cached_property
    def raw(self) -> pl.Series:
        """The raw ids; "" where a value is missing. Shape: text (n,)."""
        if self.lists:
            return (
                self.values.cast(pl.String, strict=False).fill_null("")
                if not self.values.dtype.is_nested()
                else (self.values.cast(pl.List(pl.String)).list.join(",").fill_null(""))
            )
        return text(without_missing(self.values, self.form))

    @cached_property
    def list_lengths(self) -> pl.Series:
        """Of lists of Parquet, the number of ids of each row. Shape: int (n,)."""
        return self.values.cast(pl.List(self.values.dtype.inner)).list.len().fill_null(0)  # type: ignore[attr-defined]

    @cached_property
    def there(self) -> np.ndarray:
        """Rows with a value. Shape: bool (n,)."""
        if self.numbers is not None:
            return np.isfinite(self.numbers)
        return (self.raw.str.strip_chars() != "").to_numpy()

    @cached_property
    def distinct(self) -> pl.Series:
        """The different values without the missing one, in order of first appearance."""
        return self.raw.filter(pl.Series(self.there)).unique(maintain_order=True)

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return int((~self.there).sum())

    @cached_property
    def codes(self) -> np.ndarray:
        """A number for each different value. Shape: int (n,)."""
        return (self.raw.rank("dense") - 1).to_numpy().astype(np.int64)

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers."""
        if self.numbers is None:
            return False
        there = self.numbers[self.there]
        return bool((there == np.floor(there)).all())

    @property
    def different(self) -> bool:
        """Whether it has another value in each row."""
        return not self.missing and len(self.distinct) == len(self.values) > 1

    def about(self) -> str:
        """What was seen, for a comment."""
        n, seen = len(self.distinct), len(self.values)
        if not n:
            return "no value" if seen else "no rows"
        said = [f"{n:,} value{'s' if n > 1 else ''}"]
        if self.missing:
            said.append(f"{100 * self.missing / seen:.3g} % missing")
        if self.time is not None and self.time.dates and n > EXAMPLES:
            stamps = self.time.stamps[self.there].astype("datetime64[us]").astype("datetime64[m]")
            said.append(f"{stamps.min()} to {stamps.max()}".replace("T", " "))
        elif self.numbers is not None and n > EXAMPLES:
            there = self.numbers[self.there]
            said.append(f"{there.min():.10g} to {there.max():.10g}")
        examples = [exact(_cut(value)) for value in self.distinct.head(EXAMPLES).to_list()]
        return f"{', '.join(said)}: {', '.join(examples)}"


def look(name: str, values: pl.Series, named: bool = True) -> Column:
    """What a column holds. Shape: (n,) -> a Column of n rows.

    Args:
        named: False: the file has no header, so the name says nothing.
    """
    kind, called = values.dtype, name if named else None
    if kind.is_nested():
        return Column(name, values, ValueFormat(), lists=True, separator="")
    if kind != pl.String:
        numeric = kind.is_numeric() or kind in (pl.Duration, pl.Time)
        numbers = number(values)[0] if numeric else None
        return Column(name, values, ValueFormat(), numbers, guess(called, values, numbers, ValueFormat()))
    counts = values.alias("value").drop_nulls().value_counts(sort=True, name="rows")
    texts, n = counts["value"], counts["rows"].to_numpy()
    blank = (texts.str.strip_chars() == "").to_numpy()
    is_word = texts.str.strip_chars().str.to_lowercase().is_in(list(WORDS)).to_numpy()
    rest, weight = texts.filter(pl.Series(~blank & ~is_word)), n[~blank & ~is_word]
    words = tuple(texts.filter(pl.Series(is_word)).to_list())
    sure = tuple(word for word in words if word.strip().lower() in SURE)
    with_words, form = ValueFormat(missing=words), ValueFormat(missing=sure)
    if not len(rest):
        return Column(name, values, with_words, words=words)
    way, doubts = _number_way(name, rest, weight)
    if way is not None:
        form = replace(way, missing=words)
        numbers = number(values, form)[0]
        time = guess(called, without_missing(values, form), numbers, form)
        return Column(name, values, form, numbers, time, doubts=doubts, words=words)
    time = guess(called, without_missing(values, with_words), None, with_words)
    if time is not None:
        return Column(name, values, with_words, None, time, words=words)
    separator, doubts = _separator(name, rest)
    if separator is not None:
        return Column(name, values, form, separator=separator, lists=True, doubts=doubts, words=words)
    if rest.str.contains(r"^[$€£]?\s?[0-9][0-9.,]*\s?[%$€£]?$").all():
        doubts = ("these are numbers with a sign such as $ or %, which are read as ids; use numbers without it",)
    return Column(name, values, form, doubts=doubts, words=words)


def _number_way(name: str, rest: pl.Series, weight: np.ndarray) -> tuple[ValueFormat | None, tuple[str, ...]]:
    """(how the numbers of a column are written, or None if it holds no numbers; doubts)."""
    if rest.head(200).str.contains(_CODES).any() or rest.str.contains(_CODES).any():
        return None, ()
    allowed = FEW_BAD * weight.sum()

    def reads(form: ValueFormat) -> bool:
        if number(rest.head(50), form)[1].mean() > 0.5:
            return False
        return bool(weight[number(rest, form)[1]].sum() <= allowed)

    if reads(ValueFormat()):
        return ValueFormat(), ()
    if "," in known.words(name) or set(known.words(name)) & known.LISTS:
        return None, ()
    forms = [ValueFormat(**way) for way in _WAYS]  # type: ignore[arg-type]
    fit = [form for form in forms if reads(form)]
    if not fit:
        return None, ()
    best, others = fit[0], [f for f in fit[1:] if not np.array_equal(number(rest, f)[0], number(rest, fit[0])[0])]
    doubts = ()
    if others:
        one, other = (f"{number(rest, f)[0][0]:.10g}" for f in (best, others[0]))
        do = f'decimal = "{others[0].decimal}"'
        doubts = (f"{rest[0]} is read as {one}; if it is {other}, write {do}",)
    return best, doubts


def _separator(name: str, rest: pl.Series) -> tuple[str | None, tuple[str, ...]]:
    """(the separator of lists as text, "" for lists in brackets, None if it holds no lists; doubts)."""
    if rest.str.contains(_BRACKETED).mean() > 0.95:  # type: ignore[operator]
        return "", ()
    hinted = bool(set(known.words(name)) & known.LISTS)
    for separator in _SEPARATORS:
        some = rest.str.contains(separator, literal=True)
        if some.mean() < (0.02 if separator == "|" or hinted else 0.1):  # type: ignore[operator]
            continue
        items = rest.str.split(separator)
        lengths, flat = items.list.len(), items.explode().str.strip_chars()
        numeric = flat.str.contains(r"^-?[0-9]+(?:\.[0-9]+)?$").mean() > 0.95  # type: ignore[operator]
        recur = flat.n_unique() <= 0.7 * len(flat) or len(rest) < 5
        short = (flat.str.len_chars().max() or 0) <= 40  # type: ignore[operator]
        if separator == " ":
            good = numeric or (hinted and recur and short)
        elif separator == "|":
            good = short and (recur or numeric or hinted)
        else:
            good = short and lengths.n_unique() > 1 and (numeric or hinted or recur) and not _intervals(rest)
        if good:
            sure = separator == "|" or numeric or hinted
            doubt = f'if "{exact(_cut(str(rest[0])))}" is one id and no list, write {{ kind = "id" }}'
            return separator, () if sure else (doubt,)
    return None, ()


def _intervals(rest: pl.Series) -> bool:
    return bool(rest.str.contains(r"[\[(][^\])]*,[^\])]*[\])]").any())


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST else f"{value[:LONGEST]}..."


def joined(frames: Sequence[pl.DataFrame], name: str) -> pl.Series:
    """A column of several pieces as one, with values as text where the pieces have different types."""
    pieces = [frame[name] for frame in frames if name in frame.columns]
    kinds = {piece.dtype for piece in pieces if piece.dtype != pl.Null}
    if len(kinds) > 1 and all(kind.is_integer() for kind in kinds):
        pieces = [piece.cast(pl.Int64, strict=False) for piece in pieces]
    elif len(kinds) > 1:
        pieces = [piece.cast(pl.List(pl.String)) if piece.dtype.is_nested() else text(piece) for piece in pieces]
        kinds = {pieces[0].dtype}
    elif kinds:
        pieces = [piece.cast(next(iter(kinds))) for piece in pieces]
    if not pieces:
        return pl.Series(name, [], dtype=pl.String)
    return pl.concat(pieces).alias(name)


def plain(name: str) -> str:
    """A name with letters and digits only, in lower case: to compare names.

    >>> plain("movieId") == plain("movie_id")
    True
    """
    return re.sub(r"[\W_]", "", name).lower()
