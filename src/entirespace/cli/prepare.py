"""entirespace prepare SCHEMA|aliccp RAW DATASET"""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from .options import Json, Quiet, command_line, show
from .progress import progress_on_stderr

ALICCP = "aliccp"


class OnOrphan(StrEnum):
    keep = "keep"
    drop = "drop"
    error = "error"


def command(
    schema: Annotated[
        str,
        typer.Argument(
            help="A schema file, a recipe that comes with the package (kuairand, aliexpress), or the word aliccp.",
            metavar="SCHEMA|aliccp",
        ),
    ],
    raw: Annotated[Path, typer.Argument(help="The folder with the raw log.", metavar="RAW")],
    dataset: Annotated[Path, typer.Argument(help="The dataset's folder; new or empty.", metavar="DATASET")],
    on_orphan: Annotated[
        OnOrphan, typer.Option(help="A conversion without a click: keep (z := y & z), drop the row, or error.")
    ] = OnOrphan.keep,
    max_bad: Annotated[float, typer.Option(help="Share of rows that may be put aside as bad.", min=0, max=1)] = 0.001,
    min_count: Annotated[
        int | None,
        typer.Option(help="aliccp: an id in fewer training impressions shares its field's row 0 (default: 1).", min=1),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(help="aliccp: the last share of the training file that validates (default: 0.1).", min=0, max=0.9),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the dataset that is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prepare raw logs: parse, audit, split in time, fit vocabularies on the training part, write a dataset.

    Bad lines are put into DATASET/quarantine.csv with file and line; too many of them end with an error, and
    nothing half-made is left.
    """
    from ..dataset.describe import describe, text
    from ..dataset.prepare import prepare

    if schema != ALICCP and not (min_count is None and validation is None):
        raise typer.BadParameter("--min-count and --validation go with aliccp: a schema file says them itself")
    with progress_on_stderr(quiet) as progress:
        if schema == ALICCP:
            from ..logs.aliccp.source import AliCCPSource
            from ..logs.schema import SplitSchema

            least, share = min_count or 1, 0.1 if validation is None else validation
            if not raw.is_dir():
                raise ConfigError("RAW must be the folder with the raw log", "no such folder", where=str(raw))
            if (raw / "sample_skeleton_test.csv").exists():
                split = SplitSchema(by="file", train=("*_train.csv",), test=("*_test.csv",), validation=share)
            else:  # the training pair alone: its first half trains
                split = SplitSchema(validation=share)
            made = prepare(
                lambda audit, quarantine: AliCCPSource(
                    raw, audit, quarantine, on_orphan=on_orphan.value, min_count=least, progress=progress
                ),
                dataset,
                split=split,
                schema={"aliccp": {"min_count": least}, "split": split.model_dump(mode="json")},
                max_bad=max_bad,
                force=force,
                progress=progress,
            )
        else:
            from ..logs.schema import read_schema
            from ..logs.star import LogSource

            with command_line():
                file = _schema_file(schema)
            log = read_schema(file)
            made = prepare(
                lambda audit, quarantine: LogSource(
                    log, raw, audit, quarantine, on_orphan=on_orphan.value, progress=progress
                ),
                dataset,
                split=log.split,
                schema=log.model_dump(mode="json", by_alias=True, exclude_none=True),
                max_bad=max_bad,
                force=force,
                progress=progress,
            )
    about = describe(made)
    show(text(about), about, as_json)


def _schema_file(name: str) -> Path:
    """A file, or the recipe of that name that comes with the package."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():  # a folder of that name may be the dataset of an earlier run
        return path
    here = Path(str(files("entirespace.recipes")))
    recipes = {p.stem: p for p in here.glob("*.toml")}
    if name not in recipes:
        from ..config import nearest

        must = "SCHEMA must be a schema file, a recipe's name or the word aliccp"
        raise ConfigError(must, f"'{name}'", do=nearest(name, [*recipes, ALICCP]))
    return recipes[name]
