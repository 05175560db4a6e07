"""Rows of a data frame as requests, for tests of the server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import polars as pl
from exported import small_log


def joined_rows(n: int = 300, seed: int = 5) -> pl.DataFrame:
    """Rows of the small log with the columns of their side tables, unseen ids, empty lists and missing numbers."""
    rows, tables = small_log(n, seed=seed)
    odd = pl.int_range(pl.len()) % 7 == 0
    rows = rows.with_columns(
        uid=pl.when(odd).then(pl.lit("nobody")).otherwise("uid"),
        vid=pl.when(pl.int_range(pl.len()) % 11 == 0).then(999).otherwise("vid"),
        price=pl.when(odd).then(None).otherwise(pl.col("price").fill_nan(None)),
    )
    joined = rows.join(tables["user"], on="uid", how="left").join(tables["item"], on="vid", how="left")
    return joined.with_columns(pl.col("liked", "liked_weights").fill_null([])).drop("t", "y", "z")


USER = ("uid", "age", "city", "liked", "liked_weights")
CONTEXT = ("tab", "price", "words", "session")
ITEM = ("vid", "shop", "length")


def as_request(rows: pl.DataFrame) -> tuple[dict[str, Any], pl.DataFrame]:
    """The first row's user and context with the candidates of all rows, and the same as plain rows."""
    some = rows.to_dicts()
    candidates = [{"id": row["vid"], **{name: row[name] for name in ITEM}} for row in some]
    request = {
        "user": {name: some[0][name] for name in USER},
        "context": {name: some[0][name] for name in CONTEXT},
        "candidates": candidates,
    }
    plain = rows[[0] * len(rows)].with_columns(rows[name] for name in ITEM)
    return request, plain


class Asked:
    """A server in this process, and a client of it."""

    def __init__(self, server: Any) -> None:
        from entirespace.serving.http.app import create_app, guarded

        self.server = server
        self.app = create_app(server)
        self.guard = guarded(self.app, server)
        if server.models.current is None and server.models.folder.is_dir():
            server.models.start()

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.guard, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())
