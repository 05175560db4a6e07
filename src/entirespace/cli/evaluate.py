"""entirespace evaluate RUN DATASET"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import DatasetFolder, Json, Quiet, ReferenceRun, RunMethod, command_line, members_of, run_method, show
from .progress import progress_on_stderr


class PartName(StrEnum):
    train = "train"
    validation = "validation"
    test = "test"


class Counts(StrEnum):
    frozen = "frozen"
    online = "online"


class Calibrator(StrEnum):
    auto = "auto"
    temperature = "temperature"
    isotonic = "isotonic"
    platt = "platt"
    none = "none"


def command(
    run: Annotated[Path, typer.Argument(help="A run's folder, made by `entirespace train`.", metavar="RUN")],
    dataset: DatasetFolder,
    part: Annotated[PartName, typer.Option(help="The part to evaluate on.")] = PartName.test,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also report calibration by the values of this field (repeatable).", metavar="FIELD"),
    ] = None,
    calibrate: Annotated[
        Calibrator | None,
        typer.Option(
            help="Fit this kind of calibrator on the validation part, with training.refit on the scores that RUN keeps "
            "of it. auto: temperature or Platt, where it lowers the log loss over folds of that part. none: do not "
            "calibrate. Clicks can calibrate pCVR on clicked impressions only."
        ),
    ] = None,
    negatives_kept: Annotated[
        float | None,
        typer.Option(
            help="The share of un-clicked impressions that the log kept: correct pCTR and pCTCVR for it.", metavar="r"
        ),
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Store the calibration of --calibrate and --negatives-kept in RUN.")
    ] = False,
    history: Annotated[
        Counts,
        typer.Option(
            help="The rates of the history that impressions know. frozen: those of the dataset. online: also the "
            "outcomes of strictly earlier impressions of the part, as if counts were updated after each of them."
        ),
    ] = Counts.frozen,
    reference: ReferenceRun = None,
    method: RunMethod = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """AUC, log loss and calibration, overall and by segment: CTR, CVR on clicked impressions, CTCVR on all.

    CTCVR is measured with the pCTR of the reference CTR network, as in the paper, and with the method's own pCTR.

    A calibration that is stored in RUN is applied. --calibrate and --negatives-kept change it for this evaluation only;
    with --save, the changed calibration is stored in RUN.

    Calibrators follow the validation part: if click or conversion rates move afterwards, they are off by as much. And
    pCVR is calibrated on clicked impressions, because conversions of others are not observed. Those that are not
    clicked can be of another kind, and there the same calibrator may make pCVR better or worse.
    """
    from ..dataset.dataset import Dataset, Part
    from ..experiments.protocol import evaluate
    from ..metrics.segments import checked_field
    from ..training import Run

    if save and calibrate is None and negatives_kept is None:
        raise typer.BadParameter("--save needs --calibrate or --negatives-kept, whose calibration it stores")
    data = Dataset(dataset)
    ctr = None if reference is None else Run.open(reference)
    trained = Run.open(run, reference=ctr, method=run_method(method, run))
    with progress_on_stderr(quiet) as progress, command_line():
        for name in by or ():
            checked_field(data.test, name)
        if calibrate is not None or negatives_kept is not None:
            kind = None if calibrate is None else calibrate.value
            known = None if trained.learned_from(data.validation) else data.validation  # None: the kept scores
            trained = trained.calibrate(known, kind, negatives_kept=negatives_kept, save=save, progress=progress)
        measured: Part = getattr(data, part.value)
        if history is Counts.online:
            measured = measured.with_online_rates()
        evaluation = evaluate(trained, measured, progress, by or ())
    about = {"run": str(run), "method": trained.method.spec(), **members_of(trained)}
    show(f"{run}: {trained.title}, {evaluation}", {**about, **evaluation.as_dict()}, as_json)
