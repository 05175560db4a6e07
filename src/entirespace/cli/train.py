"""entirespace train METHOD DATASET -o RUN"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ConfigFile,
    DatasetFolder,
    Device,
    Json,
    Precision,
    PresetName,
    Quiet,
    Settings,
    configuration,
    members_of,
    must_not_contain,
    show,
    typed,
    typed_method,
)
from .progress import progress_on_stderr


class Track(StrEnum):
    tensorboard = "tensorboard"
    mlflow = "mlflow"
    none = "none"


def command(
    method: Annotated[str, typer.Argument(help="A method's name, such as ESMM or 'AMAN(rate=0.5)'.", metavar="METHOD")],
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The run's folder.", metavar="RUN")],
    seed: Annotated[int, typer.Option(help="Seed of initial weights, sampling and order.", min=0)] = 0,
    seeds: Annotated[
        int,
        typer.Option(
            help="Train this many runs, from --seed, --seed + 1, ..., and make one run of them, an ensemble: the log "
            "odds of their probabilities are averaged.",
            min=1,
            metavar="N",
        ),
    ] = 1,
    reference: Annotated[
        Path | None,
        typer.Option(help="Use this run of a CTR network as the reference (default: train one in RUN/reference)."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Start from the weights of this run, mapped by field and id: yesterday's model, today's log.",
            metavar="RUN",
        ),
    ] = None,
    track: Annotated[
        Track | None,
        typer.Option(
            help="Also send the scalars of metrics.jsonl to RUN/tensorboard, or to MLflow at MLFLOW_TRACKING_URI "
            "(default: tensorboard if it is installed)."
        ),
    ] = None,
    preset: PresetName = "best",
    config: ConfigFile = None,
    settings: Settings = None,
    device: Device = None,
    precision: Precision = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit one method, and the reference CTR network whose pCTR the CTCVR task uses.

    If training is interrupted, run the same command again to resume.

    With --seeds 3 the run is an ensemble of three members, which share the reference CTR network. It is evaluated,
    calibrated, scored and updated as any other run; its members are runs, too, in RUN/members.

    With training.calibrate = auto, which the preset best has, pCTR and pCVR are calibrated by temperature or Platt
    scaling where that lowers the log loss over folds of the validation part. Clicks can calibrate pCVR on clicked
    impressions only.
    """
    from ..dataset.dataset import Dataset
    from ..methods import CTR
    from ..reports.coefficients import coefficients_section
    from ..reports.sections import text
    from ..runs.record import RunRecord
    from ..training import Run, fit, fit_ensemble, reference_ctr
    from ..training.ensemble import starts_of
    from ..training.folder import alone, refuse_foreign
    from ..training.needs import check_start, check_training
    from ..training.tracking import tracker

    configured, table = configuration(config, settings, preset, device=device, precision=precision)
    chosen = typed_method(method, table).candidates[0]
    must_not_contain(out, config)
    data, tracked = Dataset(dataset), tracker(track.value if track else None)
    loaded = configured(data)
    earlier = None if start is None else Run.open(start, method=chosen if ":" in chosen.spec()["name"] else None)
    with progress_on_stderr(quiet) as progress:
        read = [data.path, *(path for path in (reference, start) if path is not None)]
        # before the reference CTR network is trained, which may take hours
        refuse_foreign(out, read, members=seeds > 1)
        check_training(chosen, data.train, loaded)
        if seeds == 1:
            check_start(chosen, earlier)
        else:
            starts_of(chosen, seeds, earlier)
        with alone(out):  # the reference CTR network is in it, too
            if chosen == CTR():
                ctr = None
            elif reference is not None:
                ctr = Run.open(reference)
            else:
                folder = out / "reference"
                ctr = reference_ctr(
                    data.train,
                    seed=seed,
                    config=loaded,
                    start=None if earlier is None else earlier.reference,
                    out=folder,
                    tracker=tracked,
                    progress=progress,
                )
            one = fit if seeds == 1 else partial(fit_ensemble, seeds=seeds)
            run = one(
                chosen,
                data.train,
                seed=seed,
                config=loaded,
                reference=ctr,
                start=earlier,
                out=out,
                tracker=tracked,
                progress=progress,
            )
    record = RunRecord.open(run.folder)
    about = {
        "run": str(run.folder),
        "method": run.method.spec(),
        "seed": seed,
        **members_of(run),
        "dataset": str(dataset),
        "parameters": sum(t.numel() for t in run.network.state_dict().values()),
        "warnings": list(record.warnings),
    }
    trained_on = f"{len(data.train):,} training impressions"
    if run.kept:
        about["refit"] = {"passes": record.position.passes, "validation": len(data.validation)}
        trained_on += f" and {len(data.validation):,} of the validation part; passes: {record.position.passes:.3g}"
    calibrated: list[str] = []
    if run.config.training.calibrate != "none":
        about["calibration"] = run.calibration.as_dict()
        calibrated = [str(run.calibration), *run.calibration.sentences()]
    baseline = run.coefficients
    if baseline:
        about["coefficients"] = {head: one.model_dump() for head, one in baseline.items()}
    report = "\n".join(
        [
            *([text([coefficients_section(baseline, "Logistic baseline")]), ""] if baseline else []),
            f"{run.folder}: {run.title}, {about['parameters']:,} parameters, {trained_on}",
            *calibrated,
            f"next: {typed('entirespace', 'evaluate', run.folder, dataset)}",
        ]
    )
    show(report, about, as_json)
