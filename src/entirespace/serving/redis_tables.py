"""Side tables in Redis: for tables that many machines share, or whose rows change while the server runs.

    redis-server --save "" &
    tables = RedisTables(bundle, "redis://127.0.0.1:6379/0")
    tables.load("user", "users.parquet")

Each row is JSON under the key entirespace:TABLE:ID, so other programs can write rows, too.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (the package redis has incomplete types)
from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from ..errors import DataError
from .bundle import Bundle
from .fresh import column
from .lookup import columns_of, read_rows

ROWS = 5000  # sent at a time


class RedisTables:
    """The side tables of a bundle in Redis; see `ports.Lookup`.

    Args:
        bundle: says which columns are read, and by which key.
        url: of the server, such as redis://127.0.0.1:6379/0.
        tables: the side tables that are there. Default: all of the bundle's.
        timeout: of one call, in seconds.

    Raises: DataError if the package redis is not installed, the server does not answer, or a table is unknown.
    """

    def __init__(
        self, bundle: Bundle, url: str, tables: Collection[str] | None = None, *, timeout: float = 1.0
    ) -> None:
        try:
            import redis
        except ImportError as error:
            do = "pip install 'entirespace[redis]'"
            raise DataError("side tables in Redis need the package redis", "it is not installed", do=do) from error
        self._bundle, self._url, self._error = bundle, url, redis.RedisError
        self._columns = {name: columns_of(bundle, name) for name in (tables or bundle.schema.tables)}
        try:
            self._server = redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
            self._server.ping()
        except (redis.RedisError, ValueError) as error:
            self._refuse(error)

    @property
    def tables(self) -> frozenset[str]:
        """The names of the tables."""
        return frozenset(self._columns)

    def fields(self, table: str, keys: Sequence[str]) -> pl.DataFrame:
        """The rows of a table for keys; see `ports.Lookup.fields`. Raises: DataError if the server does not answer."""
        try:
            found: list[Any] = self._server.mget([_name(table, key) for key in keys]) if keys else []  # type: ignore[assignment]
        except self._error as error:
            self._refuse(error)
        rows = [self._row(table, key, one) for key, one in zip(keys, found, strict=True)]
        series = (column(name, [row.get(name) for row in rows]) for name in self._columns[table])
        return pl.DataFrame([one.cast(pl.String) if one.dtype == pl.Null else one for one in series])

    def _row(self, table: str, key: str, content: Any) -> dict[str, Any]:
        try:
            row = {} if content is None else json.loads(content)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise DataError(
                "a row of a side table in Redis must be a JSON object", repr(content), where=_name(table, key)
            )
        return row

    def load(self, table: str, file: Path | str) -> int:
        """Write the rows of a Parquet file into Redis; rows of other keys stay. Returns: how many rows there are.

        Raises: DataError if the file lacks a column or cannot be read, or the server does not answer.
        """
        frame, keys = read_rows(self._bundle, table, Path(file))
        try:
            for start in range(0, len(keys), ROWS):
                some = frame[start : start + ROWS].to_dicts()
                names = [_name(table, key) for key in keys[start : start + ROWS]]
                self._server.mset({name: json.dumps(row, default=str) for name, row in zip(names, some, strict=True)})
        except self._error as error:
            self._refuse(error)
        return len(keys)

    def _refuse(self, error: Exception) -> NoReturn:
        do = 'Start it, such as by: redis-server --save ""'
        raise DataError(
            "the Redis server must answer", str(error), where=self._url.rpartition("@")[2], do=do
        ) from error


def _name(table: str, key: str) -> str:
    return f"entirespace:{table}:{key}"
