"""What every request passes: the token, the limits of size and time, the measurement, and errors as JSON."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect

from .errors import ApiError
from .limits import Limits
from .metrics import Metrics

log = logging.getLogger("entirespace.serve")
OPEN = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
"""Pages without a token."""
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]


class Guard:
    """An ASGI app around another one.

    Args:
        known: path -> its name in the metrics; None: there is no such page.
        closing: whether the server listens no more: then every answer closes its connection.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        token: str | None,
        metrics: Metrics,
        known: Callable[[str], str | None],
        closing: Callable[[], bool],
    ) -> None:
        self._app, self._limits, self._metrics, self._known = app, limits, metrics, known
        self._token = None if token is None else token.encode()
        self._closing = closing

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def counted(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._closing():
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        try:
            self._admit(scope)
            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, self._bounded(scope, receive), counted)
        except ClientDisconnect:
            status = status or 499
        except ApiError as error:
            await self._answer(error, status, scope, counted)
        except TimeoutError:
            must, came = f"a request must take at most {self._limits.seconds:g} s", "it took longer"
            await self._answer(ApiError("too_slow", must, came, do="Send fewer candidates"), status, scope, counted)
        except Exception:  # the app has a handler that answers, and raises it again
            if not status:
                await self._answer(internal(), status, scope, counted)
        finally:
            name = self._known(scope["path"]) or "other"
            self._metrics.seconds.labels(name, str(status)).observe(time.perf_counter() - start)

    async def _answer(self, error: ApiError, status: int, scope: dict[str, Any], send: Send) -> None:
        if status:  # the answer has begun
            log.error("an answer was cut: %s", error)
            return
        self._metrics.errors.labels(error.code).inc()
        for message in messages(error, scope["path"]):
            await send(message)

    def _admit(self, scope: dict[str, Any]) -> None:
        """Raises: ApiError for a missing or wrong token, or a body that is too large."""
        headers = dict(scope["headers"])
        if self._token is not None and scope["path"] not in OPEN:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                came = "another one" if kind else "there is none"
                must = "the header Authorization must hold the server's token"
                raise ApiError("unauthorized", must, came, do="Send 'Authorization: Bearer TOKEN'")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.body:
            raise self._too_large(int(length))

    def _too_large(self, size: int) -> ApiError:
        must = f"a body must have at most {self._limits.body:,} bytes"
        return ApiError("too_large", must, f"at least {size:,}", do="Send fewer candidates in one request")

    def _bounded(self, scope: dict[str, Any], receive: Receive) -> Receive:
        """`receive` that stops at the limit of a body whose length was not announced."""
        so_far = 0

        async def bounded() -> dict[str, Any]:
            nonlocal so_far
            message = await receive()
            so_far += len(message.get("body", b""))
            if so_far > self._limits.body:
                raise self._too_large(so_far)
            return message

        return bounded


def internal() -> ApiError:
    """The error to answer while an exception is handled, which is logged with the same number."""
    number = secrets.token_hex(4)
    log.exception("error %s", number)
    return ApiError("internal", "the server must not fail", f"error {number}", do="Look for it in the server's log")


def messages(error: ApiError, path: str) -> list[dict[str, Any]]:
    """The ASGI messages of an error."""
    body = error.body(path)
    listed = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *([(b"www-authenticate", b"Bearer")] if error.status == 401 else []),
        *([(b"retry-after", b"1")] if error.status == 503 else []),
    ]
    start = {"type": "http.response.start", "status": error.status, "headers": listed}
    return [start, {"type": "http.response.body", "body": body}]
