"""entirespace prepare SCHEMA|aliccp RAW DATASET"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import AllowOutside, Json, MaxBad, OrphanRule, Quiet, command_line, show
from .progress import progress_on_stderr


class OnePart(StrEnum):
    train = "train"
    validation = "validation"
    test = "test"


def command(
    schema: Annotated[
        str,
        typer.Argument(
            help="A schema file, or the name of a public log: kuairand, aliexpress or aliccp.",
            metavar="SCHEMA|aliccp",
        ),
    ],
    raw: Annotated[Path, typer.Argument(help="The folder with the raw log.", metavar="RAW")],
    dataset: Annotated[Path, typer.Argument(help="The dataset's folder; must be new or empty.", metavar="DATASET")],
    encoders: Annotated[
        Path | None,
        typer.Option(
            help="Use the encoders (vocabularies, number knots) of this dataset or run: for a later log.",
            metavar="DATASET|RUN",
        ),
    ] = None,
    grow: Annotated[
        bool, typer.Option("--grow", help="With --encoders: add the new ids of the training part to the vocabularies.")
    ] = False,
    part: Annotated[
        OnePart | None, typer.Option(help="Put all rows into this part instead of splitting the log.")
    ] = None,
    unlabelled: Annotated[
        bool,
        typer.Option("--unlabelled", help="The log has no clicks and conversions yet."),
    ] = False,
    on_orphan: OrphanRule = "keep",
    max_bad: MaxBad = 0.001,
    min_count: Annotated[
        int | None,
        typer.Option(help="aliccp: ids in fewer training impressions count as unseen (default: 1).", min=1),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="aliccp: the share at the end of the training file to use as validation part (default: 0.1).",
            min=0,
            max=0.9,
        ),
    ] = None,
    history: Annotated[
        str,
        typer.Option(
            help="aliccp: fields by whose ids clicks and conversions are counted, such as 101,205,207; or all. Their "
            "rates are fields, too.",
            metavar="FIELD,...",
        ),
    ] = "",
    allow_outside: AllowOutside = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the dataset in DATASET. The folder must hold nothing else.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prepare raw logs: parse, audit, split in time, fit vocabularies on the training part, write a dataset.

    Bad lines are written to DATASET/quarantine.csv with file and line number. If there are too many of them, prepare
    stops with an error and writes no dataset.

    To use a trained model on a later log: prepare SCHEMA RAW DATASET --encoders RUN --part test. Then `evaluate` and
    `score` accept the dataset. With --unlabelled the log needs no clicks and conversions.
    """
    from ..dataset.describe import describe, text
    from ..dataset.prepare import ALICCP, prepare, schema_file

    if schema != ALICCP:
        if not (min_count is None and validation is None and not history):
            must = "--min-count, --validation and --history are for aliccp: a schema file has its own values"
            raise typer.BadParameter(must)
        with command_line():
            schema_file(schema)
    if grow and encoders is None:
        raise typer.BadParameter("--grow needs --encoders")
    with progress_on_stderr(quiet) as progress:
        made = prepare(
            schema,
            raw,
            dataset,
            encoders=encoders,
            grow=grow,
            part=None if part is None else part.value,
            labelled=not unlabelled,
            on_orphan=on_orphan,
            max_bad=max_bad,
            min_count=min_count,
            validation=validation,
            history=[name.strip() for name in history.split(",") if name.strip()],
            allow_outside=allow_outside,
            force=force,
            progress=progress,
        )
    about = describe(made)
    show(text(about), about, as_json)
