"""A run's folder before training goes on in it: what may be there, and what an interrupted training left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..config import Config
from ..dotted import merged
from ..errors import RunError
from ..methods.code import changed_code
from ..places import Rule
from ..runs.record import MEMBERS, REFERENCE, RUN, RunRecord, is_of_a_run, member_folder

FOLDER = Rule("a run's folder must be new, empty or hold a run", RunError)
NAMED = 3  # functions that an error names, at most
_held: ContextVar[frozenset[Path]] = ContextVar("folders whose lock this thread holds", default=frozenset())


def refuse_foreign(out: Path, inputs: Iterable[Path] = (), *, members: bool = False) -> None:
    """Raises: RunError if `out` is a file, a link to nothing, or a folder with other files and no run of this format.

    The run of the reference CTR network may be there before run.json. None of the inputs, which are read, may be in the
    folder, except that run.

    Args:
        members: an ensemble is trained, whose members are there before its run.json.
    """
    below = (f"{REFERENCE}/", f"{MEMBERS}/") if members else (f"{REFERENCE}/",)
    reference = (out / REFERENCE).resolve()
    others = [path for path in inputs if path.resolve() != reference]

    def own(name: str) -> bool:
        return name == f"{RUN}.partial" or (name.startswith(below) and is_of_a_run(name))

    def marked(folder: Path) -> bool:
        first = member_folder(folder, 0) if members and not (folder / RUN).exists() else folder
        return (first / RUN).exists() and bool(RunRecord.open(first))

    FOLDER.begun(out, marked, own, others)


def must_be_single(there: RunRecord, out: Path) -> None:
    """Raises: RunError if the run in a folder is an ensemble."""
    if there.members:
        must, came = "the run in this folder must be a single run", f"it is an ensemble of {len(there.members)}"
        do = "Choose another folder, or give the number of its members with --seeds (seeds= of fit_ensemble)"
        raise RunError(must, came, where=str(out), do=do)


def is_finished(out: Path) -> bool:
    """Whether a folder holds a finished run, which is only opened."""
    return (out / RUN).exists() and RunRecord.open(out).status == "finished"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, unless the run is finished. Raises: RunError if another process trains in it.

    Who holds it may ask for it again: `train` holds it while it trains the reference CTR network in the folder, and
    then `fit` asks for it.
    """
    real = out.resolve()
    if real in _held.get() or is_finished(out):
        yield
        return
    with FOLDER.alone(out):
        before = _held.set(_held.get() | {real})
        try:
            yield
        finally:
            _held.reset(before)


def completed(config: dict[str, Any], like: Config) -> dict[str, Any]:
    """A recorded configuration, with the defaults of the settings that were added since it was recorded."""
    return merged(type(like)().model_dump(mode="json"), config)


def same_code(before: Mapping[str, str] | None, now: Mapping[str, str] | None, what: str, out: Path) -> None:
    """Raises: RunError if the code of the user's method, tower or trunk is not that of what was begun in a folder.

    Args:
        before, now: as `own_code` gives it.
        what: what was begun, for the error: "run" or "study".
    """
    if changed := changed_code(before or {}, now or {}):
        raise RunError(
            f"the {what} in this folder must have the same code of its method and network to be resumed",
            f"the code of {', '.join(changed[:NAMED])} has changed",
            where=str(out),
            do="Choose another folder, or delete this one",
        )


def difference(theirs: Any, mine: Any, path: str = "") -> str:
    """The first place where two settings differ, in words.

    >>> difference({"a": {"b": 1}}, {"a": {"b": 2}})
    'a.b = 1, not 2'
    """
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for key in sorted({*theirs, *mine}):
            if theirs.get(key) != mine.get(key):
                return difference(theirs.get(key), mine.get(key), f"{path}.{key}" if path else key)
    return f"{path} = {theirs}, not {mine}" if path else f"{theirs}, not {mine}"


def cut_metrics(path: Path, step: int) -> None:
    """Remove the lines after `step`, whose steps are trained again, and a last line that is incomplete."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    path.write_text("".join(kept), encoding="utf-8")
