"""The first schema of a log: its text, and what a person must know of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ...errors import DataError, EntirespaceError
from ...text import exact
from ..files import File
from ..find import find
from ..schema import read_schema
from .plan import Plan, plan
from .tried import tried
from .write import DOUBTFUL, FILL_IN, write

ALICCP = ("sample_skeleton", "common_features")
NO_SCHEMA = "These are raw files of Ali-CCP: they need no schema"


@dataclass(frozen=True)
class FirstSchema:
    """A first schema, to be edited."""

    text: str  # the schema file
    folder: Path  # RAW for `prepare`
    doubts: tuple[str, ...]  # the doubtful guesses, and what was not found
    notes: tuple[str, ...]  # what else a person should know
    complete: bool  # `prepare` reads it as it is
    files: tuple[Path, ...]  # the files of this machine that were found
    recipe: str | None = None  # a schema of the package that reads these files, or "aliccp"


def first_schema(raw: Path | str, *, allow_outside: bool = False) -> str:
    """A first schema for the files of a log, as TOML with comments, to be edited.

    Kinds of fields, labels, times, joins and the split are guessed from a sample of the rows. A doubtful guess has a
    comment that begins with DOUBTFUL; FILL IN marks what was not found.

    Args:
        raw: the folder of the log, which is searched with its subfolders, or one file.
        allow_outside: follow links to files outside the folder.

    Raises: DataError if there is no file of rows.
    """
    return guess(raw, allow_outside=allow_outside).text


def guess(raw: Path | str, *, allow_outside: bool = False) -> FirstSchema:
    """The first schema of a log with its doubts; see `first_schema`."""
    raw = Path(raw)
    if not raw.exists():
        raise DataError("RAW must be the folder of the raw log, or one file", "there is neither", where=str(raw))
    notes: list[str] = []
    folder, pattern = (raw.parent, raw.name) if raw.is_file() else (raw, "**/*")
    found = find([pattern], folder, allow_outside=allow_outside, note=notes.append)
    here = tuple(Path(file.path) for file in found)
    if _is_aliccp(found):
        said = f"{NO_SCHEMA}. `prepare aliccp RAW DATASET` reads them."
        return FirstSchema(f"# {said}\n", folder, (), (said,), True, here, "aliccp")
    made = plan(found, str(raw))
    recipe = _recipe(folder, made)
    said = ["A first schema, guessed from the files. Edit it, then: entirespace prepare SCHEMA RAW DATASET"]
    if not made.impressions.whole:
        said.append("Numbers in comments are of a sample of the rows.")
    said.append(f"{DOUBTFUL} marks a guess to check, {FILL_IN} what was not found. docs/schema.md explains every key.")
    if recipe is not None:
        said.append(f"The package has a schema for these files: entirespace prepare {recipe} RAW DATASET")
        notes.append(said[-1])
    written = write(made, said)
    text = "\n".join(written.lines) + "\n"
    complete = not any(doubt.startswith(FILL_IN) for doubt in written.doubts)
    doubts = list(written.doubts)
    if complete:
        bad = tried(text, made)
        if bad:
            mark = f"{DOUBTFUL}: {bad}"
            text, doubts = f"# {exact(mark)}\n{text}", [mark, *doubts]
    return FirstSchema(text, folder, tuple(doubts), tuple(notes), complete, here, recipe)


def _is_aliccp(found: list[File]) -> bool:
    def holds(file: File) -> bool:
        if file.is_parquet or not file.name.rpartition("/")[2].startswith(ALICCP):
            return False
        with file.filesystem.open_input_stream(file.path, compression=file.codec) as stream:
            return b"\x02" in stream.read(1 << 16)

    return any(map(holds, found))


def _recipe(folder: Path, made: Plan) -> str | None:
    """The name of a schema of the package whose files and columns these are."""
    for entry in files("entirespace.recipes").iterdir():
        path = Path(str(entry))
        if path.suffix != ".toml":
            continue
        schema = read_schema(path)
        try:
            mine = {file.name for file in find(schema.impressions.files, folder)}
            for side in schema.tables.values():
                find(side.files, folder)
        except EntirespaceError:
            continue
        if mine & set(made.impressions.names):
            return path.stem
    return None
