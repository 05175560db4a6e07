"""What the pages of one process share: the model, the limits, the counters, and how requests are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fastapi import Request, Response

from ..ranker import Ranked
from ..requests import BadRequest
from .errors import ApiError
from .limits import Limits
from .metrics import Metrics
from .models import Model, Models

JSON = "application/json"


@dataclass(eq=False)
class Server:
    """What the pages of one process share.

    Attributes:
        stopping: the server is about to stop: it is not ready, and answers what still comes.
        closing: it does not listen any more, and every answer closes its connection.
    """

    models: Models
    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    metrics: Metrics = field(default_factory=Metrics)
    stopping: bool = False
    closing: bool = False
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
