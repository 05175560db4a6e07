"""A client of a server: candidates of a user -> a data frame with their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import polars as pl

from ..errors import EntirespaceError
from ..text import printable
from .inputs import OUTPUTS


class ServerError(EntirespaceError):
    """What a server refused, or why it could not be asked.

    Attributes:
        code: the code of the server's error, such as "bad_request"; "" if there was no answer.
    """

    def __init__(
        self, must: str, came: str, *, where: str | None = None, do: str | None = None, code: str = ""
    ) -> None:
        super().__init__(must, came, where=where, do=do)
        self.code = code


class Client:
    """Asks a server that `entirespace serve` started. It keeps its connections, and may be used by several threads.

    Args:
        url: of the server, such as "http://127.0.0.1:8000".
        token: the bearer token, if the server wants one.
        seconds: how long to wait for an answer.
    """

    def __init__(self, url: str, *, token: str | None = None, seconds: float = 30.0) -> None:
        try:
            import httpx
        except ImportError as error:
            do = "pip install 'entirespace[serve]'"
            raise ServerError("a client needs the package httpx", "it is not installed", do=do) from error
        self._url = url.rstrip("/")
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._http = httpx.Client(timeout=seconds, headers=headers)
        self._failed = (httpx.HTTPError, httpx.InvalidURL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def rank(
        self, user: Mapping[str, Any] | str | int, candidates: Any, *, context: Mapping[str, Any] | None = None
    ) -> pl.DataFrame:
        """The candidates in their order, with pctr, pcvr and pctcvr.

        Args:
            user: the columns of the user, or the user's id.
            candidates: ids; or objects with `id` and the columns of each; or a data frame with the same.
            context: the other columns of the request.

        Raises: ServerError with the server's own words if it refuses.
        """
        body: dict[str, Any] = {"candidates": _listed(candidates)}
        body |= {"user": dict(user)} if isinstance(user, Mapping) else {"user_id": user}
        body |= {} if context is None else {"context": dict(context)}
        found = self._asked("POST", "/v1/rank", body)["candidates"]
        frame = pl.DataFrame(
            {"id": pl.Series([each["id"] for each in found], strict=False)}
            | {name: pl.Series([each[name] for each in found], dtype=pl.Float32) for name in OUTPUTS}
        )
        return frame

    def model(self) -> dict[str, Any]:
        """The card of the model that is served, with its version."""
        return self._asked("GET", "/v1/model")

    def _asked(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        url = f"{self._url}{path}"
        try:
            answer = self._http.request(method, url, **({} if body is None else {"json": body}))
        except self._failed as error:
            came = f"{type(error).__name__}: {error}"
            raise ServerError(
                "the server must answer", came, where=url, do="Is `entirespace serve` running?"
            ) from error
        except ValueError as error:
            raise ServerError("values must be finite numbers, texts, lists or null", str(error)) from error
        try:
            content = answer.json()
            if answer.status_code == 200:
                return content
            error = content["error"]
            raise ServerError(
                error["must"], error["came"], where=error["where"], do=error["do"], code=str(error["code"])
            )
        except (ValueError, LookupError, TypeError) as error:
            came = f"status {answer.status_code}: {printable(answer.text[:200])}"
            raise ServerError("the answer must be that of an entirespace server", came, where=url) from error


def _listed(candidates: Any) -> Sequence[Any]:
    if isinstance(candidates, pl.DataFrame):
        return candidates.to_dicts()
    if hasattr(candidates, "__arrow_c_stream__"):
        return pl.DataFrame(candidates).to_dicts()
    return list(candidates)
