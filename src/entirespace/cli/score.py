"""entirespace score RUN|BUNDLE ROWS... -o OUT"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .options import Json, Quiet, ReferenceRun, RunMethod, run_method, show
from .progress import progress_on_stderr

if TYPE_CHECKING:
    from ..scoring.score import Scorer


def command(
    run: Annotated[Path, typer.Argument(help="A run, made by `entirespace train`, or a bundle.", metavar="RUN|BUNDLE")],
    rows: Annotated[
        list[str],
        typer.Argument(
            help="Files of impressions: CSV (.csv, .csv.gz), JSON lines (.jsonl) or Parquet; - is standard input.",
            metavar="ROWS...",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "-o", "--out", help="The file to write, by its ending CSV, JSON lines or Parquet; - is standard output."
        ),
    ],
    side: Annotated[
        list[str] | None,
        typer.Option(
            help="The file of a side table (repeatable). Without it, ROWS must hold its columns.",
            metavar="NAME=FILE",
        ),
    ] = None,
    bad_rows: Annotated[
        Literal["error", "empty"],
        typer.Option(help="A row that cannot be read: stop with an error, or leave its scores empty."),
    ] = "error",
    format: Annotated[
        Literal["csv", "jsonl", "parquet"] | None,
        typer.Option(help="The format of ROWS, if their endings do not say it (needed for standard input)."),
    ] = None,
    out_format: Annotated[
        Literal["csv", "jsonl", "parquet"] | None,
        typer.Option(help="The format of OUT, if its ending does not say it."),
    ] = None,
    delimiter: Annotated[str, typer.Option(help="CSV: the character between two columns.")] = ",",
    columns: Annotated[
        str | None, typer.Option(help="CSV without a header: the names of its columns, separated by commas.")
    ] = None,
    skip: Annotated[int, typer.Option(min=0, help="CSV: how many lines to leave out at the beginning.")] = 0,
    encoding: Annotated[str, typer.Option(help="CSV, JSON lines: latin-1, windows-1252, utf-16, ...")] = "utf-8",
    multiline: Annotated[
        bool, typer.Option("--multiline", help="CSV: values in quotes may contain line ends.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
    reference: ReferenceRun = None,
    method: RunMethod = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add pctr, pcvr and pctcvr to rows: impressions in files or on standard input, with or without outcomes.

    All rows and columns are kept, in order. The rows need the columns that the run was trained on, named as in its log.
    The columns of a side table may be in the rows, or in another file (--side). Ids that the run has never seen are
    scored as "unseen" and counted.

    \b
    entirespace score runs/esmm tomorrow.csv --side user=users.csv -o scored.csv
    cat tomorrow.jsonl | entirespace score runs/esmm - --format jsonl -o -
    """
    from ..logs.csvform import CsvForm, is_encoding
    from ..scoring.score import score

    tables: dict[str, str] = {}
    for pair in side or ():
        name, equals, file = pair.partition("=")
        if not (name and equals and file):
            raise typer.BadParameter(f"--side must read NAME=FILE, however: '{pair}'")
        tables[name] = file
    if rows.count("-") > 1:
        raise typer.BadParameter("standard input (-) can be read once")
    if len(delimiter.encode()) != 1:
        raise typer.BadParameter(f"--delimiter must be one ASCII character, however: '{delimiter}'")
    if not is_encoding(encoding):
        raise typer.BadParameter(f"--encoding must be the name of an encoding, such as latin-1, however: '{encoding}'")
    if out != "-" and Path(out).is_file() and not force:
        raise typer.BadParameter(f"OUT must not exist: {out}. --force replaces it")
    scorer = _opened(run, reference, method)
    with progress_on_stderr(quiet) as progress:
        found = score(
            scorer,
            rows,
            out,
            tables=tables,
            bad_rows=bad_rows,
            format=format,
            out_format=out_format,
            form=CsvForm(delimiter, None if columns is None else tuple(columns.split(",")), skip, encoding, multiline),
            force=force,
            progress=progress,
        )
    show(f"{out}: {found}", {"run": str(run), "out": out, **found.as_dict()}, as_json, to_stderr=out == "-")


def _opened(folder: Path, reference: Path | None, method: str | None) -> Scorer:
    """The run or the bundle in a folder. A bundle is opened without torch."""
    from ..serving.manifest import is_bundle

    if not is_bundle(folder):
        from ..runs.run import Run

        ctr = None if reference is None else Run.open(reference)
        return Run.open(folder, reference=ctr, method=run_method(method, folder))
    if reference is not None or method is not None:
        raise typer.BadParameter("--reference and --method are for runs: a bundle holds all that it needs")
    from ..serving.bundle import Bundle

    return Bundle.open(folder)
