"""entirespace serve BUNDLE|MODELS_DIR"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer


def command(
    models: Annotated[
        Path,
        typer.Argument(
            help="A bundle, made by `entirespace export`; or a folder that holds a bundle for each version.",
            metavar="BUNDLE|MODELS_DIR",
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0: any that is free.", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes. They share the memory of the bundle.", min=1)] = 1,
    threads: Annotated[int, typer.Option(help="Threads that score one request.", min=1)] = 1,
    token_env: Annotated[
        str | None,
        typer.Option(help="The variable of the environment that holds the bearer token of requests."),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="The same, but the file that holds the token.")] = None,
    max_body: Annotated[int, typer.Option(help="The most bytes of a body.", min=1024)] = 8 << 20,
    max_candidates: Annotated[int, typer.Option(help="The most candidates of a request.", min=1)] = 5000,
    max_list: Annotated[int, typer.Option(help="The most values of a list.", min=1)] = 1000,
    max_seconds: Annotated[float, typer.Option(help="The most time that a request may take.", min=0.001)] = 30,
    reload_seconds: Annotated[
        float, typer.Option(help="How often MODELS_DIR is looked at for another version.", min=0.05)
    ] = 1.0,
    grace: Annotated[
        float, typer.Option(help="Seconds that the server still listens after SIGTERM, while it is not ready.", min=0)
    ] = 0.5,
) -> None:
    """Score raw rows over HTTP: pctr, pcvr and pctcvr of the candidates of a request, without torch.

    POST /v1/rank takes {"user_id": ..., "user": {...}, "context": {...}, "candidates": [{"id": ..., ...}, ...]}. The
    page /docs shows what the bundle reads, with examples. Of a folder of versions the highest that is whole is
    served, and another one is swapped in without a pause. SIGTERM finishes what is in flight.

    \b
    entirespace serve bundles/esmm --workers 2
    curl localhost:8000/v1/rank -H 'content-type: application/json' -d '{"user_id": "u1", "candidates": ["v1", "v2"]}'
    """
    from ..errors import ConfigError

    if token_env is not None and token_file is not None:
        raise typer.BadParameter("--token-env and --token-file exclude each other")
    for name in ("fastapi", "uvicorn", "prometheus_client", "msgspec", "onnxruntime"):
        if find_spec(name) is None:
            must, do = "`serve` needs the packages of entirespace[serve]", "pip install 'entirespace[serve]'"
            raise ConfigError(must, f"{name} is not installed", do=do)
    from ..serving.http.limits import Limits
    from ..serving.http.serve import Settings, serve, token_of

    limits = Limits(max_body, max_candidates, max_list, max_seconds)
    token = token_of(token_env, token_file)
    serve(Settings(models, host, port, workers, threads, limits, token, reload_seconds, grace))
