"""A log of what was served: features, scores, version of the model and impression ids, as Parquet files.

With the outcomes of a store of events it becomes a log that `prepare` reads, so training sees what serving saw:

    log = ServedLog("served", bundle, version="7")
    log.write(Served(...))                                   # for each request
    training_log("served", store, "log")                     # `entirespace prepare log/schema.toml log data/...`

Files appear whole: what was served since the last one is lost if the process is killed. Columns of side tables are
named TABLE.COLUMN, and what was served beside the features "served.NAME".
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..core.rows import IMPRESSIONS, Field, ValueFormat
from ..errors import DataError
from ..features.values import text
from ..logs.schema import Schema
from ..places import Rule, whole_folder
from ..records import settle
from .bundle import Bundle
from .events import EventStore
from .fresh import column

SCHEMA = "schema.toml"
SERVED = "served."
ROWS, SECONDS = 100_000, 300.0
_OUT = Rule("the folder of the log must be new or empty", DataError)
TableColumn = tuple[str, str]
"""A table, "impressions" or a side table, and a column of it."""


@dataclass(frozen=True)
class Served:
    """One request with n candidates, as it was scored. Values are those that were sent, or looked up."""

    impression_ids: Sequence[str]
    request: Mapping[TableColumn, Any]
    """The value of each column of the request. A side table without a row for its key is left out."""
    candidates: Mapping[TableColumn, Sequence[Any]]
    """The values of each column of the candidates. Of a side table, all are None where it has no row."""
    pctr: np.ndarray
    pcvr: np.ndarray
    pctcvr: np.ndarray
    version: str
    """Of the model."""
    time: datetime | None = None
    """None: now."""


class ServedLog:
    """Writes what is served into a folder. It may be called from several threads, and by several processes.

    Args:
        folder: is made if it is not there.
        bundle: says which columns there are.
        rows: a file is closed when it has so many.
        seconds: or when its first row is so old.

    Attributes:
        lost: rows that could not be written.
    """

    def __init__(self, folder: Path | str, bundle: Bundle, *, rows: int = ROWS, seconds: float = SECONDS) -> None:
        self._folder, self._rows, self._seconds = Path(folder), rows, seconds
        self._folder.mkdir(parents=True, exist_ok=True)
        self._columns = {(c.table, c.name): c.holds for c in bundle.schema.columns}
        self._columns |= {(IMPRESSIONS, table.on): "id" for table in bundle.schema.tables.values()}
        write_schema(self._folder / SCHEMA, schema_of(bundle))
        self.lost, self._number = 0, 0
        self._waiting: list[Served] = []
        self._count, self._oldest = 0, 0.0
        self._changed, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="served", daemon=True)
        self._thread.start()

    def write(self, served: Served) -> None:
        """Log a request. It is in a file later."""
        with self._changed:
            if not self._waiting:
                self._oldest = time.monotonic()
            self._waiting.append(served)
            self._count += len(served.impression_ids)
            if len(self._waiting) == 1 or self._count >= self._rows:
                self._changed.notify()

    def close(self) -> None:
        """Write what is waiting, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> ServedLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and self._count < self._rows:
                    left = self._oldest + self._seconds - time.monotonic() if self._waiting else None
                    if left is not None and left <= 0:
                        break
                    self._changed.wait(left)
                some, count, closed = self._waiting, self._count, self._closed
                self._waiting, self._count = [], 0
            if some:
                try:
                    self._save(some)
                except (OSError, pl.exceptions.PolarsError):
                    self.lost += count
            if closed:
                return

    def _save(self, some: Sequence[Served]) -> None:
        name = f"served-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{self._number:06d}.parquet"
        self._number += 1
        temporary = self._folder / f".{name}.partial"
        frame_of_served(some, self._columns).write_parquet(temporary)
        settle(temporary, self._folder / name)


def frame_of_served(some: Sequence[Served], columns: Mapping[TableColumn, str]) -> pl.DataFrame:
    """The rows of requests. `columns`: what each holds; see `schema.RowColumn`."""
    counts = [len(served.impression_ids) for served in some]
    found: dict[str, list[Any]] = {}
    for place in columns:
        found[_named(*place)] = values = []
        for served, n in zip(some, counts, strict=True):
            values += served.candidates.get(place) or [served.request.get(place)] * n
    series = [_stored(_named(*place), found[_named(*place)], holds) for place, holds in columns.items()]
    for table in dict.fromkeys(table for table, _ in columns if table != IMPRESSIONS):
        names = [_named(*place) for place in columns if place[0] == table]
        rows = zip(*(found[name] for name in names), strict=True)
        series.append(pl.Series(_row_of(table), list(map(_print, rows)), dtype=pl.String))
    now = datetime.now(UTC)
    times = [served.time or now for served, n in zip(some, counts, strict=True) for _ in range(n)]
    series += [
        pl.Series(f"{SERVED}impression_id", [one for served in some for one in served.impression_ids]),
        pl.Series(f"{SERVED}time", times, dtype=pl.Datetime("us", "UTC")),
        pl.Series(f"{SERVED}version", np.repeat([served.version for served in some], counts), dtype=pl.String),
    ]
    for name in ("pctr", "pcvr", "pctcvr"):
        series.append(pl.Series(SERVED + name, np.concatenate([getattr(served, name) for served in some])))
    return pl.DataFrame(series)


def _named(table: str, name: str) -> str:
    return name if table == IMPRESSIONS else f"{table}.{name}"


def _row_of(table: str) -> str:
    """The column that tells the rows of a side table apart: a row that changes becomes another row."""
    return f"{SERVED}{table}"


def _print(values: tuple[Any, ...]) -> str | None:
    """A hash of the values of a row; None: there is no row."""
    if all(value is None for value in values):
        return None
    return hashlib.blake2b(json.dumps(values, default=str).encode(), digest_size=12).hexdigest()


def _stored(name: str, values: list[Any], holds: str) -> pl.Series:
    """A column of one type in all files: ids as text."""
    if holds in ("ids", "weights") and any(isinstance(value, list | tuple) for value in values):
        values = [None if value is None else list(value) for value in values]
        found = column(name, values)
        if isinstance(found.dtype, pl.List):
            return found.cast(pl.List(pl.String if holds == "ids" else pl.Float64))
    found = column(name, values)
    if holds == "id" and found.dtype != pl.String:
        return pl.select(pl.when(found.is_not_null()).then(text(found))).to_series().alias(name)
    return found.cast(pl.String) if found.dtype == pl.Null else found


# The schema, and the outcomes


def schema_of(bundle: Bundle) -> dict[str, Any]:
    """The schema of the log that `training_log` makes."""
    fields: dict[str, dict[str, Any]] = {}
    read = {(table, name) for c in bundle.schema.columns for table, name in [(c.table, c.name)]}
    for about in bundle.layout.fields:
        f = about.field()
        if (f.table, f.source) in read and f.kind != "rate":
            fields.setdefault(f.table, {})[f.name] = _field(f)
    impressions: dict[str, Any] = {
        "files": ["impressions-*.parquet"],
        "order": f"{SERVED}time",
        "labels": {"click": f"{SERVED}click", "conversion": f"{SERVED}conversion"},
        "unique": [f"{SERVED}impression_id"],
        "fields": fields.pop(IMPRESSIONS, {}),
    }
    found: dict[str, Any] = {"impressions": impressions}
    found["tables"] = {
        table: {"from": IMPRESSIONS, "key": _row_of(table), "fields": some} for table, some in fields.items()
    }
    roles = {"user": bundle.layout.user, "item": bundle.layout.item}
    found["roles"] = {role: name for role, name in roles.items() if name is not None}
    if bundle.layout.request is not None:
        found["request"] = {"fields": list(bundle.layout.request)}
    history = None if bundle.encoders.history is None else bundle.encoders.history.log.get("history")
    if history is not None:  # durations in a unit of other times mean nothing here
        units = [name for name in ("half_life", "delay") if isinstance(history.get(name), int)]
        found["history"] = {name: value for name, value in history.items() if name not in units}
    Schema.model_validate(found)
    return found


def _field(f: Field) -> dict[str, Any]:
    """A field as in a schema."""
    about: dict[str, Any] = {"kind": f.kind, "from": _named(f.table, f.source)}
    about |= {"weights": _named(f.table, f.weights)} if f.weights else {}
    about |= {"separator": f.separator} if f.separator else {}
    about |= {"part": f.part} if f.part else {}
    about |= {"min_count": f.min_count} if f.min_count != 1 else {}
    about |= {"hash": f.hash} if f.hash else {}
    about |= {"buckets": f.buckets} if f.kind == "number" and f.buckets else {}
    form, plain = f.format, ValueFormat()
    for name in ("missing", "decimal", "thousands", "symbols"):
        if (value := getattr(form, name)) != getattr(plain, name):
            about[name] = list(value) if isinstance(value, tuple) else value
    zone = {"format": form.time_format, "zone": form.time_zone, "unit": form.time_unit}
    if time_ := {name: value for name, value in zone.items() if value is not None}:
        about["time"] = time_
    return about


def write_schema(path: Path, schema: Mapping[str, Any]) -> None:
    """Write a schema as TOML: values of JSON are values of TOML, but for tables, which are written inline."""
    lines = ["# The form of this log, for `entirespace prepare`. Made by `entirespace serve --log`."]
    for name, content in schema.items():
        lines += ["", f"[{name}]", *(f"{json.dumps(key)} = {_inline(value)}" for key, value in content.items())]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    settle(temporary, path)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_inline(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


def export_outcomes(store: EventStore, path: Path | str) -> int:
    """Write a Parquet file of all impressions of a store: impression_id, time, click, conversion and their times, in
    steps of the log's clock. A conversion counts only after a click. Returns: how many there are."""
    rows = [(name, one.time, one.stages) for name, one in store.impressions() if one.time is not None]
    click, conversion = ([stages.get(name) for _, _, stages in rows] for name in ("click", "conversion"))
    frame = pl.DataFrame(
        [
            pl.Series("impression_id", [name for name, _, _ in rows], dtype=pl.String),
            pl.Series("time", [at for _, at, _ in rows], dtype=pl.Int64),
            pl.Series("click_time", click, dtype=pl.Int64),
            pl.Series("conversion_time", conversion, dtype=pl.Int64),
        ]
    )
    happened = pl.col("click_time").is_not_null()
    frame = frame.with_columns(click=happened, conversion=happened & pl.col("conversion_time").is_not_null())
    path = Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    frame.write_parquet(temporary)
    settle(temporary, path)
    return len(frame)


def training_log(served: Path | str, outcomes: Path | str, out: Path | str) -> int:
    """Join what was served with the outcomes, as a log that `prepare` reads. Returns: the number of impressions.

    Args:
        served: the folder of a `ServedLog`.
        outcomes: the file of `export_outcomes`. What was served and has no impression there was not shown, and is left
            out.
        out: is made; it gets schema.toml and impressions-*.parquet, in order of time.

    Raises: DataError if there is nothing to join, or `out` is not empty.
    """
    served, out = Path(served), Path(out)
    files = sorted(served.glob("served-*.parquet"))
    if not files:
        raise DataError("the folder must hold served-*.parquet", "it holds none", where=str(served))
    happened = pl.read_parquet(outcomes, columns=["impression_id", "click", "conversion"]).rename(
        lambda name: f"{SERVED}{name}"
    )
    total = 0
    with whole_folder(out, _OUT, last=SCHEMA, inputs=[served, Path(outcomes)]) as work:
        for i, file in enumerate(files):
            rows = pl.read_parquet(file).join(happened, on=f"{SERVED}impression_id", how="inner", maintain_order="left")
            total += len(rows)
            if len(rows):
                rows.sort(f"{SERVED}time", maintain_order=True).write_parquet(work / f"impressions-{i:06d}.parquet")
        if not total:
            do = "Send an event of type impression, with the impression_id that was served, for each that is shown"
            raise DataError("some impressions must be served and shown", "none is", where=str(served), do=do)
        (work / SCHEMA).write_bytes((served / SCHEMA).read_bytes())
    return total
