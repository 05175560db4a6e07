"""The Open Inference Protocol, with the requests that NVIDIA's client makes.

The HTTP client of `tritonclient` needs gevent and geventhttpclient. Where these are absent, empty modules stand in for
them: its own code makes the requests and reads the answers, and httpx sends them.
"""

from __future__ import annotations

import struct
import sys
import types

import numpy as np
import pytest
from requested import CONTEXT, ITEM, USER, Asked, as_request, joined_rows

pytest.importorskip("tritonclient", reason="tritonclient is absent")

from entirespace.serving.bundle import Bundle
from entirespace.serving.http.models import Models
from entirespace.serving.http.server import Server

NAMES = ("pctr", "pcvr", "pctcvr")


@pytest.fixture(scope="module")
def client():
    """(InferInput, InferRequestedOutput, InferResult, the function that makes a request)."""
    pytest.importorskip("rapidjson", reason="python-rapidjson is absent")
    patch = pytest.MonkeyPatch()
    for name in ("gevent", "gevent.pool", "geventhttpclient", "geventhttpclient.url"):
        try:
            __import__(name)
        except ImportError:
            module = types.ModuleType(name)
            module.HTTPClient = module.URL = module.pool = module.Pool = object  # type: ignore[attr-defined]
            patch.setitem(sys.modules, name, module)
    import tritonclient.http as http
    from tritonclient.http._utils import _get_inference_request

    yield http.InferInput, http.InferRequestedOutput, http.InferResult, _get_inference_request
    patch.undo()


@pytest.fixture(scope="module")
def ask(exported) -> Asked:
    return Asked(Server(Models(exported[1])))


@pytest.fixture(scope="module")
def name(ask) -> str:
    metadata = ask("GET", "/v2").json()
    assert metadata["extensions"] == ["binary_tensor_data"]
    from entirespace.serving.http.inference_protocol import slug

    return slug(ask.server.model)


def tensor(make, name, values, binary):
    numbers = all(value is None or isinstance(value, int | float) for value in values) and not name.endswith("id")
    if numbers and (binary or None not in values):  # JSON has no NaN
        array, kind = np.array([np.nan if value is None else value for value in values], np.float64), "FP64"
    else:
        texts = ["" if value is None else str(value) for value in values]
        array, kind = np.array([text.encode() for text in texts], np.object_), "BYTES"
    found = make(name, [len(values)], kind)
    found.set_data_from_numpy(array, binary_data=binary)
    return found


def request_of(made, inputs, outputs):
    return made(inputs, "r1", outputs, 0, False, False, 0, None, None)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("plain_rows", [True, False])
def test_scores_are_those_of_data_frames(ask, name, client, exported, binary, plain_rows):
    Input, Output, Result, made = client
    rows = joined_rows()[:40]
    body, plain = as_request(rows)
    if plain_rows:
        plain = rows
    count = len(rows) if plain_rows else 1
    some = plain.to_dicts()
    inputs = [tensor(Input, "candidate.id", plain["vid"].to_list(), binary)]
    for place, names in (("user", USER), ("context", CONTEXT)):
        inputs += [tensor(Input, f"{place}.{n}", [row[n] for row in some[:count]], binary) for n in names]
    inputs += [tensor(Input, f"candidate.{n}", [row[n] for row in some], binary) for n in ITEM if n != "vid"]
    outputs = [Output(n, binary_data=binary) for n in NAMES]
    content, length = request_of(made, inputs, outputs)
    headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
    answer = ask("POST", f"/v2/models/{name}/infer", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    found = Result.from_response_body(
        answer.content, header_length=answer.headers.get("inference-header-content-length")
    )
    want = Bundle.open(exported[1]).predict(plain)
    for n in NAMES:
        np.testing.assert_allclose(found.as_numpy(n), getattr(want, n), rtol=0, atol=1e-6)
    assert found.get_response()["id"] == "r1"
    assert body["candidates"]


def test_metadata_and_health(ask, name):
    about = ask("GET", f"/v2/models/{name}").json()
    version = about["versions"][0]
    types = {each["name"]: each["datatype"] for each in about["inputs"]}
    assert types["user.age"] == "FP64"
    assert types["context.words"] == "BYTES"
    assert [each["name"] for each in about["outputs"]] == list(NAMES)
    for path in (f"/v2/models/{name}/versions/{version}", f"/v2/models/{name}/ready", "/v2/health/ready"):
        assert ask("GET", path).status_code == 200
    for path in ("/v2/models/other", f"/v2/models/{name}/versions/other/ready"):
        answer = ask("GET", path)
        assert answer.status_code == 404
        assert isinstance(answer.json()["error"], str)
        assert answer.json()["details"]["code"] == "not_found"


def of(name, datatype, data, shape=None, **parameters):
    found = {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}
    return found | ({"parameters": parameters} if parameters else {})


IDS = of("candidate.id", "BYTES", ["1", "2"])


@pytest.mark.parametrize(
    ("body", "must"),
    [
        ({}, "a list of inputs"),
        ({"inputs": [1]}, "must be an object with a name"),
        ({"inputs": [of("candidate.id", "TEXT", ["1"])]}, "datatype must be"),
        ({"inputs": [of("candidate.id", "BYTES", ["1"], [2])]}, "must have 2 values"),
        ({"inputs": [of("candidate.id", "BYTES", ["1"], [1, 2])]}, r"shape must be"),
        ({"inputs": [of("candidate.id", "BYTES", [1])]}, "values of type BYTES"),
        ({"inputs": [of("candidate.idd", "BYTES", ["1"])]}, "one of the model's"),
        ({"inputs": [IDS, IDS]}, "sent once"),
        ({"inputs": [IDS, of("user.age", "FP64", [1, 2, 3])]}, "must have 3 values"),
        ({"inputs": [IDS, of("user.age", "BYTES", ["old"])]}, "'age' must hold a number"),
        ({"inputs": [IDS], "outputs": [{"name": "p"}]}, "an output must be pctr"),
        ({"inputs": [of("candidate.id", "INT64", [1], shared_memory_region="x")]}, "shared memory"),
    ],
)
def test_faults_are_named(ask, name, body, must):
    answer = ask("POST", f"/v2/models/{name}/infer", json=body)
    assert answer.status_code in (409, 422)
    assert must in answer.json()["error"]


def test_binary_sizes_must_be_exact(ask, name):
    import json

    def sent(tail: bytes, size: int, datatype: str = "BYTES", shape: int = 1) -> str:
        about = {"name": "candidate.id", "shape": [shape], "datatype": datatype}
        head = json.dumps({"inputs": [about | {"parameters": {"binary_data_size": size}}]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        answer = ask("POST", f"/v2/models/{name}/infer", content=head + tail, headers=headers)
        return answer.json()["error"] if answer.status_code != 200 else "good"

    one = struct.pack("<I", 1) + b"7"
    assert sent(one, 5) == "good"
    assert sent(struct.pack("<q", 7), 8, "INT64") == "good"
    assert "left over" in sent(one + b"x", 5)
    assert "binary_data_size" in sent(one, 6)
    assert "must be whole" in sent(struct.pack("<I", 9) + b"7", 5)
    assert "4 bytes" in sent(one + b"xx", 7, shape=2)
    assert "whole values" in sent(b"1234567", 7, "INT64")
    assert "finite" in sent(struct.pack("<d", float("inf")), 8, "FP64")
    assert "UTF-8" in sent(struct.pack("<I", 1) + b"\xff", 5)
