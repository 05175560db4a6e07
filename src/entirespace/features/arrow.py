"""Arrow tables of any type -> polars frames of the types that `values` and `times` read.

A column of a type that cannot be a value of a field is refused by name.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# (pyarrow has no types)
from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import DataError
from .values import bytes_text


def frame_of(table: pa.Table, where: str) -> pl.DataFrame:
    """The table as a frame. Dictionaries become their values, bytes text, extension types the type they are stored as.

    Raises: DataError that names a column of a type that cannot be read; `where` is its place.
    """
    columns: dict[str, Any] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        try:
            columns[field.name] = _plain(column)
        except (pa.ArrowException, NotImplementedError) as error:
            must = f"column '{field.name}' must hold ids, lists of ids, numbers or times"
            do = "Leave the column out, or store it as text"
            raise DataError(must, f"its type {field.type} cannot be read", where=where, do=do) from error
    frame = pl.DataFrame(pa.table(columns)) if columns else pl.DataFrame()
    return frame.with_columns(
        bytes_text(frame[name]).alias(name) for name, kind in frame.schema.items() if kind == pl.Binary
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        stored = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        name = getattr(kind, "extension_name", "")
        if name == "arrow.uuid":
            return pa.chunked_array([_uuids(chunk) for chunk in stored.chunks], pa.string())
        return _plain(stored.cast(pa.bool_()) if name == "arrow.bool8" else stored)
    if pa.types.is_run_end_encoded(kind):
        return _plain(
            pa.chunked_array([pc.call_function("run_end_decode", [chunk]) for chunk in column.chunks], kind.value_type)
        )
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        # pyarrow 26 casts it to lists wrongly: all after the first are empty
        lists = pa.large_list(_simple(kind.value_type))
        return pa.chunked_array([pa.array(chunk.to_pylist(), lists) for chunk in column.chunks], lists)
    simple = _simple(kind)
    try:
        return column if simple == kind else column.cast(simple)
    except pa.ArrowInvalid:
        if "decimal256" not in str(kind):
            raise
        # decimals of more than 38 digits
        return pa.chunked_array([pa.array([_digits(value) for value in column.to_pylist()])])


def _simple(kind: pa.DataType) -> pa.DataType:
    """The type to cast a type to, so that polars has it. Raises: NotImplementedError if there is none."""
    if pa.types.is_dictionary(kind):
        return _simple(kind.value_type)
    if pa.types.is_decimal256(kind):
        return pa.decimal128(38, min(kind.scale, 38))
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        return pa.list_(_simple(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_simple(kind.value_type))
    if pa.types.is_interval(kind) or pa.types.is_union(kind) or isinstance(kind, pa.BaseExtensionType):
        raise NotImplementedError
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        for i in range(kind.num_fields):
            if _simple(kind.field(i).type) != kind.field(i).type:
                raise NotImplementedError
    return kind


def _digits(value: Any) -> Any:
    """A decimal, or a list of them, as text without a point or zeros at its end.

    >>> _digits(Decimal("7.50")), _digits([Decimal("-1.00"), None])
    ('7.5', ['-1', None])
    """
    if isinstance(value, list):
        return [_digits(one) for one in value]
    text = f"{value:f}" if isinstance(value, Decimal) else value
    return text.rstrip("0").rstrip(".") if isinstance(text, str) and "." in text else text


def _uuids(stored: pa.Array) -> pa.Array:
    """16 bytes each -> text such as 123e4567-e89b-12d3-a456-426614174000."""
    digits = pl.Series(stored.cast(pa.binary())).bin.encode("hex")
    ends = np.cumsum([0, 8, 4, 4, 4, 12])
    pieces = [digits.str.slice(int(a), int(b - a)) for a, b in itertools.pairwise(ends)]
    return pl.select(pl.concat_str(pieces, separator="-")).to_series().to_arrow().cast(pa.string())
