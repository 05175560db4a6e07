"""Options that several verbs share, and how a verb prints its report."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import Config
    from ..methods import Family, Method

Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", help="A configuration file, as `entirespace config METHOD` prints it.", metavar="FILE.toml"
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value of the configuration, such as training.epochs=5.", metavar="a.b=c"),
]
Device = Annotated[str | None, typer.Option(help="Where to train: cpu or cuda (training.device).")]
Precision = Annotated[str | None, typer.Option(help="fp32, or bf16 if the processor supports it (training.precision).")]
DatasetFolder = Annotated[
    Path, typer.Argument(help="A dataset's folder, made by `entirespace prepare`.", metavar="DATASET")
]

ReferenceRun = Annotated[
    Path | None,
    typer.Option(help="The reference CTR network's run, where it is not the one that RUN's record names."),
]
RunMethod = Annotated[
    str | None,
    typer.Option(help="The class of RUN's method, where it is one of your own.", metavar="module:Class"),
]


def show(report: str, plain: Any, as_json: bool, *, to_stderr: bool = False) -> None:
    """Print the report as text, or the same as JSON."""
    print(json.dumps(plain, indent=1) if as_json else report, file=sys.stderr if to_stderr else sys.stdout)


@contextmanager
def command_line() -> Iterator[None]:
    """Report a ConfigError that the command line caused as a bad command line (exit 2), not as a failure (exit 1)."""
    try:
        yield
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def configuration(
    config: Path | None, settings: list[str] | None, **training: str | None
) -> tuple[Config, dict[str, Any]]:
    """The configuration, and its [method] table. Options such as --device set values of [training]."""
    from ..config import load

    if config is not None:
        load(config)  # an error in the file is a failure; an error in --set is a bad command line
    with command_line():
        return load(config, [*(settings or []), *(f"training.{k}={v}" for k, v in training.items() if v is not None)])


def typed_method(text: str, table: Mapping[str, Any]) -> Family:
    """METHOD, and the [method] table over it: one method, or a name with the search of its parameters."""
    from ..methods import family

    with command_line():
        return family(text, table)


def typed_methods(text: str | None, table: Mapping[str, Any]) -> tuple[Family, ...]:
    """METHOD,METHOD,... (absent: the paper's); the [method] table gives the parameters of the one of its name."""
    from ..methods import PAPER, families

    with command_line():
        return families(split(text) if text is not None else [line.name for line in PAPER], table)


def run_method(text: str | None, run: Path) -> Method | None:
    """The method that was typed for a run: without brackets, with the parameters that the run's record holds."""
    from ..methods import family
    from ..runs.record import RunRecord

    if text is None:
        return None
    recorded = RunRecord.open(run).method
    with command_line():
        return family(text, recorded if recorded.get("name") == text.strip() else None).candidates[0]


def split(text: str) -> list[str]:
    """Names at the commas that stand outside brackets. Raises: ConfigError for an empty name.

    >>> split("BASE,X(a=1,b=2)")
    ['BASE', 'X(a=1,b=2)']
    """
    names = [name.strip() for name in re.split(r",(?![^(]*\))", text)]
    if not all(names):
        raise ConfigError("--methods must be names separated by commas", f"'{text}'")
    return names
