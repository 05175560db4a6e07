"""entirespace update RUN|DATASET LOG"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import AllowOutside, Json, MaxBad, OrphanRule, Quiet, show
from .progress import progress_on_stderr


def command(
    target: Annotated[
        Path, typer.Argument(help="A run, or a dataset, with a history.", metavar="RUN|DATASET", show_default=False)
    ],
    log: Annotated[Path, typer.Argument(help="The folder with the raw log of the new day.", metavar="LOG")],
    schema: Annotated[
        str | None,
        typer.Option(
            help="The log's schema file (default: the one that the history was prepared with).", metavar="SCHEMA"
        ),
    ] = None,
    on_orphan: OrphanRule = "keep",
    max_bad: MaxBad = 0.001,
    allow_outside: AllowOutside = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add a day's clicks and conversions to the counts of a history, without preparing or training again.

    From then on, `score` and `predict` know them. The dataset's own impressions keep their rates.

    An impression that is counted already is not counted twice. It is known by its content: its fields, its keys and its
    time, but no outcome; of equal ones, by their number. So a log may overlap the one before.
    """
    from ..logs.audit import report
    from ..runs.update import update

    with progress_on_stderr(quiet) as progress:
        found = update(
            target,
            log,
            schema=schema,
            on_orphan=on_orphan,
            max_bad=max_bad,
            allow_outside=allow_outside,
            progress=progress,
        )
    lines = [f"{target}: {found.added:,} impressions added"]
    lines += [f"  {found.repeated:,} were counted already"] if found.repeated else []
    lines += [f"  {found.early:,} are not counted yet, because of the delay of [history]"] if found.early else []
    lines.append(f"counts: {found.before[:12]} -> {found.state[:12]}")
    show("\n".join([*lines, "", report(found.audit)]), {"target": str(target), **asdict(found)}, as_json)
