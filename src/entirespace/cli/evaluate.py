"""entirespace evaluate RUN DATASET"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import DatasetFolder, Json, Quiet, show
from .progress import progress_on_stderr


class PartName(StrEnum):
    train = "train"
    validation = "validation"
    test = "test"


def command(
    run: Annotated[Path, typer.Argument(help="A run, as `entirespace train` makes it.", metavar="RUN")],
    dataset: DatasetFolder,
    part: Annotated[PartName, typer.Option(help="The part to evaluate on.")] = PartName.test,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """AUC, log loss and predicted over observed: CTR, CVR on clicked impressions, CTCVR on all.

    CTCVR is measured with the pCTR of the reference CTR network, as in the paper, and with the method's own.
    """
    from ..data.dataset import Dataset
    from ..evaluation.protocol import evaluate
    from ..training import Run

    data = Dataset(dataset)
    trained = Run.open(run, data)
    with progress_on_stderr(quiet) as progress:
        evaluation = evaluate(trained, getattr(data, part.value), progress)
    title = f"{run}: {trained.method.label}, seed {trained.seed}, "
    show(title + str(evaluation), {"run": str(run), "method": trained.method.spec(), **evaluation.as_dict()}, as_json)
