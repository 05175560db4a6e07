"""The errors of the server: what each code means, and the JSON body that every one has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import EntirespaceError
from ...text import printable


@dataclass(frozen=True)
class Code:
    """A kind of error."""

    status: int
    meaning: str


CODES = {
    "not_json": Code(400, "The body is not JSON in UTF-8, or holds NaN or an infinite number"),
    "unauthorized": Code(401, "The header Authorization is missing, or holds another token"),
    "not_found": Code(404, "There is no such page, model or version"),
    "not_allowed": Code(405, "The page exists, but not with this method"),
    "contradiction": Code(409, "Values that are valid alone contradict each other, such as ids and their weights"),
    "too_large": Code(413, "The body is larger than the limit"),
    "not_a_json_request": Code(415, "The content type of the body is not application/json"),
    "bad_request": Code(422, "A value has the wrong type, is missing, or has a name that the model does not know"),
    "too_many": Code(422, "The number of candidates, a list or a text is longer than the limit"),
    "internal": Code(500, "The server failed. The cause is in its log, by the number in `came`"),
    "not_ready": Code(503, "There is no model yet, or the server is about to stop"),
    "too_slow": Code(504, "The request took longer than the limit"),
}
"""All codes of errors."""


class ApiError(EntirespaceError):
    """An error that is sent to the client.

    Args:
        code: one of CODES.
    """

    def __init__(self, code: str, must: str, came: str, *, where: str | None = None, do: str | None = None) -> None:
        super().__init__(must, came, where=where, do=do)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code].status

    def body(self, path: str = "") -> bytes:
        """{"error": {code, must, came, where, do}} as JSON. Under /v2, whose protocol has an error of one text:
        {"error": text, "details": {code, ...}}."""
        texts = {"must": self.must, "came": self.came, "where": self.where, "do": self.do}
        shown = {name: None if text is None else printable(text) for name, text in texts.items()}
        details = {"code": self.code, **shown}
        if path == "/v2" or path.startswith("/v2/"):
            return msgspec.json.encode({"error": str(self), "details": details})
        return msgspec.json.encode({"error": details})


def shown(value: Any) -> str:
    """A value for `came`, cut where it is long."""
    if value is None:
        return "null"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
