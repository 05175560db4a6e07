"""Options that several verbs share, and how a verb prints its report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import Config
    from ..methods import Family

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


def show(report: str, plain: Any, as_json: bool) -> None:
    """Print the report as text, or the same as JSON."""
    print(json.dumps(plain, indent=1) if as_json else report)


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


def families(names: list[str]) -> tuple[Family, ...]:
    """The methods of these names."""
    from ..methods import family

    with command_line():
        return tuple(family(name) for name in names)
