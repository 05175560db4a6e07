"""What the OpenAPI page says is what the server does: schemathesis sends requests that fit the page, and ones that do
not, with all its checks."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from requested import Asked

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is absent")
pytest.importorskip("fastapi", reason="fastapi is absent: pip install 'entirespace[serve]'")


def asked(folder) -> Asked:
    from entirespace.serving.http.models import Models
    from entirespace.serving.http.server import Server

    return Asked(Server(Models(folder)))


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_the_page_says_what_the_server_does(exported, mode):
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_asgi("/openapi.json", asked(exported[1]).guard)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert [operation.path for operation in operations] == ["/v1/rank", "/v1/model", "/health/live", "/health/ready"]
    statuses: list[int] = []
    for operation in operations[: 1 if mode == "NEGATIVE" else None]:

        @given(case=operation.as_strategy(generation_mode=GenerationMode[mode]))
        @settings(
            max_examples=25 if operation.path == "/v1/rank" else 2,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case):
            response = case.call()
            statuses.append(response.status_code)
            case.validate_response(response)

        check()
    if mode == "POSITIVE":
        assert statuses.count(200) > 15
    else:
        assert set(statuses) <= {400, 409, 413, 415, 422}
