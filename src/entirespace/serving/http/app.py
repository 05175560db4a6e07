"""The app: /v1/rank, /v1/model, /health, /metrics, the OpenAPI page, and /v2 (inference_protocol.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from ..._version import __version__
from ...kernels.threads import use_threads
from ..ranker import Ranked
from ..requests import BadRequest
from .errors import ApiError
from .guard import Guard, internal
from .limits import Limits
from .metrics import TEXT, Metrics
from .models import Model, Models
from .openapi import page

JSON = "application/json"


@dataclass(eq=False)
class Server:
    """What the pages of one process share.

    Attributes:
        stopping: the server is about to stop: it is not ready, and answers what still comes.
    """

    models: Models
    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    metrics: Metrics = field(default_factory=Metrics)
    stopping: bool = False
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="rank"))

    @property
    def model(self) -> Model:
        """The model that is served. Raises: ApiError if there is none yet."""
        if (model := self.models.current) is None:
            raise ApiError("not_ready", "a model must be served", "none is open yet", do="Ask again in a moment")
        return model

    def check_ready(self) -> None:
        """Raises: ApiError if there is no model, or the server is about to stop."""
        if self.stopping:
            raise ApiError("not_ready", "the server must not be about to stop", "it is")
        _ = self.model

    async def run(self, work: Callable[[], Any]) -> Any:
        """Do some work in a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def ranked(self, model: Model, work: Callable[[], Ranked]) -> Ranked:
        """Score, count, and turn errors into those of the API."""
        try:
            found = work()
        except BadRequest as bad:
            raise ApiError(bad.code, bad.must, bad.came, where=bad.where, do=bad.do) from bad
        self.metrics.ranked(found, model.ranker.bundle.card, model.version)
        return found


def create_app(server: Server) -> FastAPI:
    """The app of a server, without its guard."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        use_threads(1)  # rows are few, and each request has a thread of its own
        server.models.noticed = lambda result: server.metrics.reloads.labels(result).inc()
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
    from .inference_protocol import add

    add(app, server)
    paths = {getattr(route, "path", "") for route in app.routes}

    def known(path: str) -> str | None:
        return path if path in paths else "/v2/models" if path.startswith("/v2/models/") else None

    return Guard(app, server.limits, server.token, server.metrics, known, lambda: server.stopping)


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


def decoded(body: bytes) -> Any:
    """The value of a JSON text. Raises: ApiError if it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        came = (
            "it is empty"
            if not body
            else "its values are nested too deep"
            if isinstance(error, RecursionError)
            else str(error)
        )
        raise ApiError("not_json", "a body must be JSON in UTF-8, without NaN and infinite numbers", came) from error


def check_json(request: Request) -> None:
    """Raises: ApiError if the content type of the body is another one than JSON."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError("not_a_json_request", "a body must not be compressed", "it is")
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        must = f"the content type of the body must be {JSON}"
        raise ApiError("not_a_json_request", must, kind[:80] or "it is empty")


def json_response(value: Any) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value), media_type=JSON)


def refused(server: Server, request: Request, error: ApiError, headers: Any = None) -> Response:
    """The answer for an error."""
    server.metrics.errors.labels(error.code).inc()
    more = dict(headers or {}) | ({"retry-after": "1"} if error.status == 503 else {})
    return Response(error.body(request.url.path), error.status, more, JSON)
