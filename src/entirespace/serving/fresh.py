"""Fresh counts of a bundle: its own, and what the events of a store add to them.

store = EventStore("events")
fresh = FreshCounts(store, bundle)
fresh.submit([{"event_id": "e1", "type": "impression", "impression_id": "i1", "time": 17, "row": {"user": "u1"}}])
with fresh.now() as now:
    p = bundle.predict(frame, newer=now)
"""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import polars as pl

from ..core.rows import IMPRESSIONS, Field, ValueFormat
from ..errors import DataError
from ..features import times
from ..features.history.history import History
from ..features.values import Bags, canonical, inexact, raw_ids, read, text, without_missing
from ..logs.schema import Schema
from ..logs.schema.values import value_format
from .bundle import Bundle
from .counters import OVERALL, Counters
from .events import IMPRESSION, Accepted, Event, EventStore, EventType, Ids
from .ports import Lookup

TYPES: tuple[str, ...] = get_args(EventType)


@dataclass(frozen=True, eq=False)
class Now:
    """What a store knows at one moment; see `features.history.newer.Newer`. It is used by one thread at a time."""

    counters: Counters
    txn: Any
    until: int | None
    faded: float

    @property
    def overall(self) -> np.ndarray:
        """The counts of all impressions. Shape: float64 (W,)."""
        return self.counts(OVERALL, [""])[0]

    def counts(self, key: str, ids: Sequence[str]) -> np.ndarray:
        """What to add to the counts of ids of a key. Shape: -> float64 (n, W)."""
        return self.counters.counts(self.txn, key, ids, self.until)

    def hidden(self, key: str, ids: Sequence[str]) -> np.ndarray | None:
        """Which ids were forgotten; None: none. Shape: bool (n,)."""
        return self.counters.hidden(self.txn, key, ids)


class FreshCounts:
    """The counts of a bundle with those of a store. Close it when the bundle is no longer served.

    Args:
        store: where events are kept.
        bundle: has a history.
        lookup: side tables, for the keys of the history that are columns of these.
        since: impressions up to this time, written as in the log, are in the bundle's counts already. None: none of
            them is.

    Raises: DataError if the bundle has no history.
    """

    def __init__(
        self, store: EventStore, bundle: Bundle, *, lookup: Lookup | None = None, since: int | float | str | None = None
    ) -> None:
        history = bundle.encoders.history
        if history is None:
            do = "Add [history] to the schema, prepare, train and export again; or serve without events"
            raise DataError(
                "a bundle must have a history for fresh counts", "it has none", where=str(bundle.folder), do=do
            )
        self._store, self._history, self._lookup = store, history, lookup
        self._spec, self._keys = history.spec, bundle.encoders.keys
        known = {f.name: f for f in bundle.encoders.fields}
        self._fields = tuple(replace(known.get(f.name, f), weights=None) for f in self._spec.fields_of_keys)
        self._form, self._ticks = _clock(history)
        known_until = None if since is None else int(self._times([since], ["since"])[0])
        self._counters = Counters(store, self._spec, bundle.manifest.history or "", known_until)
        store.attach(self._counters)

    def close(self) -> None:
        """Count for this bundle no more. What was counted stays, and goes on if it is opened again."""
        self._store.detach(self._counters)

    @contextmanager
    def now(self) -> Iterator[Now]:
        """What is known at this moment, with all that was accepted before, by any process."""
        txn = self._store.env.begin()
        if self._counters.cursor(txn) != self._store.head(txn):  # another process serves another bundle
            txn.abort()
            self._store.follow()
            txn = self._store.env.begin()
        try:
            known = [t for t in (self._history.until, self._store.latest(txn)) if t is not None]
            until, faded = None, 1.0
            if self._spec.half_life is not None and self._history.until is not None:
                until = max(known)
                faded = float(np.exp2((self._history.until - until) / self._spec.half_life))
            yield Now(self._counters, txn, until, faded)
        finally:
            txn.abort()

    def counts(self, key: str, ids: Sequence[str]) -> np.ndarray:
        """See `ports.Fresh`: what `now` gives, with the weights of the bundle's own counts. Shape: float64 (n, W)."""
        with self.now() as now:
            return now.counts(key, ids) / now.faded

    # Events

    def submit(self, events: Sequence[Mapping[str, Any]]) -> Future[Accepted]:
        """Add events; the result is there when they are on disk, and counted.

        Args:
            events: each with event_id, type (impression, click or conversion), impression_id and time, written as in
                the log; an impression also with `row`: the values of the columns that the history counts by, of which
                those of side tables may be left out if these tables are on the server.

        Raises: DataError that names the event that is wrong; then none is added.
        """
        return self._store.submit(self.read(events))

    def forget(self, field: str, raw_id: Any) -> int:
        """Forget an id; see `EventStore.forget`. Raises: DataError if the history does not count by the field."""
        if field not in (f.name for f in self._fields):
            known = ", ".join(f.name for f in self._fields)
            raise DataError(
                "only an id that the history counts by can be forgotten", f"'{field}'; it counts by {known}"
            )
        return self._store.forget(field, canonical(raw_id))

    def read(self, events: Sequence[Mapping[str, Any]]) -> list[Event]:
        """Events as the store keeps them. Raises: DataError that names the event that is wrong."""
        places = [f"event {i + 1}" for i in range(len(events))]
        for place, event in zip(places, events, strict=True):
            _check(place, event)
        steps = self._times([event["time"] for event in events], places)
        rows = [(i, event["row"]) for i, event in enumerate(events) if event["type"] == IMPRESSION]
        try:
            ids: dict[int, Ids] = dict(zip([i for i, _ in rows], self._ids(rows), strict=True))
        except (UnicodeError, OverflowError, TypeError, pl.exceptions.PolarsError) as error:
            raise DataError("the row of an impression must hold ids", str(error)) from error
        return [
            Event(event["event_id"], event["type"], event["impression_id"], int(time), ids.get(i, {}))
            for i, (event, time) in enumerate(zip(events, steps, strict=True))
        ]

    def _times(self, values: Sequence[Any], places: Sequence[str]) -> np.ndarray:
        """Times in steps of the log's clock. Shape: int64 (n,)."""
        out = np.zeros(len(values), np.int64)
        numeric = [isinstance(value, int | float) for value in values]
        for kind in (True, False):
            rows = [i for i, one in enumerate(numeric) if one == kind]
            if not rows:
                continue
            try:
                found = times.read(column("time", [values[i] for i in rows]), self._form)
            except (UnicodeError, OverflowError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
                must = "time must be a time, written as in the log"
                raise DataError(must, str(error), where=f"{places[rows[0]]} or later") from error
            steps = found.microseconds
            if found.numbers is not None:
                steps = (found.numbers * self._ticks).cast(pl.Int64, strict=False)
            elif self._ticks != 1:
                steps = steps * self._ticks
            wrong = found.unread | steps.is_null().to_numpy()
            if found.numbers is not None and self._ticks == 1:
                wrong |= (found.numbers != found.numbers.floor()).fill_null(False).to_numpy()
            if wrong.any():
                row = rows[int(wrong.argmax())]
                raise DataError("time must be a time, written as in the log", repr(values[row]), where=places[row])
            out[rows] = steps.to_numpy()
        return out

    def _ids(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[dict[str, str | list[str]]]:
        """The raw ids of impressions, each with its number among the events."""
        found: list[dict[str, str | list[str]]] = [{} for _ in rows]
        if not rows:
            return found
        sides: dict[str, pl.DataFrame] = {}
        plain: list[tuple[Field, Sequence[Any]]] = []
        for f in self._fields:
            with_column = f.table == IMPRESSIONS or self._lookup is None or f.table not in self._lookup.tables
            if with_column or any(f.source in row for _, row in rows):
                _must_have(rows, f.source)
                values = [row[f.source] for _, row in rows]
                if f.part is None and not (f.kind == "ids" and any(isinstance(value, str) for value in values)):
                    plain.append((f, values))
                    continue
                frame = pl.DataFrame([column(f.source, values)])
            else:
                if f.table not in sides:
                    sides[f.table] = self._side(f.table, rows)
                frame = sides[f.table]
            content, checks = read(frame, f)
            for _, bad in checks:
                if bad.any():
                    row = int(bad.argmax())
                    value = repr(frame[f.source][row])
                    raise DataError(f"'{f.source}' must hold ids", value, where=f"event {rows[row][0] + 1}")
            for mine, ids in zip(found, _listed(content), strict=True):
                mine[f.name] = ids
        self._read_plain(plain, [number for number, _ in rows], found)
        return found

    def _read_plain(
        self, fields: Sequence[tuple[Field, Sequence[Any]]], numbers: Sequence[int], found: list[dict[str, Any]]
    ) -> None:
        """Ids and lists of ids, read for all fields at once: an event alone has a column of one value for each."""
        flat: list[Any] = []
        places: list[tuple[int, str]] = []
        for f, values in fields:
            for row, value in enumerate(values):
                some = value if f.kind == "ids" and isinstance(value, list) else [value]
                flat += some
                places += [(row, f.source)] * len(some)
        ids, wrong = texts_of(flat)
        if wrong is not None:
            row, name = places[wrong]
            raise DataError(f"'{name}' must hold ids", repr(flat[wrong]), where=f"event {numbers[row] + 1}")
        at = 0
        for f, values in fields:
            for mine, value in zip(found, values, strict=True):
                if f.kind != "ids":
                    mine[f.name] = "" if ids[at] in f.format.missing else ids[at]
                    at += 1
                    continue
                n = len(value) if isinstance(value, list) else 1
                some = [] if value is None else ids[at : at + n]
                mine[f.name] = [one for one in some if one not in f.format.missing]
                at += n

    def _side(self, table: str, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> pl.DataFrame:
        assert self._lookup is not None
        key = self._keys[table]
        _must_have(rows, key.on)
        keys = without_missing(column(key.on, [row[key.on] for _, row in rows]), ValueFormat(missing=key.missing))
        return self._lookup.fields(table, text(raw_ids(keys)).to_list())


def _clock(history: History) -> tuple[ValueFormat, int]:
    """(how times are written in the log of a history, steps of its clock in a unit of them)."""
    try:
        schema = Schema.model_validate({name: value for name, value in history.log.items() if name != "split"})
    except ValueError:  # there is no schema, as of Ali-CCP
        return ValueFormat(), 1
    settings, spec = schema.history, history.spec
    named = [(settings.half_life, spec.half_life), (settings.delay, spec.delay)] if settings is not None else []
    ticks = [steps // unit for unit, steps in named if isinstance(unit, int) and unit and steps]
    return value_format(schema.impressions), ticks[0] if ticks else 1


def _check(place: str, event: Mapping[str, Any]) -> None:
    for name in ("event_id", "impression_id"):
        if not isinstance(event.get(name), str):
            raise DataError(f"{name} must be a text", repr(event.get(name)), where=place)
    if event.get("type") not in TYPES:
        raise DataError(f"type must be {', '.join(TYPES[:-1])} or {TYPES[-1]}", repr(event.get("type")), where=place)
    if event["type"] == IMPRESSION and not isinstance(event.get("row"), Mapping):
        raise DataError("an impression must have its columns as `row`", repr(event.get("row")), where=place)
    if isinstance(event.get("time"), bool) or event.get("time") is None:
        raise DataError("time must be a time, written as in the log", repr(event.get("time")), where=place)


def _must_have(rows: Sequence[tuple[int, Mapping[str, Any]]], name: str) -> None:
    for number, row in rows:
        if name not in row:
            came = f"it has {', '.join(row) or 'none'}"
            raise DataError(f"an impression must have the column '{name}'", came, where=f"event {number + 1}")


def _listed(content: Any) -> Iterator[str | list[str]]:
    """The raw ids of each row as text."""
    if isinstance(content, Bags):
        ids, ends = text(content.ids).to_list(), np.cumsum(content.lengths).tolist()
        yield from (ids[start:end] for start, end in zip([0, *ends], ends, strict=False))
    else:
        yield from text(pl.Series(content)).to_list()


def texts_of(values: Sequence[Any]) -> tuple[list[str], int | None]:
    """(the raw ids of values of JSON as text; the place of one that is no id)."""
    out = ["" if value is None else str(value) if type(value) is int else "true" for value in values]
    for kind in (str, float):
        places = [i for i, value in enumerate(values) if type(value) is kind]
        if places:
            some = pl.Series([values[i] for i in places])
            bad = inexact(some)
            if bad.any():
                return out, places[int(bad.argmax())]
            for i, one in zip(places, text(raw_ids(some)).to_list(), strict=True):
                out[i] = one
    for i, value in enumerate(values):
        if value is False:
            out[i] = "false"
        elif not (value is None or isinstance(value, str | int | float)):
            return out, i
    return out, None


def column(name: str, values: Sequence[Any]) -> pl.Series:
    """A column of values as JSON has them. Of several types each becomes its raw id, so that none changes."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {list}:
        inner = {type(one) for value in values if value is not None for one in value}
        if len(inner) > 1:
            values = [None if value is None else [canonical(one) for one in value] for value in values]
        return pl.Series(name, values, dtype=None if inner else pl.List(pl.String))
    if len(kinds) > 1:
        values = [None if value is None else canonical(value) for value in values]
    return pl.Series(name, values)
