"""entirespace schema RAW"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import typed


def command(
    raw: Annotated[
        Path,
        typer.Argument(help="The folder of the raw log, searched with its subfolders; or one file.", metavar="RAW"),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The schema file to write. Default: standard output.", metavar="FILE"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Follow links in RAW to files that are not in RAW.")
    ] = False,
) -> None:
    """Look at the files of a log and write a first schema, with comments, for you to edit.

    Some rows of each file are read, so it takes seconds, however large the log is. It guesses which files are one
    table, the labels, the time, the kind of each column, the split, and how side tables are joined, and says in
    comments what it saw. A guess to check is marked DOUBTFUL; what was not found is marked FILL IN, and `prepare`
    refuses the schema until it is filled in. Columns that are known only after the outcome are left out.

    \b
    entirespace schema RAW > schema.toml        (edit schema.toml)
    entirespace prepare schema.toml RAW data/mine
    """
    from ..errors import DataError
    from ..logs.guess import FILL_IN, guess
    from ..places import Rule, whole_file
    from ..text import printable

    made = guess(raw, allow_outside=allow_outside)
    missing = sum(doubt.startswith(FILL_IN) for doubt in made.doubts)
    if out is None:
        print(made.text, end="")
    else:
        rule = Rule("the schema must be a new file", DataError)
        with whole_file(out, rule, replace=force, inputs=made.files) as path:
            path.write_text(made.text, encoding="utf-8")
    for note in made.notes:
        print(printable(note, keep=""), file=sys.stderr)
    if made.doubts:
        must = f"; {missing} of them must be filled in, or `prepare` refuses the schema" if missing else ""
        print(f"To check, {len(made.doubts):,} in all{must}:", file=sys.stderr)
    for doubt in made.doubts:
        print(printable(f"  {doubt}", keep=""), file=sys.stderr)
    schema = made.recipe if made.recipe == "aliccp" else out or "schema.toml"
    folder = made.folder if str(made.folder) else Path(".")
    allow = ("--allow-outside",) if allow_outside else ()
    print(f"next: {typed('entirespace', 'prepare', schema, folder, 'DATASET', *allow)}", file=sys.stderr)
