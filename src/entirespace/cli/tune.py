"""entirespace tune METHOD DATASET -o STUDY"""

from __future__ import annotations

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
    command_line,
    configuration,
    must_not_contain,
    show,
    typed,
    typed_method,
)
from .progress import progress_on_stderr


class Objective(StrEnum):
    ctcvr_auc = "ctcvr_auc"
    cvr_log_loss = "cvr_log_loss"


def command(
    method: Annotated[str, typer.Argument(help="A method's name, such as ESMM or 'AMAN(rate=0.5)'.", metavar="METHOD")],
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The study's folder.", metavar="STUDY")],
    trials: Annotated[int, typer.Option(help="Trials in all, including earlier ones of this study.", min=1)] = 20,
    objective: Annotated[
        Objective,
        typer.Option(help="AUC of pCTR x pCVR on all impressions, or log loss of pCVR on clicked impressions."),
    ] = Objective.ctcvr_auc,
    seed: Annotated[int, typer.Option(help="Seed of the search and of every training.", min=0)] = 0,
    space: Annotated[
        Path | None,
        typer.Option(help="Which settings to search, and in which ranges (default: see above).", metavar="FILE.toml"),
    ] = None,
    preset: PresetName = "best",
    config: ConfigFile = None,
    settings: Settings = None,
    device: Device = None,
    precision: Precision = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search a method's settings for the best objective on the validation part; the test part is never read.

    The first trial is the given configuration, if the search space contains it. Later trials depend on the earlier
    results (TPE), and a trial that is worse than the others is stopped early. If tune is interrupted, run the same
    command again to resume; with a larger --trials it adds trials. Only one process at a time may work on a STUDY.

    Searched by default: optimizer.learning_rate, training.batch_size, network.embedding_std, and the parameters that
    the paper searched (AMAN's rate, OVERSAMPLING's copies), except those that METHOD or --set fixes. A space file
    replaces this default, with one setting per line:

    \b
    optimizer.learning_rate = { low = 1e-4, high = 1e-2, log = true }
    network.tower.hidden = { choices = [[80], [200, 80], [360, 200, 80]] }
    method.rate = { low = 0.0, high = 1.0 }

    STUDY/best.toml is the best configuration, for train METHOD DATASET --config STUDY/best.toml -o RUN. trials.json,
    report.md and trials.svg show all trials.
    """
    from ..config import SHORT
    from ..dataset.dataset import Dataset
    from ..errors import ConfigError
    from ..experiments.space import Space, default_space, read_space
    from ..experiments.tune import tune
    from ..methods import CTR

    configured, table = configuration(config, settings, preset, device=device, precision=precision)
    must_not_contain(out, config, space)
    names = {setting.partition("=")[0].strip() for setting in settings or []}
    fixed = frozenset(names).union(*(pair for pair in SHORT.items() if names & set(pair)))
    chosen = typed_method(method, table).candidates[0]
    with command_line():
        if chosen == CTR():
            raise ConfigError("tune needs a method that predicts pCVR", "CTR predicts pCTR only")
        if space is None:
            searched = default_space(chosen, "(" not in method, fixed)  # AMAN(rate=0.5) fixes the rate
        else:
            searched = read_space(space)
            if both := fixed & searched.keys():
                must = "a setting must be either searched or fixed by --set"
                raise ConfigError(must, f"'{min(both)}' is both", where=str(space))
        where = str(space) if space else "the search space"
        Space(chosen, configured(None), searched, where)  # its errors, before the dataset is opened
    data = Dataset(dataset)
    with command_line():
        searches = Space(chosen, configured(data), searched, where)
    with progress_on_stderr(quiet) as progress:
        tuned = tune(
            searches,
            data,
            trials=trials,
            objective=objective.value,
            seed=seed,
            out=out,
            progress=progress,
        )
    next_step = typed("entirespace", "train", method, dataset, "--config", out / "best.toml", "-o", "RUN")
    show(f"{tuned}\nreport: {out / 'report.md'}, {out / 'trials.svg'}\nnext: {next_step}", tuned.as_dict(), as_json)
