"""Columns of a log or a data frame -> the raw values of a field: raw ids, bags of raw ids, or numbers.

This is the only code that reads raw values of fields; `prepare`, predictions on a data frame and serving all use it.

**An id is its value, not its storage.** 7 as an integer of any size, as 7.0, as a decimal 7.00 and as the text "7" or
"7.0" is one id, and so are true, "True" and "TRUE". The rule, for each type:

    text        -?digits, maybe with a point and zeros, is that integer; "007" and "1e3" stay text. True, TRUE, False
                and FALSE are true and false. A date and time in ISO 8601 is that time.
    numbers     a whole number is that integer, other numbers are their shortest text. NaN is missing. A float too large
                to be sure of its last digit is no id.
    times       2024-05-31 18:00:00.5, without trailing zeros; at midnight the date alone; a time with a zone, in UTC
    bytes       their text, if they are UTF-8; else 0x and their digits in base 16
    durations   their seconds
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from ..core.rows import Field, Quantity, ValueFormat
from . import times
from .columns import where

EXACT: dict[pl.DataType, int] = {pl.Float64(): 2**53 - 1, pl.Float32(): 2**24 - 1, pl.Float16(): 2**11 - 1}
"""Type of a float -> the largest n so that no other whole number is stored as n: 2**53 + 1 is stored as 2**53."""
_WORDS = {"-0": "0", "True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*"
_OTHER_FORM = rf"^(?:-?(?:0|[1-9][0-9]*)\.0*|{'|'.join(_WORDS)}|{_TIME})$"
_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_BRACKETS = r"^\s*(?:\[.*\]|\(.*\)|\{.*\})\s*$"


def canonical(value: str | bool | int | float | datetime.date) -> str:
    """The raw id of one value, as text.

    >>> canonical("7.0"), canonical(7.0), canonical("007"), canonical(True), canonical(7.5)
    ('7', '7', '007', 'true', '7.5')
    """
    return str(text(pl.Series([value]))[0])


def text(column: pl.Series) -> pl.Series:
    """Raw ids as text. A missing id becomes the empty id "", which can have an embedding row like any other id.

    Shape: (n,) -> text (n,) without nulls.
    """
    return raw_ids(column).cast(pl.String).fill_null("")


def raw_ids(column: pl.Series) -> pl.Series:
    """Raw ids for `Codes` and encoders: whole numbers as integers, which is faster; all others as text.

    Shape: (n,) -> int64 or smaller with null for a missing id, or text with "" for a missing id (n,).
    """
    kind = column.dtype
    if kind.is_integer():
        return column if kind not in _TOO_LARGE else _narrowed(column)
    if kind.is_float():
        return _of_floats(column)
    if kind == pl.String:
        ids = _of_text(column)
    elif kind.is_decimal():
        ids = _without_zeros(column.cast(pl.String))
    elif kind == pl.Binary:
        ids = bytes_text(column)
    elif kind == pl.Duration:
        return _of_floats(column.dt.total_nanoseconds().cast(pl.Float64) / 1e9)
    elif kind == pl.Time:
        ids = _without_zeros(column.dt.to_string("%H:%M:%S%.9f"))
    elif isinstance(kind, pl.Datetime):
        ids = _of_timestamps(column)
    else:  # booleans, dates, categories
        ids = _of_text(column.cast(pl.String)) if isinstance(kind, pl.Categorical | pl.Enum) else column.cast(pl.String)
    return ids.fill_null("")


def inexact(column: pl.Series) -> np.ndarray:
    """Rows whose id is a float too large to be sure of its last digit, or infinite. Shape: (n,) -> bool (n,)."""
    if not column.dtype.is_float():
        return np.zeros(len(column), bool)
    return (column.is_not_nan() & (column.abs() > EXACT[column.dtype])).fill_null(False).to_numpy()


_TOO_LARGE = {pl.UInt64(), pl.Int128(), pl.UInt128()}


def _narrowed(column: pl.Series) -> pl.Series:
    """Large integers as int64 if all fit, else as text."""
    small = column.cast(pl.Int64, strict=False)
    return small if small.null_count() == column.null_count() else column.cast(pl.String).fill_null("")


def _of_floats(column: pl.Series) -> pl.Series:
    column = column.fill_nan(None)
    whole = column.floor() == column
    integers = column.cast(pl.Int64, strict=False)
    if whole.all() and integers.null_count() == column.null_count():  # all() ignores nulls
        return integers
    exact = whole & integers.is_not_null()
    return where(exact, integers.cast(pl.String), column.cast(pl.String)).fill_null("")


def _of_text(column: pl.Series) -> pl.Series:
    """Texts with those of another form replaced. Nulls stay."""
    if not column.str.contains(_OTHER_FORM).any():
        return column
    column = column.str.replace(r"^(-?(?:0|[1-9][0-9]*))\.0*$", "$1").replace(_WORDS)
    is_time = column.str.contains(f"^{_TIME}$").fill_null(False)
    if is_time.any():
        written = column.filter(is_time).unique()
        texts = times.iso_text(written)
        column = column.replace(written.filter(texts.is_not_null()), texts.drop_nulls())
    return column


def _of_timestamps(column: pl.Series) -> pl.Series:
    zone = "" if getattr(column.dtype, "time_zone", None) is None else "+00:00"
    if zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return _without_zeros(column.dt.to_string("%Y-%m-%d %H:%M:%S%.9f")).str.replace(" 00:00:00$", "") + zone


def _without_zeros(column: pl.Series) -> pl.Series:
    return column.str.replace(r"\.([0-9]*[1-9])?0*$", ".$1").str.strip_chars_end(".")


def bytes_text(column: pl.Series) -> pl.Series:
    """Bytes as text, if they are UTF-8; else as 0x and their digits in base 16. Shape: (n,) -> text (n,)."""
    try:
        return _of_text(column.cast(pl.String))
    except pl.exceptions.ComputeError:  # some are not UTF-8
        different = column.drop_nulls().unique().to_list()
        texts = pl.Series([_decoded(value) for value in different], dtype=pl.String)
        found = pl.DataFrame({"bytes": different, "text": _of_text(texts)})
        return column.to_frame("bytes").join(found, on="bytes", how="left", maintain_order="left")["text"]


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "0x" + value.hex()


def without_missing(column: pl.Series, form: ValueFormat, blanks: bool = True) -> pl.Series:
    """The column, with null where it holds a text or number that stands for a missing value.

    `blanks`: around a text are part of it, as in an id; else they are not, as in a number or a time.
    """
    if not form.missing or column.dtype.is_nested():
        return column
    plain = column if blanks or column.dtype != pl.String else column.str.strip_chars()
    missing = text(plain).is_in(form.missing)
    return where(~missing, column) if missing.any() else column


def quantity(column: pl.Series, form: ValueFormat = ValueFormat()) -> Quantity | None:
    """What a column of numbers holds, by its type; None if it holds nothing."""
    kind = column.dtype
    if kind == pl.Null:
        return None
    if isinstance(kind, pl.Datetime) or kind == pl.Date:
        known = form.time_zone is not None or getattr(kind, "time_zone", None) is not None
        return "time" if known else "local time"
    return "duration" if kind == pl.Duration or kind == pl.Time else "number"


def _quantities(column: pl.Series, wanted: Quantity | None, form: ValueFormat) -> tuple[np.ndarray, np.ndarray]:
    """`number`, where a value that is not of the wanted quantity is bad. Text can hold times. Shape: as `number`."""
    if wanted is None or quantity(column, form) in (None, wanted):
        return number(column, form)
    column = without_missing(column, form, blanks=False)
    if column.dtype != pl.String or wanted not in ("time", "local time"):
        return np.full(len(column), np.nan), column.is_not_null().to_numpy()
    found = times.read(column, form)
    known = np.full(len(column), form.time_zone is not None) | (found.kind == times.ABSOLUTE)
    wrong = (found.kind != times.NONE) & ((found.kind == times.NUMBER) | (known != (wanted == "time")))
    seconds = (found.microseconds.cast(pl.Float64) / 1e6).fill_null(np.nan).to_numpy()
    return np.where(wrong, np.nan, seconds), found.unread | wrong


def number(column: pl.Series, form: ValueFormat = ValueFormat()) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, NaN for missing values; rows with a value that is not a number). Times and durations are in seconds.

    Shape: (n,) -> float64 (n,), bool (n,).
    """
    column, kind = without_missing(column, form, blanks=False), column.dtype
    if kind == pl.String:
        column = column.str.strip_chars()
        given = (column != "").fill_null(False)
        values = _plain_number(column, form).cast(pl.Float64, strict=False)
        return values.fill_null(np.nan).to_numpy(), (given & values.is_null()).to_numpy()
    if isinstance(kind, pl.Datetime) or kind == pl.Date:
        values = times.read(column, form).microseconds.cast(pl.Float64) / 1e6
    elif kind == pl.Duration:
        values = column.dt.total_nanoseconds().cast(pl.Float64) / 1e9
    elif kind == pl.Time:
        values = column.cast(pl.Int64).cast(pl.Float64) / 1e9
    else:
        values = column.cast(pl.Float64, strict=False)
    return values.fill_null(np.nan).to_numpy(), np.zeros(len(column), bool)


def _plain_number(column: pl.Series, form: ValueFormat) -> pl.Series:
    """Numbers as text with a decimal point, without symbols and separators of thousands; null where these are wrong."""
    if form.symbols:
        symbols = "|".join(re.escape(symbol) for symbol in sorted(form.symbols, key=len, reverse=True))
        column = column.str.replace(rf"^([+-]?)\s*(?:{symbols})\s*", "${1}").str.replace(rf"\s*(?:{symbols})$", "")
    if form.thousands is None and form.decimal == ".":
        return column
    point = "\\" + form.decimal
    if form.thousands is not None:
        # a separator must stand before three digits, so that 1,5 is not read as 15; or after two, as in 1,00,000
        group = "\\" + form.thousands if not form.thousands.isspace() else r"\s"
        grouped = f"^[+-]?[0-9]{{1,3}}(?:{group}[0-9]{{2,3}})*{group}[0-9]{{3}}(?:{point}[0-9]*)?$"
        fits = ~column.str.contains(group) | column.str.contains(grouped)
        column = where(fits, column.str.replace_all(group, ""))
    if form.decimal != ".":
        fits = ~column.str.contains(".", literal=True)
        column = where(fits, column.str.replace(point, "."))
    return column


@dataclass(frozen=True)
class Bags:
    """Any number of raw ids for each of n rows."""

    ids: pl.Series  # text or integers (L,), row after row
    lengths: np.ndarray  # int64 (n,): the number of ids of each row
    weights: np.ndarray | None  # float32 (L,); None: the field has no weights


def bags(frame: pl.DataFrame, field: Field) -> tuple[Bags, list[tuple[str, np.ndarray]]]:
    """(bags, [(reason, rows that are bad for this reason)]). Shape: n rows -> Bags of n rows, bool (n,) each.

    The caller decides what to do with bad rows.
    """
    present = without_missing(frame[field.source], field.format)
    ids = _lists(present, field.separator)
    lengths = ids.list.len().fill_null(0).to_numpy().astype(np.int64)
    elements = ids.list.explode(empty_as_null=False, keep_nulls=False)
    owner = np.repeat(np.arange(len(frame)), lengths)
    checks = [("bad_id", _any_of(owner[inexact(elements)], len(frame)))]
    weights = None
    if field.weights is not None:
        given = without_missing(frame[field.weights], field.format)
        # weights of a bag that is written as missing, such as NULL, do not matter
        no_bag = present.is_null() & frame[field.source].is_not_null()
        listed = _lists(pl.select(pl.when(~no_bag).then(given)).to_series(), field.separator)
        of_weight = listed.list.len().fill_null(0).to_numpy().astype(np.int64)
        values, bad = number(listed.list.explode(empty_as_null=False, keep_nulls=False), field.format)
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite: refused below
            weights = values.astype(np.float32)
        bad = bad | ~(np.isfinite(weights) & (weights >= 0))
        mismatch = of_weight != lengths
        bad_weight = _any_of(np.repeat(np.arange(len(frame)), of_weight)[bad], len(frame))
        checks += [("wrong_feature_count", mismatch), ("bad_weight", bad_weight & ~mismatch)]
    flat = raw_ids(elements)
    if field.format.missing:
        kept = ~text(flat).is_in(field.format.missing)
        flat, here = flat.filter(kept), kept.to_numpy()
        lengths = np.bincount(owner[here], minlength=len(frame)).astype(np.int64)
        if weights is not None and len(weights) == len(here):
            weights = weights[here]
    return Bags(flat, lengths, weights), checks


def _any_of(rows: np.ndarray, n: int) -> np.ndarray:
    which = np.zeros(n, bool)
    which[rows] = True
    return which


def _lists(column: pl.Series, separator: str | None) -> pl.Series:
    """A column as lists: lists stay lists, text is split, any other value becomes a list of one.

    Text is split at the separator. Text in brackets is a list without a separator, too: "[27, 9]" and "['27' '9']" are
    the ids 27 and 9. Blanks and quotes around an id are no part of it. A missing value, or empty text, becomes null.
    """
    if isinstance(column.dtype, pl.List | pl.Array):
        return column.cast(pl.List(column.dtype.inner))  # type: ignore[attr-defined]
    if column.dtype != pl.String:
        return _lists_of_one(column)
    bracketed = column.str.contains(_BRACKETS).fill_null(False)
    inside = column.str.strip_chars().str.strip_chars_start("[({").str.strip_chars_end("])}").str.strip_chars()
    column = where(bracketed, inside, column) if bracketed.any() else column
    column = column.replace("", None)
    if separator is not None:
        found = column.str.split(separator)
        if separator.isspace():
            found = found.list.eval(pl.element().filter(pl.element() != ""))
        plain = ~column.str.contains(r"""[\s"']""")
        return found if plain.all() else found.list.eval(_unquoted(pl.element()))
    one = _lists_of_one(column)
    if not bracketed.any():
        return one
    at_commas = column.str.extract_all(rf"{_QUOTED}|[^,\s][^,]*")
    at_blanks = column.str.extract_all(rf"{_QUOTED}|\S+")
    commas = column.str.contains(",", literal=True)
    found = where(commas, at_commas, at_blanks).list.eval(_unquoted(pl.element()))
    return where(bracketed, found, one)


def _lists_of_one(column: pl.Series) -> pl.Series:
    return where(column.is_not_null(), column.reshape((-1, 1)).arr.to_list())


def _unquoted(element: pl.Expr) -> pl.Expr:
    element = element.str.strip_chars()
    return element.str.replace(r"""^(?:"(.*)"|'(.*)')$""", "$1$2")


Content = np.ndarray | pl.Series | Bags
"""The raw values of a field: numbers float64 (n,), one raw id per row (n,), or bags of raw ids."""


def read(rows: pl.DataFrame, field: Field) -> tuple[Content, list[tuple[str, np.ndarray]]]:
    """(raw values of a field, [(reason, rows that are bad for this reason)]). Shape: bool (n,) for each reason.

    A reason is a key of `logs.audit.REASONS`.
    """
    if field.kind == "ids":
        return bags(rows, field)
    column, form = rows[field.source], field.format
    if field.part is not None:
        part, bad = times.part(without_missing(column, form, blanks=False), field.part, form)
        numbers = part.cast(pl.Float64).fill_null(np.nan).to_numpy()
        return (numbers if field.kind == "number" else part), [("bad_value", bad)]
    if field.kind == "number":
        numbers, bad = _quantities(column, field.quantity, form)
        return numbers, [("bad_value", bad)]
    column = without_missing(column, form)
    return raw_ids(column), [("bad_id", inexact(column))]
