"""The OpenAPI page of a server, made of the schema of the bundle that it serves, with examples that work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._version import __version__
from ..requests import LARGEST_WEIGHT, LONGEST_ID, NUMBER, Sent
from .errors import CODES
from .limits import Limits

if TYPE_CHECKING:
    from .models import Model

_WHOLE = {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}
_NUMBER = {"type": "number", "minimum": -(2**53) + 1, "maximum": 2**53 - 1}
_NULL = {"type": "null"}
_PROBABILITY = {"type": "number", "minimum": 0}
_REF = "#/components/schemas/"


def page(model: Model, limits: Limits = Limits(), token: bool = False) -> dict[str, Any]:
    """The OpenAPI page for a model."""
    columns = model.ranker.form.columns
    objects = {
        place: {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: _column(sent, limits) for name, sent in columns[place].items()},
        }
        for place in ("user", "context", "candidate")
    }
    id_ = {"anyOf": [{"type": "string", "maxLength": LONGEST_ID}, _WHOLE]}
    candidate = {
        **objects["candidate"],
        "properties": {"id": {**id_, "description": "The item."}, **objects["candidate"]["properties"]},
        "required": ["id"],
    }
    schemas = {
        "User": {**objects["user"], "description": "The columns of the user."},
        "Context": {**objects["context"], "description": "The other columns of the request."},
        "Candidate": candidate,
        "RankRequest": {
            "type": "object",
            "additionalProperties": False,
            "required": ["candidates"],
            "properties": {
                "user_id": {"anyOf": [*id_["anyOf"], _NULL], "description": "The user."},
                "user": {"$ref": _REF + "User"},
                "context": {"$ref": _REF + "Context"},
                "candidates": {
                    "type": "array",
                    "maxItems": limits.candidates,
                    "items": {"anyOf": [*id_["anyOf"], {"$ref": _REF + "Candidate"}]},
                },
            },
        },
        "RankAnswer": _answer(id_),
        "Error": _error(),
        "ModelCard": {"type": "object"},
    }
    paths = {
        "/v1/rank": {
            "post": {
                "summary": "Score the candidates of a request",
                "description": "Raw values, as in the log. What is not sent is missing. Unknown ids are "
                "scored as unseen, and counted. The answer has the candidates in the order in which they were sent.",
                "operationId": "rank",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": _REF + "RankRequest"},
                            "examples": {"request": {"value": model.example}},
                        }
                    },
                },
                "responses": _responses("RankAnswer", 400, 401, 409, 413, 415, 422, 500, 503, 504),
            }
        },
        "/v1/model": {
            "get": {
                "summary": "The model that is served: its card",
                "operationId": "model",
                "responses": _responses("ModelCard", 401, 503, 504),
            }
        },
        "/health/live": {"get": _plain("Whether the process answers", "live")},
        "/health/ready": {
            "get": _plain("Whether a model is served, and the server is not about to stop", "ready", 503)
        },
    }
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"entirespace: {model.name}",
            "version": __version__,
            "description": f"pCTR, pCVR and pCTCVR of candidates. Model version: {model.version}.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if token:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in ("/v1/rank", "/v1/model"):
            for operation in paths[path].values():
                operation["security"] = [{"token": []}]
    return found


def _column(sent: Sent, limits: Limits) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string", "maxLength": limits.text_length}
    if sent.holds == "id":
        return {"anyOf": [text, _WHOLE, _NUMBER, {"type": "boolean"}, _NULL]}
    if sent.holds == "number":
        text = {**text, "pattern": f"^{NUMBER.pattern}$"} if sent.plain else text
        return {"anyOf": [_WHOLE, {"type": "number"}, text, _NULL]}
    if sent.holds == "time":
        return {"anyOf": [{**text, "description": "a time in ISO 8601"}, {"type": "number"}, _NULL]}
    one = {"anyOf": [text, _WHOLE, _NUMBER, {"type": "boolean"}]}
    if sent.holds == "ids":
        return {"anyOf": [{"type": "array", "maxItems": limits.list_length, "items": one}, *one["anyOf"], _NULL]}
    weight = {"type": "number", "minimum": 0, "maximum": LARGEST_WEIGHT}
    return {"anyOf": [{"type": "array", "maxItems": limits.list_length, "items": weight}, text, _NULL]}


def _answer(id_: dict[str, Any]) -> dict[str, Any]:
    scored = {"id": id_, "pctr": _PROBABILITY, "pcvr": _PROBABILITY, "pctcvr": _PROBABILITY}
    return {
        "type": "object",
        "required": ["model", "unseen_ids", "unseen", "candidates"],
        "properties": {
            "model": {
                "type": "object",
                "required": ["name", "version"],
                "properties": {"name": {"type": "string"}, "version": {"type": "string"}},
            },
            "unseen_ids": {"type": "integer", "description": "Ids that the model does not know, and missing numbers."},
            "unseen": {
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "description": "The same by field.",
            },
            "candidates": {
                "type": "array",
                "items": {"type": "object", "required": list(scored), "properties": scored},
            },
        },
    }


def _error() -> dict[str, Any]:
    text, maybe = {"type": "string"}, {"type": ["string", "null"]}
    properties = {
        "code": {"enum": list(CODES)},
        "must": {**text, "description": "What must hold."},
        "came": {**text, "description": "What came instead."},
        "where": {**maybe, "description": "The place in the request, such as candidates[3].price."},
        "do": {**maybe, "description": "What to do about it."},
    }
    error = {"type": "object", "required": list(properties), "properties": properties}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _responses(schema: str, *statuses: int) -> dict[str, Any]:
    json = "application/json"
    good = {"description": "Done", "content": {json: {"schema": {"$ref": _REF + schema}}}}
    found: dict[str, Any] = {"200": good}
    for status in statuses:
        meaning = "; ".join(f"{name}: {code.meaning}" for name, code in CODES.items() if code.status == status)
        found[str(status)] = {"description": meaning, "content": {json: {"schema": {"$ref": _REF + "Error"}}}}
    return found


def _plain(summary: str, name: str, *others: int) -> dict[str, Any]:
    schema = {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}
    content = {"application/json": {"schema": schema}}
    responses: dict[str, Any] = {"200": {"description": "Yes", "content": content}}
    responses |= _error_responses(others)
    return {"summary": summary, "operationId": name, "responses": responses}


def _error_responses(statuses: tuple[int, ...]) -> dict[str, Any]:
    return {key: value for key, value in _responses("Error", *statuses).items() if key != "200"}
