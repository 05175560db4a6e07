"""The code blocks of the documents, and how to run each kind. test_documents.py runs every document with it.

A block that cannot run here has a comment before it that says why: <!-- not run: needs the original 4 GB files -->
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    p.relative_to(ROOT).as_posix()
    for p in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
)
NO_CODE = ("text", "mermaid")  # blocks for the reader's eyes
COMMANDS = ("", "sh")
PYTEST = ["python", "-m", "pytest"]
QUICK = ("--set", "training.epochs=1", "--set", "training.threads=1", "--set", "network.hidden=[8]")
"""Appended to commands that train, so that a document can show the defaults and the test stays short."""
TRAINS = ("train", "compare", "tune")

_FENCE = re.compile(r"^(```+)\s*(\w*)(?:\s+file=(\S+))?")
_NOT_RUN = re.compile(r"^<!--\s*not run:\s*(\S.*?)\s*-->$")


class Cannot(Exception):
    """A block that the harness does not know how to run."""


@dataclass(frozen=True)
class Block:
    """A fenced block: where it starts, its language ("" if none is given), its text, and why it is not run.

    A block may name its file, ```python file=mine.py or ```csv file=log/a.csv: later blocks and commands then use it.
    """

    place: str  # README.md:12
    language: str
    text: str
    not_run: str | None = None
    file: str | None = None


def blocks(text: str, name: str) -> Iterator[Block]:
    """The fenced blocks of a document, in order.

    Raises: ValueError if a fence stays open.

    >>> list(blocks("<!-- not run: too slow -->\\n```sh\\nmake demo\\n```\\n", "x.md"))
    [Block(place='x.md:2', language='sh', text='make demo\\n', not_run='too slow', file=None)]
    """
    fence, language, file, start, inside, before = "", "", None, 0, [], ""
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.match(line)
        if fence and line.strip() == fence:
            reason = _NOT_RUN.match(before)
            code = "".join(f"{part}\n" for part in inside)
            yield Block(f"{name}:{start}", language, code, reason[1] if reason else None, file)
            fence, before = "", ""
        elif fence:
            inside.append(line)
        elif found:
            fence, language, file, start, inside = found[1], found[2], found[3], number, []
        elif line.strip():
            before = line.strip()
    if fence:
        raise ValueError(f"{name}:{start}: the block must end with {fence}, however: the document ends first")


def commands(text: str) -> list[list[str]]:
    """The commands of a block as words; a backslash at the end of a line continues it, and # begins a comment.

    >>> commands("entirespace train ESMM \\\\\\n  data  # a comment\\n")
    [['entirespace', 'train', 'ESMM', 'data']]
    """
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run(block: Block, folder: Path) -> None:
    """Run a block in the folder, which is what the document's reader would be in.

    Raises: Cannot if there is no way to run it; AssertionError, with the place, if it fails.
    """
    if block.language in NO_CODE:
        return
    if block.language == "python":
        _python(block, folder)
    elif block.language == "toml":
        _toml(block, folder)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "csv" and block.file is not None:
        _write(block, folder)
    elif block.language in COMMANDS:
        found = commands(block.text)
        if strange := [words for words in found if words[0] != "entirespace" and words[:3] != PYTEST]:
            raise Cannot(f"'{shlex.join(strange[0])}' is no command that the harness can run")
        for words in found:
            if words[0] == "entirespace":
                _command(words, folder, block.place)
            else:
                _process(words[1:], ROOT, block.place)
    else:
        raise Cannot(f"the harness does not know the language '{block.language}'")


def _python(block: Block, folder: Path) -> None:
    """As a script with a main module of its own, in this process: to start another one takes seconds."""
    script, report = _write(block, folder), io.StringIO()
    before = set(sys.modules)
    try:
        with _standing_in(folder, [script.name], report, report):
            runpy.run_path(script.name, run_name="__main__")
    except (Exception, SystemExit) as error:
        said = f"{report.getvalue()}\n{''.join(traceback.format_exception(error))}"
        raise AssertionError(f"{block.place}: {script.name}\n{said}") from error
    finally:
        for name in set(sys.modules) - before:  # another document may have a module of the same name
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
                del sys.modules[name]


@contextlib.contextmanager
def _standing_in(folder: Path, arguments: list[str], out: io.StringIO, err: io.StringIO) -> Iterator[None]:
    """This process as one that was started in a folder, with these arguments and with PYTHONPATH=."""
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.object(sys, "argv", arguments),
        patch.object(sys, "path", [str(folder), *sys.path]),
    ):
        yield


def _write(block: Block, folder: Path) -> Path:
    """Write the text of a block to the file that it names, or to one of its own."""
    endings = {"python": ".py"}
    name = block.file or f"block_{block.place.rpartition(':')[2]}{endings.get(block.language, '.' + block.language)}"
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text)
    return file


def _process(words: list[str], folder: Path, place: str) -> None:
    """`python WORDS` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert ran.returncode == 0, f"{place}: python {shlex.join(words)}\n{ran.stdout}\n{ran.stderr}"


def _command(words: list[str], folder: Path, place: str) -> None:
    """Through the installed command line's main, in this process."""
    from entirespace.cli import main

    arguments = [*words, *(QUICK if words[1] in TRAINS else ())]
    report, log = io.StringIO(), io.StringIO()
    code: object = 0
    with _standing_in(folder, arguments, report, log):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    assert code == 0, f"{place}: {shlex.join(arguments)}\n{report.getvalue()}\n{log.getvalue()}"


def _toml(block: Block, folder: Path) -> None:
    """As a schema if it has impressions, as a search space if its values are ranges, else as a configuration."""
    from entirespace.config import load
    from entirespace.experiments.space import read_space
    from entirespace.logs.schema import read_schema

    file = _write(block, folder)
    if "impressions" in tomllib.loads(block.text):
        read_schema(file)
    elif re.search(r"\{ *(low|choices) *=", block.text):
        read_space(file)
    else:
        load(file)
