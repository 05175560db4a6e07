"""The command line: one file per verb. Reports are printed on stdout, log and progress on stderr."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from ..errors import EntirespaceError
from ..text import printable
from . import (
    compare,
    config,
    describe,
    evaluate,
    export,
    methods,
    prepare,
    schema,
    score,
    serve,
    simulate,
    streams,
    train,
    tune,
    update,
)

app = typer.Typer(
    name="entirespace",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "From raw impression logs to pCTR, pCVR and pCTCVR over the entire space, with ESMM (SIGIR 2018) and the "
        "methods that it was compared with.\n\nThe usual order: simulate, or `schema` for your own log; then prepare, "
        "describe, train or compare, evaluate."
    ),
)
INTERRUPTED = "interrupted: no partial output is left; `train`, `tune` and `compare` resume when they are run again"


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Make Ctrl-C end the command with a message and exit code 130. (typer prints no message.)"""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            print(INTERRUPTED, file=sys.stderr)
            raise typer.Exit(130) from None

    return guarded


for verb in (
    simulate,
    schema,
    prepare,
    describe,
    methods,
    config,
    train,
    tune,
    evaluate,
    compare,
    score,
    update,
    export,
    serve,
):
    app.command(verb.__name__.rpartition(".")[2])(_interruptible(verb.command))


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and stop.")
) -> None:
    if version:
        from .._version import __version__

        print(f"entirespace {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 bad command line, 130 interrupted."""
    # By default, OpenMP threads use their cores while they wait. If other processes need the cores, training is slower:
    # on 2 busy cores, 6 times slower than with threads that sleep. Torch reads this variable when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    streams.accept_all_text()
    try:
        try:
            app(prog_name="entirespace")
        finally:
            streams.flush()
    except EntirespaceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        streams.close()
        sys.exit(1)
    except OSError as error:  # a full disk, or a folder without permission to write
        place = printable(str(error.filename or "the disk"))
        print(f"error: {place}: {printable(error.strerror or str(error))}", file=sys.stderr)
        sys.exit(1)
