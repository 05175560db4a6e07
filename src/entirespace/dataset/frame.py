"""Data frames -> a dataset: `from_frame`, for a log that is already in memory."""

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
"""Names of columns; or name -> kind ("id", "ids", "number") or the settings of a field as in a schema file."""


@dataclass(frozen=True)
class SideTable:
    """A side table, joined to the impressions by a key: `es.SideTable(users, key="user_id")`.

    Args:
        frame: a polars, pandas or Arrow table.
        key: the key's column in the frame.
        on: the key's column in the impressions. Default: the same name.
        fields: its fields of x. Default: every column, including the key.
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
    request: Sequence[str] | None = None,
    unique: Sequence[str] = (),
    weight: str | None = None,
    history: Mapping[str, Any] | None = None,
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
        impressions: a frame with one row per impression.
        click, conversion: the columns of the labels, 0/1 or true/false.
        order: the column of time. Default: rows are in order of time.
        fields: the fields of x in the impressions. Either names of columns, whose kinds follow from their types (lists
            are "ids", floats "number", all others "id"); or a mapping from names to kinds, or to the settings of a
            field as in a schema file. Default: every column that has no other use.
        tables: side tables by name.
        user, item: the fields that identify a user and an item.
        request: the fields that belong to a request, as [request] of a schema file. Default: all but the item's.
        unique: columns that together identify an impression. Of rows equal in all of them only the first is kept.
        weight: the column of each impression's weight in every loss.
        history: the settings of [history] in a schema file, such as {"keys": "all"}. Default: no history.
        train: the share of impressions for training, the earliest in time.
        validation: the share of the training part, the latest in time, for validation.
        part: put all impressions into this part instead of splitting them.
        encoders: a dataset or a run whose layout is used instead of fitting a new one.
        on_orphan: what to do with a conversion without a click: keep the row with conversion = 0 (keep), leave the
            row out (drop), or raise an error (error).
        out: the dataset's folder. Default: a temporary folder that is deleted with the returned object.
        force: replace a dataset that is at `out` already.

    Raises: ConfigError if a column is missing or its type has no matching kind; other errors as `prepare`.
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
        "history": history,
        "roles": {"user": user, "item": item},
        "request": None if request is None else {"fields": list(request)},
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
    """The fields of a table in the form of a schema file. `used`: columns that are not fields by default."""
    if isinstance(fields, Mapping):
        return {name: {"kind": about} if isinstance(about, str) else dict(about) for name, about in fields.items()}
    names = [name for name in frame.columns if name not in (used or ())] if fields is None else list(fields)
    return {name: {"kind": _kind(frame, name, what)} for name in names}


def _kind(frame: pl.DataFrame, name: str, what: str) -> str:
    """The kind of field that follows from the type of a column."""
    if name not in frame.columns:
        raise ConfigError(
            f"{what} must have the column of each field", f"no column '{name}'", do=nearest(name, frame.columns)
        )
    kind = frame[name].dtype
    if isinstance(kind, pl.List | pl.Array):
        return "ids"
    if kind.is_float() or kind.is_decimal():
        return "number"
    if kind.is_integer() or kind in (pl.String, pl.Boolean, pl.Categorical, pl.Enum):
        return "id"
    must = f"column '{name}' of {what} must hold ids, lists of ids or numbers"
    raise ConfigError(must, str(kind), do=f'Give its kind: fields={{"{name}": "id"}} or "number"')
