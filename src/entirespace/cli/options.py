"""Options that several verbs have, and functions to read methods and configurations and to print a report."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError
from ..logs.source import OnOrphan
from ..text import printable

if TYPE_CHECKING:
    from ..config import Config
    from ..dataset.dataset import Dataset
    from ..methods import Family, Method
    from ..rivals.typed import Row
    from ..runs.run import Run

Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
OrphanRule = Annotated[
    OnOrphan,
    typer.Option(
        help="For a conversion without a click: keep the row without it, drop the row, or stop with an error."
    ),
]
MaxBad = Annotated[float, typer.Option(help="The largest share of bad rows that is accepted in a table.", min=0, max=1)]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside", help="The schema may name files of this machine that are not in the folder of the raw log."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr, only warnings.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", help="A configuration file, as `entirespace config METHOD` prints it.", metavar="FILE.toml"
    ),
]
PresetName = Annotated[
    str,
    typer.Option(
        "--preset",
        help="Where settings start: paper, as the paper says; or best, what came out best on many logs. --config and "
        "--set change single values.",
        metavar="paper|best",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value of the configuration, such as training.epochs=5.", metavar="a.b=c"),
]
Device = Annotated[str | None, typer.Option(help="Where to train: cpu or cuda (training.device).")]
Precision = Annotated[
    str | None, typer.Option(help="fp32, bf16, or auto: bf16 if the processor has units for it (training.precision).")
]
DatasetFolder = Annotated[
    Path, typer.Argument(help="A dataset's folder, made by `entirespace prepare`.", metavar="DATASET")
]

ReferenceRun = Annotated[
    Path | None,
    typer.Option(help="The run of the reference CTR network (default: RUN/reference)."),
]
RunMethod = Annotated[
    str | None,
    typer.Option(help="The class of RUN's method, if it is your own class.", metavar="module:Class"),
]


def show(report: str, plain: Any, as_json: bool, *, to_stderr: bool = False) -> None:
    """Print the report as text without control characters, or its plain values as JSON."""
    print(json.dumps(plain, indent=1) if as_json else printable(report), file=sys.stderr if to_stderr else sys.stdout)


def typed(*words: object) -> str:
    """A command to type in a shell, with quotes where a word needs them.

    >>> typed("entirespace", "describe", "my data")
    "entirespace describe 'my data'"
    """
    return shlex.join(map(str, words))


@contextmanager
def command_line() -> Iterator[None]:
    """Report a ConfigError that the command line caused as a bad command line (exit 2), not as a failure (exit 1)."""
    try:
        yield
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def configuration(
    config: Path | None, settings: list[str] | None, preset: str, **training: str | None
) -> tuple[Callable[[Dataset | None], Config], dict[str, Any]]:
    """A function that gives the configuration for a dataset, and the [method] table.

    Args:
        preset: the preset, which the file and the settings change.
        training: values of [training] from options such as --device; None leaves a value as it is.

    Raises: ConfigError for a bad file, typer.BadParameter for a bad --preset, --set or option.
    """
    from ..config import load
    from ..presets import preset_settings

    over = [*(settings or []), *(f"training.{k}={v}" for k, v in training.items() if v is not None)]

    def of(data: Dataset | None) -> Config:
        return load(config, over, preset_settings(preset, data))[0]

    if config is not None:
        load(config)  # an error in the file exits with 1; an error in --set, below, exits with 2
    with command_line():
        of(None)
        return of, load(config, over)[1]


def must_not_contain(out: Path, *read: Path | None) -> None:
    """Raises: typer.BadParameter if one of the files that the command reads is in its output folder."""
    for path in read:
        if path is not None and path.resolve().is_relative_to(out.resolve()):
            raise typer.BadParameter(f"OUT must not contain what is read, however: {path} is in {out}")


def typed_method(text: str, table: Mapping[str, Any]) -> Family:
    """The family of METHOD: one method, or all candidates of a name such as AMAN. [method] gives parameters.

    Raises: typer.BadParameter for an unknown method or bad parameters.
    """
    from ..methods import family
    from ..rivals.typed import is_rival

    with command_line():
        if is_rival(text):
            do = "`entirespace compare DATASET -o REPORT --methods ...` trains it beside the methods"
            raise ConfigError("METHOD must be a method", f"{text.strip()} is a rival or a blend", do=do)
        return family(text, table)


def typed_methods(text: str | None, table: Mapping[str, Any]) -> tuple[Row, ...]:
    """The rows of METHOD,METHOD,...; None: those of the paper. [method] gives parameters to the one it names.

    Raises: typer.BadParameter for an unknown method or bad parameters.
    """
    from ..methods import PAPER
    from ..rivals.typed import rows, split

    with command_line():
        return rows(split(text) if text is not None else [line.name for line in PAPER], table)


def run_method(text: str | None, run: Path) -> Method | None:
    """The method of --method for a run. Without brackets, it has the parameters that the run's record has.

    Raises: typer.BadParameter for an unknown method, RunError if there is no run.
    """
    from ..methods import family
    from ..runs.record import RunRecord

    if text is None:
        return None
    recorded = RunRecord.open(run).method
    with command_line():
        return family(text, recorded if recorded.get("name") == text.strip() else None).candidates[0]


def members_of(run: Run) -> dict[str, Any]:
    """For the JSON of an ensemble: its members. Empty for a single run."""
    members = [{"run": str(member.folder), "seed": member.seed} for member in run.members]
    return {"members": members} if members else {}
