"""entirespace config METHOD"""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigFile, Json, Settings, configuration, show, typed_method


def command(
    method: Annotated[
        str,
        typer.Argument(
            help="A method's name, such as ESMM or 'AMAN(rate=0.5)'; `entirespace methods` lists them.",
            metavar="METHOD",
        ),
    ],
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Print a method's full configuration as TOML, with an explanation of each value.

    Edit it and give it to `train` with --config.
    """
    from ..config import dump

    loaded, table = configuration(config, settings)
    spec = typed_method(method, table).candidates[0].spec()
    show(dump(loaded, spec).rstrip(), {"method": spec, **loaded.model_dump(mode="json")}, as_json)
