"""Data frames -> a dataset: `from_frame`, for a log that is in memory already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from ..config import nearest, parse
from ..core.rows import IMPRESSIONS
from ..errors import ConfigError
from ..features.frames import as_frame
from ..logs.schema import Schema
from ..logs.source import OnOrphan
from ..progress import SILENT, Progress
from .dataset import Dataset
from .prepare import PartName, prepare

Fields = Sequence[str] | Mapping[str, str | Mapping[str, Any]]
"""Names of columns; or names with a kind ("id", "ids", "number") or all that a schema file says of a field."""


@dataclass(frozen=True)
class SideTable:
    """A side table that many impressions share by a key: `es.SideTable(users, key="user_id")`.

    Args:
        frame: polars, pandas or Arrow.
        key: the key's column in it.
        on: the key's column in the impressions; absent: the same name.
        fields: its fields of x; absent: every column, the key included.
    """

    frame: Any
    key: str
    on: str | None = None
    fields: Fields | None = None


def from_frame(
    impressions: Any,
    *,
    click: str,
    conversion: str,
    order: str | None = None,
    fields: Fields | None = None,
    tables: Mapping[str, SideTable] | None = None,
    user: str | None = None,
    item: str | None = None,
    unique: Sequence[str] = (),
    weight: str | None = None,
    train: float = 0.5,
    validation: float = 0.1,
    part: PartName | None = None,
    encoders: Dataset | Path | str | None = None,
    on_orphan: OnOrphan = "keep",
    out: Path | str | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Dataset:
    """Prepare a dataset from data frames (polars, pandas or Arrow), as `prepare` does from files.

    Args:
        impressions: one row an impression.
        click, conversion: the columns of the labels, 0/1 or true/false.
        order: the column of time; absent: the order of the rows.
        fields: the fields of x in the impressions. A sequence of columns, whose kinds follow from their types: lists
            are "ids", floats "number", all else "id". Or a mapping from names to kinds, or to what a schema file
            says of a field. Absent: every column that has no other use.
        tables: side tables by name.
        user, item: the fields that name a user and an item.
        unique: the columns that together name an impression: exact repeats are dropped.
        weight: the column of how much an impression weighs in every loss.
        train, validation: the share in time that trains, and the last share of that which validates.
        part: put all impressions into this part instead.
        encoders: a dataset or a run whose layout is used instead of fitting one.
        out: the dataset's folder. Absent: a temporary one, gone with the dataset.

    Raises: ConfigError for a column that is missing or whose kind cannot be told; else as `prepare`.
    """
    frame, sides = as_frame(impressions), tables or {}
    frames = {name: as_frame(side.frame) for name, side in sides.items()}
    used = {click, conversion, order, weight, *unique, *(side.on or side.key for side in sides.values())}
    schema = {
        "impressions": {
            "files": [f"{IMPRESSIONS}.parquet"],
            "labels": {"click": click, "conversion": conversion},
            "order": order,
            "unique": list(unique),
            "weight": weight,
            "fields": _fields(frame, fields, "the impressions", used),
        },
        "tables": {
            name: {
                "files": [f"{name}.parquet"],
                "key": side.key,
                "on": side.on,
                "fields": _fields(frames[name], side.fields, f"side table '{name}'"),
            }
            for name, side in sides.items()
        },
        "roles": {"user": user, "item": item},
        "split": {"train": train, "validation": validation},
    }
    log = parse(Schema, schema, "from_frame")
    keep = None
    if out is None:
        keep = TemporaryDirectory(prefix="entirespace-dataset-")
        out = Path(keep.name) / "dataset"
    with TemporaryDirectory(prefix="entirespace-frames-") as raw:
        for name, table in {IMPRESSIONS: frame, **frames}.items():
            table.write_parquet(Path(raw) / f"{name}.parquet")
        made = prepare(log, raw, out, encoders=encoders, part=part, on_orphan=on_orphan, force=force, progress=progress)
    made.keep = keep
    return made


def _fields(frame: pl.DataFrame, fields: Fields | None, what: str, used: set[str | None] | None = None) -> Any:
    """The fields of a table as a schema has them."""
    if isinstance(fields, Mapping):
        return {name: {"kind": about} if isinstance(about, str) else dict(about) for name, about in fields.items()}
    names = [name for name in frame.columns if name not in (used or ())] if fields is None else list(fields)
    return {name: {"kind": _kind(frame, name, what)} for name in names}


def _kind(frame: pl.DataFrame, name: str, what: str) -> str:
    if name not in frame.columns:
        raise ConfigError(f"{what} must have the column of each field", f"no '{name}'", do=nearest(name, frame.columns))
    kind = frame[name].dtype
    if isinstance(kind, pl.List | pl.Array):
        return "ids"
    if kind.is_float() or kind.is_decimal():
        return "number"
    if kind.is_integer() or kind in (pl.String, pl.Boolean, pl.Categorical, pl.Enum):
        return "id"
    must = f"the kind of column '{name}' of {what} must follow from its type"
    raise ConfigError(must, str(kind), do=f'Say it: fields={{"{name}": "id"}} or "number"')
