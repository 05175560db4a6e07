"""entirespace compare DATASET -o REPORT"""

from __future__ import annotations

import re
from enum import StrEnum
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
    must_not_contain,
    show,
    typed_methods,
)
from .progress import progress_on_stderr


class Selection(StrEnum):
    validation = "validation"
    paper = "paper"


def command(
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder for the report and the runs.", metavar="REPORT")],
    seeds: Annotated[str, typer.Option(help="How many seeds (10: seeds 0 to 9), or which ones: 0,3,7.")] = "10",
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods, separated by commas: BASE,'AMAN(rate=0.5)',ESMM or module:Class (default: the paper's). "
            "LightGBM trains boosted trees on the same columns; 'BLEND(ESMM, LightGBM)' blends any two of them."
        ),
    ] = None,
    select: Annotated[
        Selection,
        typer.Option(
            help="Choose AMAN's rate and OVERSAMPLING's copies on the validation part; paper: on the test part."
        ),
    ] = Selection.validation,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Train this many runs at a time, which share the cores (default: one per core, if memory allows).",
            min=1,
        ),
    ] = None,
    sampling_rates: Annotated[
        str | None,
        typer.Option(
            help="Also train on these percentages of the training part, for the paper's Fig. 3: 1,2,5,10,20,50,100."
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also report calibration by the values of this field (repeatable).", metavar="FIELD"),
    ] = None,
    preset: PresetName = "paper",
    config: ConfigFile = None,
    settings: Settings = None,
    device: Device = None,
    precision: Precision = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods on your data, as in the paper's Table 2: several seeds each, in the CVR and the CTCVR task.

    Writes REPORT/report.html, report.md and report.json. If it is interrupted, run the same command again to resume.

    --config accepts the files that `entirespace config METHOD` and `tune` write. The table [method] has the parameters
    of the method that it names; all other values are used for all methods.
    """
    from ..dataset.dataset import Dataset
    from ..experiments.compare import compare

    configured, table = configuration(config, settings, preset, device=device, precision=precision)
    chosen, numbers = typed_methods(methods, table), _seeds(seeds)
    must_not_contain(out, config)
    data = Dataset(dataset)
    with progress_on_stderr(quiet) as progress:
        comparison = compare(
            chosen,
            data,
            seeds=numbers,
            config=configured(data),
            select=select.value,
            out=out,
            jobs=jobs,
            sampling_rates=_shares(sampling_rates),
            by=by or (),
            progress=progress,
        )
    where = f"report: {out / 'report.html'} (also report.md and report.json)"
    show(f"{comparison}\n\n{where}", comparison.as_dict(), as_json)


def _seeds(text: str) -> int | list[int]:
    if not re.fullmatch(r"\d+(,\d+)*,?", text):
        raise typer.BadParameter(f"--seeds must be a number of seeds, or seeds separated by commas, however: '{text}'")
    numbers = [int(part) for part in text.split(",") if part]
    if "," in text:
        return numbers
    if numbers[0] < 1:
        raise typer.BadParameter("--seeds must be at least 1")
    return numbers[0]


def _shares(text: str | None) -> list[float]:
    """Percentages as shares. Raises: typer.BadParameter for one that is not above 0 and at most 100.

    >>> _shares("1,2.5,100")
    [0.01, 0.025, 1.0]
    """
    try:
        shares = [float(part) / 100 for part in (text or "").split(",") if part.strip()]
    except ValueError:
        shares = [-1.0]
    if not all(0 < share <= 1 for share in shares):
        raise typer.BadParameter(f"--sampling-rates must be percentages above 0 and at most 100, however: '{text}'")
    return shares
