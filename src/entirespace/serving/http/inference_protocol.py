"""/v2: the Open Inference Protocol (KServe, Triton), with raw values.

Each column is one input: `user_id`, `user.COLUMN` and `context.COLUMN` with 1 or N values, `candidate.id` and
`candidate.COLUMN` with N values. Ids, lists of ids ("[1, 2]"), times and weights are BYTES, numbers are FP64; other
types are accepted, too. An input that is not sent, an empty text and NaN are missing. The outputs are FP32 of N.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
from fastapi import FastAPI, Request, Response

from ..._version import __version__
from ..inputs import OUTPUTS
from ..ranker import Ranked
from ..requests import BadRequest, RequestForm, Sent
from ..requests import Request as Asked
from .errors import ApiError
from .models import Model
from .server import Server, decoded, json_response
from .tensors import bad, values

LENGTH = "inference-header-content-length"
EXTENSIONS = ("binary_tensor_data",)


def add(app: FastAPI, server: Server) -> None:
    """Add the pages of the protocol to an app."""

    def named(name: str, version: str | None = None) -> Model:
        model = server.model
        if name != slug(model) or version not in (None, model.version):
            must = f"the model must be '{slug(model)}', version '{model.version}'"
            raise ApiError("not_found", must, f"'{name[:80]}', version {version or 'not given'}")
        return model

    @app.get("/v2", include_in_schema=False)
    async def about() -> Response:
        return json_response({"name": "entirespace", "version": __version__, "extensions": EXTENSIONS})

    @app.get("/v2/health/live", include_in_schema=False)
    async def live() -> Response:
        return json_response({"live": True})

    @app.get("/v2/health/ready", include_in_schema=False)
    async def ready() -> Response:
        server.check_ready()
        return json_response({"ready": True})

    for prefix in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):

        @app.get(prefix, include_in_schema=False)
        async def metadata(name: str, version: str | None = None) -> Response:
            return json_response(described(named(name, version)))

        @app.get(f"{prefix}/ready", include_in_schema=False)
        async def model_ready(name: str, version: str | None = None) -> Response:
            server.check_ready()
            model = named(name, version)
            return json_response({"name": slug(model), "ready": True})

        @app.post(f"{prefix}/infer", include_in_schema=False)
        async def infer(request: Request, name: str, version: str | None = None) -> Response:
            model = named(name, version)
            if request.headers.get("content-encoding", "identity") != "identity":
                raise ApiError("not_a_json_request", "a body must not be compressed", "it is")
            body, length = await request.body(), request.headers.get(LENGTH)
            content, headers = await server.run(lambda: _infer(server, model, body, length))
            return Response(content, headers=headers)


def slug(model: Model) -> str:
    """The name of a model in addresses."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", model.name).strip("-") or "model"


def described(model: Model) -> dict[str, Any]:
    """The metadata of a model."""
    inputs = [
        {"name": name, "datatype": "FP64" if sent is not None and sent.holds == "number" else "BYTES", "shape": [-1]}
        for name, (_, sent) in columns(model.ranker.form).items()
    ]
    return {
        "name": slug(model),
        "versions": [model.version],
        "platform": "entirespace",
        "inputs": inputs,
        "outputs": [{"name": name, "datatype": "FP32", "shape": [-1]} for name in OUTPUTS],
    }


def columns(form: RequestForm) -> dict[str, tuple[bool, Sent | None]]:
    """Input -> (whether it is the candidate's, its column; None: the ids of users or items)."""
    found: dict[str, tuple[bool, Sent | None]] = {"user_id": (False, None), "candidate.id": (True, None)}
    for place, named in form.columns.items():
        found |= {f"{place}.{name}": (place == "candidate", sent) for name, sent in named.items()}
    return found


def _infer(server: Server, model: Model, body: bytes, length: str | None) -> tuple[bytes, dict[str, str]]:
    head, tail = body, memoryview(b"")
    if length is not None:
        if not length.isdigit() or int(length) > len(body):
            raise bad("Inference-Header-Content-Length must be the bytes of the JSON", length[:40], "the header")
        head, tail = body[: int(length)], memoryview(body)[int(length) :]
    asked = decoded(head)
    if not isinstance(asked, dict) or not isinstance(asked.get("inputs"), list):
        raise bad("a request must be an object with a list of inputs", "there are none", "body")
    tensors: dict[str, list[Any]] = {}
    start = 0
    for i, tensor in enumerate(asked["inputs"]):
        name, found, start = values(tensor, tail, start, f"inputs[{i}]")
        if name in tensors:
            raise bad("an input must be sent once", f"'{name[:80]}' twice", f"inputs[{i}]")
        tensors[name] = found
    if start != len(tail):
        must = "binary data must be those of the inputs, in their order"
        raise bad(must, f"{len(tail) - start:,} bytes are left over", "body")
    wanted = _outputs(asked)
    found = server.ranked(model, lambda: model.ranker.rank(_request(server, model, tensors)))
    return _answer(model, asked, found, wanted)


def _request(server: Server, model: Model, tensors: dict[str, list[Any]]) -> Asked:
    form, limits = model.ranker.form, server.limits
    known, request, candidate = columns(form), dict[Any, list[Any]](), dict[Any, list[Any]]()
    sizes: dict[str, int] = {}
    for name, found in tensors.items():
        if name not in known:
            listed = ", ".join(list(known)[:30])
            raise BadRequest(f"an input must be one of the model's: {listed}", f"'{name[:80]}'", "inputs")
        of_candidate, sent = known[name]
        sizes[name] = len(found)
        checked = sent or Sent(name, "candidate", "id", form.item if of_candidate else form.user)
        form.check(checked, found, limits.list_length, lambda i, name=name: f"inputs '{name}', value {i}")
        place = candidate if of_candidate else request
        for of in checked.of:
            if sent is None and of in place:
                continue  # the column itself was sent, too
            place[of] = found
    n = max(sizes.values(), default=0)
    if n > limits.candidates:
        must = f"a request must have at most {limits.candidates:,} candidates"
        raise BadRequest(must, f"{n:,}", "inputs", None, "too_many")
    for name, size in sizes.items():
        if size != n and (known[name][0] or size != 1):
            must = f"all inputs must have {n:,} values{'' if known[name][0] else ', or 1'}"
            raise BadRequest(must, f"{size:,}", f"inputs '{name}'", None, "contradiction")
    rows = n if n > 1 and any(len(found) > 1 for found in request.values()) else 1
    request = {of: found * rows if len(found) < rows else found for of, found in request.items()}
    return Asked(tensors.get("candidate.id", [None] * n), request, candidate, rows)


def _outputs(asked: dict[str, Any]) -> dict[str, bool]:
    """Output -> whether it is wanted in binary form."""
    parameters = asked.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise bad("parameters must be an object", parameters, "parameters")
    every = parameters.get("binary_data_output") is True
    outputs = asked.get("outputs")
    if outputs is None or outputs == []:
        return dict.fromkeys(OUTPUTS, every)
    found: dict[str, bool] = {}
    for i, output in enumerate(outputs if isinstance(outputs, list) else [outputs]):
        name = output.get("name") if isinstance(output, dict) else None
        more = output.get("parameters") or {} if isinstance(output, dict) else {}
        if name not in OUTPUTS or not isinstance(more, dict):
            raise bad(f"an output must be {', '.join(OUTPUTS)}", name, f"outputs[{i}]")
        if "classification" in more or "shared_memory_region" in more:
            raise bad("an output must have no classification and no shared memory", "it has", f"outputs[{i}]")
        found[name] = more.get("binary_data", every) is True
    return found


def _answer(
    model: Model, asked: dict[str, Any], found: Ranked, wanted: dict[str, bool]
) -> tuple[bytes, dict[str, str]]:
    outputs, tail = list[dict[str, Any]](), list[bytes]()
    for name, binary in wanted.items():
        scores = np.asarray(getattr(found, name), "<f4")
        output: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": [len(scores)]}
        if binary:
            tail.append(scores.tobytes())
            output["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            output["data"] = scores.tolist()
        outputs.append(output)
    answer: dict[str, Any] = {"model_name": slug(model), "model_version": model.version, "outputs": outputs}
    if isinstance(asked.get("id"), str):
        answer["id"] = asked["id"]
    answer["parameters"] = {"unseen_ids": found.unseen_ids}
    head = msgspec.json.encode(answer)
    if not tail:
        return head, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", LENGTH: str(len(head))}
    return b"".join([head, *tail]), headers
