"""The client, against the app in this process."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import polars as pl
import pytest
from requested import Asked, as_request, joined_rows

pytest.importorskip("fastapi", reason="fastapi is absent: pip install 'entirespace[serve]'")

import entirespace as es
from entirespace.serving.bundle import Bundle
from entirespace.serving.client import ServerError
from entirespace.serving.http.models import Models
from entirespace.serving.http.server import Server


class ToApp(httpx.BaseTransport):
    """Sends the requests of a client to an ASGI app."""

    def __init__(self, app) -> None:
        self.app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.request(
                    request.method, str(request.url), content=request.read(), headers=request.headers
                )

        found = asyncio.run(ask())
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)


@pytest.fixture
def client(exported, monkeypatch):
    asked = Asked(Server(Models(exported[1]), token="a token of 16 or more"))
    plain = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: plain(transport=ToApp(asked.guard), **options))
    with es.Client("http://server/", token="a token of 16 or more") as client:
        yield client


def test_a_frame_of_scores(client, exported):
    body, plain = as_request(joined_rows()[:30])
    want = Bundle.open(exported[1]).predict(plain)
    frame = pl.DataFrame(body["candidates"])
    for candidates in (body["candidates"], frame, frame.to_arrow()):
        found = client.rank(body["user"], candidates, context=body["context"])
        assert found.columns == ["id", "pctr", "pcvr", "pctcvr"]
        assert found["id"].to_list() == plain["vid"].to_list()
        np.testing.assert_allclose(found["pctcvr"].to_numpy(), want.pctcvr, rtol=0, atol=1e-6)
    assert client.rank("u1", ["1", "2"])["id"].to_list() == ["1", "2"]
    assert len(client.rank("u1", [])) == 0
    assert client.model()["version"]


def test_errors_are_those_of_the_server(client):
    with pytest.raises(ServerError, match=r"candidates\[1\]\.length: 'length' must hold a number") as caught:
        client.rank("u1", ["1", {"id": 2, "length": "long"}])
    assert caught.value.code == "bad_request"
    with pytest.raises(ServerError, match="values must be finite numbers"):
        client.rank({"age": float("nan")}, ["1"])


def test_no_server():
    with es.Client("http://127.0.0.1:9", seconds=2) as client, pytest.raises(ServerError, match="must answer"):
        client.rank("u1", ["1"])
