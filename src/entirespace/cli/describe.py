"""entirespace describe DATASET"""

from __future__ import annotations

from typing import Annotated

import typer

from .options import DatasetFolder, Json, show


def command(
    dataset: DatasetFolder,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and check its SHA-256 first.")] = False,
    as_json: Json = False,
) -> None:
    """The paper's Table 1 for your data, the fields with their vocabularies, the rates of the history, and the
    audit of the raw log."""
    from ..dataset.dataset import Dataset
    from ..dataset.describe import describe, text

    data = Dataset(dataset)
    if verify:
        data.verify()
    about = describe(data)
    show(text(about), about, as_json)
