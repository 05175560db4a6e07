"""The app: /v1/rank, /v1/model, /health, /metrics, the OpenAPI page, and /v2 (inference_protocol.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from ..._version import __version__
from ...kernels.threads import use_threads
from . import inference_protocol
from .errors import ApiError
from .guard import Guard, internal
from .metrics import TEXT
from .openapi import page
from .server import JSON, Server, check_json, decoded, json_response


def create_app(server: Server) -> FastAPI:
    """The app of a server, without its guard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        use_threads(1)  # rows are few, and each request has a thread of its own
        if server.models.current is None:
            await server.run(server.models.start)
        yield
        server.models.stop()

    app = FastAPI(title="entirespace", version=__version__, lifespan=lifespan, redoc_url=None)
    pages: dict[int, dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        model = server.model
        if id(model) not in pages:
            pages.clear()
            pages[id(model)] = page(model, server.limits, server.token is not None)
        return pages[id(model)]

    app.openapi = openapi  # type: ignore[method-assign]

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        found = {404: "not_found", 405: "not_allowed"}.get(error.status_code, "bad_request")
        must = "the page must exist" if found == "not_found" else "the method must be one of the page's"
        came = f"{request.method} {request.url.path[:200]}"
        return refused(server, request, ApiError(found, must, came, do="Look at /docs"), error.headers)

    @app.exception_handler(ApiError)
    async def _(request: Request, error: ApiError) -> Response:
        return refused(server, request, error)

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> Response:
        return refused(server, request, internal())

    @app.post("/v1/rank")
    async def rank(request: Request) -> Response:
        check_json(request)
        body = await request.body()
        return Response(await server.run(lambda: _rank(server, body)), media_type=JSON)

    @app.get("/v1/model")
    async def model_card() -> Response:
        model = server.model
        return json_response({"version": model.version, **model.ranker.bundle.card.plain()})

    @app.get("/health/live")
    async def live() -> Response:
        return json_response({"live": True})

    @app.get("/health/ready")
    async def ready() -> Response:
        server.check_ready()
        return json_response({"ready": True})

    @app.get("/metrics")
    async def metrics() -> Response:
        model = server.model
        text = await server.run(lambda: server.metrics.text(model.ranker.bundle.card, model.version))
        return Response(text, headers={"content-type": TEXT})

    return app


def guarded(app: FastAPI, server: Server) -> Guard:
    """The app with /v2, and with its guard: token, limits, times, errors."""
    inference_protocol.add(app, server)
    paths = {getattr(route, "path", "") for route in app.routes}

    def known(path: str) -> str | None:
        return path if path in paths else "/v2/models" if path.startswith("/v2/models/") else None

    return Guard(app, server.limits, server.token, server.metrics, known, lambda: server.closing)


def _rank(server: Server, body: bytes) -> bytes:
    model = server.model
    form, limits = model.ranker.form, server.limits
    found = server.ranked(
        model, lambda: model.ranker.rank(form.read(decoded(body), limits.candidates, limits.list_length))
    )
    scores = zip(found.ids, found.pctr.tolist(), found.pcvr.tolist(), found.pctcvr.tolist(), strict=True)
    return msgspec.json.encode(
        {
            "model": {"name": model.name, "version": model.version},
            "unseen_ids": found.unseen_ids,
            "unseen": found.unseen,
            "candidates": [{"id": i, "pctr": r, "pcvr": v, "pctcvr": c} for i, r, v, c in scores],
        }
    )


def refused(server: Server, request: Request, error: ApiError, headers: Any = None) -> Response:
    """The answer for an error."""
    server.metrics.errors.labels(error.code).inc()
    more = dict(headers or {}) | ({"retry-after": "1"} if error.status == 503 else {})
    return Response(error.body(request.url.path), error.status, more, JSON)
