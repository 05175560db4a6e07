"""entirespace config METHOD"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFile, Json, PresetName, Settings, configuration, show, typed_method


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
            help="The dataset to train on: `best` depends on its size, and on whether it has a history. Absent: one "
            "with 100,000 training impressions and a history.",
            metavar="DATASET",
        ),
    ] = None,
    preset: PresetName = "best",
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Print a method's full configuration as TOML, with an explanation of each value.

    Edit it and give it to `train` with --config.
    """
    from ..config import dump
    from ..dataset.dataset import Dataset

    loaded, table = configuration(config, settings, preset, None if dataset is None else Dataset(dataset))
    spec = typed_method(method, table).candidates[0].spec()
    show(dump(loaded, spec).rstrip(), {"method": spec, **loaded.model_dump(mode="json")}, as_json)
