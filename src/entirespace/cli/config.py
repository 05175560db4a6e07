"""entirespace config METHOD"""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigFile, Json, Settings, command_line, configuration, show


def command(
    method: Annotated[str, typer.Argument(help="A method's name; `entirespace methods` lists them.", metavar="METHOD")],
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Print a method's full configuration as TOML, with an explanation of each value.

    Edit it and give it to `train` with --config.
    """
    from ..config import dump
    from ..methods import from_spec

    loaded, table = configuration(config, settings)
    with command_line():
        spec = from_spec({**table, "name": method}).spec()
    show(dump(loaded, spec).rstrip(), {"method": spec, **loaded.model_dump(mode="json")}, as_json)
