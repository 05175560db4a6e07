"""entirespace export RUN BUNDLE"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Quiet, ReferenceRun, RunMethod, run_method, show
from .progress import progress_on_stderr


def command(
    run: Annotated[Path, typer.Argument(help="A run's folder, made by `entirespace train`.", metavar="RUN")],
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder; must be new or empty.", metavar="BUNDLE")],
    request: Annotated[
        str | None,
        typer.Option(
            help="The fields that are the same for all candidates of a request (default: those that the schema names, "
            "or all but the item's).",
            metavar="FIELD,...",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the bundle in BUNDLE. The folder must hold nothing else.")
    ] = False,
    reference: ReferenceRun = None,
    method: RunMethod = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Freeze a run as a bundle: a folder that scores raw rows without torch, and that `serve` puts behind HTTP.

    The bundle holds the network as an ONNX program, with the calibration and, if the method has no pCTR, the reference
    CTR network inside; the encoders and counts; a model card; and the SHA-256 of every file. Export stops with an error
    unless the bundle gives the scores of the run, to 1e-6, for 10,000 random rows in batches of many sizes.

    \b
    entirespace export runs/esmm bundles/esmm
    entirespace score bundles/esmm tomorrow.csv -o scored.csv
    """
    from ..runs.run import Run

    ctr = None if reference is None else Run.open(reference)
    trained = Run.open(run, reference=ctr, method=run_method(method, run))
    names = None if request is None else [name.strip() for name in request.split(",") if name.strip()]
    with progress_on_stderr(quiet) as progress:
        made = trained.export(bundle, request=names, force=force, progress=progress)
    about = made.manifest
    largest, sides = about.parity.largest, about.inputs
    text = (
        f"{bundle}: {about.name}, {sum(file.bytes for file in about.files.values()) / 1e6:,.1f} MB\n"
        f"fields of a request: {len(sides.request.fields)}, of each candidate: {len(sides.candidate.fields)}\n"
        f"the scores of {about.parity.rows:,} random rows are those of the run, to {largest:.1g}\n"
        f"next: entirespace score {bundle} ROWS -o OUT"
    )
    show(text, {"bundle": str(bundle), **about.as_dict()}, as_json)
