"""entirespace config METHOD"""

from __future__ import annotations

from pathlib import Path
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
    dataset: Annotated[
        Path | None,
        typer.Argument(
            help="The dataset to train on: the preset `best` depends on its size, and on whether it has a history.",
            metavar="DATASET",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Where settings start (default: best for DATASET, or paper without one).", metavar="paper|best"
        ),
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Print a method's full configuration as TOML, with an explanation of each value.

    Edit it and give it to `train` with --config.
    """
    from ..config import dump
    from ..dataset.dataset import Dataset

    if preset == "best" and dataset is None:
        raise typer.BadParameter("the preset best depends on the dataset: give DATASET behind METHOD")
    configured, table = configuration(config, settings, preset or ("paper" if dataset is None else "best"))
    loaded = configured(None if dataset is None else Dataset(dataset))
    spec = typed_method(method, table).candidates[0].spec()
    show(dump(loaded, spec).rstrip(), {"method": spec, **loaded.model_dump(mode="json")}, as_json)
