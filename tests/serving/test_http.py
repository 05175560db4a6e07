"""The pages of the server, through its ASGI app."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from requested import Asked, as_request, joined_rows

pytest.importorskip("fastapi", reason="fastapi is absent: pip install 'entirespace[serve]'")

from entirespace.serving.bundle import Bundle
from entirespace.serving.http.errors import CODES
from entirespace.serving.http.limits import Limits
from entirespace.serving.http.models import Models
from entirespace.serving.http.server import Server

NAMES = ("pctr", "pcvr", "pctcvr")


@pytest.fixture(scope="module")
def folder(exported):
    return exported[1]


@pytest.fixture(scope="module")
def ask(folder) -> Asked:
    return Asked(Server(Models(folder)))


def error_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert sorted(error) == ["came", "code", "do", "must", "where"]
    assert CODES[error["code"]].status == answer.status_code
    assert "Traceback" not in answer.text
    return error


def test_candidates_are_scored_in_their_order(ask, folder):
    body, plain = as_request(joined_rows()[:50])
    answer = ask("POST", "/v1/rank", json=body)
    assert answer.status_code == 200
    found, want = answer.json(), Bundle.open(folder).predict(plain)
    assert [each["id"] for each in found["candidates"]] == plain["vid"].to_list()
    for name in NAMES:
        np.testing.assert_allclose([e[name] for e in found["candidates"]], getattr(want, name), rtol=0, atol=1e-6)
    assert found["model"]["name"] == want_name(folder)
    assert found["unseen_ids"] == sum(found["unseen"].values())
    assert found["unseen"]["vid"] == want.unseen["vid"].unseen


def want_name(folder) -> str:
    return json.loads((folder / "manifest.json").read_text())["name"]


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("not_json", {"content": b"{"}),
        ("not_json", {"content": b""}),
        ("not_json", {"content": b'{"candidates": [1], "user": {"age": NaN}}'}),
        ("not_json", {"content": b'{"candidates": [1], "user": {"age": 1e999}}'}),
        ("not_json", {"content": b"\xff"}),
        ("not_json", {"content": b"[" * 100_000}),
        ("not_a_json_request", {"content": b"{}", "headers": {"content-type": "text/plain"}}),
        ("bad_request", {"json": {"candidates": [1], "user": {"age": "old"}}}),
        ("bad_request", {"json": [1]}),
        ("contradiction", {"json": {"candidates": [1], "user": {"liked": [1]}}}),
        ("too_many", {"json": {"candidates": [1] * 5001}}),
        ("too_large", {"content": b" " * (9 << 20)}),
    ],
)
def test_errors_are_documented_json(ask, code, options):
    options = {"headers": {"content-type": "application/json"}, **options}
    assert error_of(ask("POST", "/v1/rank", **options))["code"] == code


def test_a_body_of_unknown_length_is_bounded(ask):
    async def endless():
        for _ in range(200):
            yield b" " * 100_000

    assert error_of(ask("POST", "/v1/rank", content=endless()))["code"] == "too_large"


def test_pages_that_do_not_exist(ask):
    assert error_of(ask("GET", "/v3"))["code"] == "not_found"
    answer = ask("PUT", "/v1/rank")
    assert error_of(answer)["code"] == "not_allowed"
    assert answer.headers["allow"] == "POST"


def test_a_fault_of_the_server_shows_nothing(folder, monkeypatch, caplog):
    ask = Asked(Server(Models(folder)))

    def fails(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(type(ask.server.model.ranker), "rank", fails)
    answer = ask("POST", "/v1/rank", json={"candidates": [1]})
    error = error_of(answer)
    assert error["code"] == "internal"
    assert "secret" not in answer.text
    assert error["came"].split()[-1] in caplog.text
    assert "secret" in caplog.text


def test_a_slow_request_is_ended(folder, monkeypatch):
    ask = Asked(Server(Models(folder), limits=Limits(seconds=0.05)))
    import time

    monkeypatch.setattr(type(ask.server.model.ranker), "rank", lambda *_: time.sleep(0.4))
    assert error_of(ask("POST", "/v1/rank", json={"candidates": [1]}))["code"] == "too_slow"


def test_the_token(folder):
    ask = Asked(Server(Models(folder), token="correct horse"))
    body = {"candidates": [1]}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic correct horse"}):
        answer = ask("POST", "/v1/rank", json=body, headers=headers)
        assert error_of(answer)["code"] == "unauthorized"
        assert answer.headers["www-authenticate"] == "Bearer"
    good = {"authorization": "Bearer correct horse"}
    assert ask("POST", "/v1/rank", json=body, headers=good).status_code == 200
    assert ask("GET", "/metrics").status_code == 401
    assert ask("GET", "/health/live").status_code == 200


def test_health_and_model(folder):
    ask = Asked(Server(Models(folder)))
    assert ask("GET", "/health/live").json() == {"live": True}
    assert ask("GET", "/health/ready").json() == {"ready": True}
    ask.server.stopping = True
    assert error_of(ask("GET", "/health/ready"))["code"] == "not_ready"
    assert ask("POST", "/v1/rank", json={"candidates": [1]}).status_code == 200
    card = ask("GET", "/v1/model").json()
    assert card["raw_ids"]
    nothing = Asked(Server(Models(folder / "absent")))
    assert error_of(nothing("POST", "/v1/rank", json={"candidates": [1]}))["code"] == "not_ready"


def test_metrics(folder):
    ask = Asked(Server(Models(folder)))
    body, _ = as_request(joined_rows()[:50])
    for _ in range(3):
        ask("POST", "/v1/rank", json=body)
    ask("POST", "/v1/rank", json=[])
    text = ask("GET", "/metrics").text
    assert "entirespace_candidates_total 150.0" in text
    assert 'entirespace_errors_total{code="bad_request"} 1.0' in text
    assert 'entirespace_request_seconds_count{path="/v1/rank",status="200"} 3.0' in text
    assert 'entirespace_unseen_ids_total{field="vid"}' in text
    drift = [line for line in text.splitlines() if line.startswith("entirespace_score_drift{")]
    assert len(drift) == 3
    bins = [line for line in text.splitlines() if 'output="pctcvr"' in line and "scores_total" in line]
    assert sum(float(line.split()[-1]) for line in bins) == 150


def test_the_example_of_the_page_works(ask):
    page = ask("GET", "/openapi.json").json()
    content = page["paths"]["/v1/rank"]["post"]["requestBody"]["content"]["application/json"]
    example = content["examples"]["request"]["value"]
    answer = ask("POST", "/v1/rank", json=example)
    assert answer.status_code == 200
    assert {"uid", "vid", "city"}.isdisjoint(answer.json()["unseen"])
    assert ask("GET", "/docs").status_code == 200
