"""The files of a history, in the folder of a dataset and of every run that was trained on it.

history/state.json       strengths, counts of all impressions, and the SHA-256 of the files below
history/00.parquet       one file per key, in the order of the layout's history: each id and its counts, which are for
                         each group the impressions, and those that reached each stage
history/counted.parquet  what identifies each counted impression, so that `update` counts none twice

`update` writes new files with the number of the update in their names, such as 00.1.parquet, then state.json. So it
changes no file that another folder shares, and a reader of the state before still finds its files.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (pyarrow has no types)
from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ...config import Model, digest
from ...errors import DataError
from ...records import FileRecord, Record, link_or_copy
from .history import Chain, History, chains, groups
from .keys import HistorySpec

FOLDER = "history"
STATE = f"{FOLDER}/state.json"
_MUST = "the files of a history must not change after they are written"
_DO = "Prepare the dataset again, or copy the folder from a dataset or a run of the same layout and state"


class StrengthRecord(Model):
    """The strengths of one chain."""

    chain: Chain
    strength: tuple[tuple[float, ...], ...]
    """For each variant, the strength of each rate."""


class State(Record):
    """The content of state.json."""

    FORMAT: ClassVar = "entirespace-history/1"

    updates: int = 0
    """How many times `update` has added impressions."""
    log: dict[str, Any]
    """The schema of the log, by which `update` reads more of it."""
    digest: str
    """SHA-256 of all counts and strengths, by which two states are compared."""
    keys: tuple[str, ...]
    """The keys that impressions are counted by, in the order of the files."""
    overall: tuple[tuple[float, ...], ...]
    """For each group, the impressions and those that reached each stage."""
    strengths: tuple[StrengthRecord, ...]
    at: int | None
    """The time at which an outcome has weight 1 in all groups but the last, in steps of the log's clock; None: counts
    do not decay."""
    until: int | None
    """The same for the last group, which is what is counted now: the time of the last impression."""
    files: dict[str, FileRecord]
    """The files of the keys, in order, then that of the counted impressions."""


def save(history: History, folder: Path, updates: int = 0) -> State:
    """Write the files of a history into the folder of a dataset or a run, state.json last.

    Args:
        updates: how many times impressions were added since it was prepared.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    files: dict[str, FileRecord] = {}

    def write(name: str, columns: Mapping[str, Any], **options: Any) -> None:
        name = f"{FOLDER}/{name}.{updates}.parquet" if updates else f"{FOLDER}/{name}.parquet"
        (folder / name).unlink(missing_ok=True)  # of an update that was killed
        pq.write_table(pa.table(columns), folder / name, compression="zstd", write_page_checksum=True, **options)
        files[name] = FileRecord.of(folder / name)

    for i, key in enumerate(history.spec.keys):
        counts = history.counts[key.name]
        ids = history.ids[key.name]
        texts = (ids if len(ids) else pl.Series([""] * len(counts), dtype=pl.String)).to_arrow()
        of_id = pa.FixedSizeListArray.from_arrays(pa.array(counts.ravel()), counts.shape[1] * counts.shape[2])
        write(f"{i:02d}", {"id": texts, "counts": of_id})
    encoding = {"impression": "DELTA_BINARY_PACKED"}  # of sorted numbers
    write("counted", {"impression": pa.array(history.counted())}, use_dictionary=False, column_encoding=encoding)
    strengths = tuple(
        StrengthRecord(chain=chain, strength=tuple(map(tuple, strength.tolist())))
        for chain, strength in history.strengths.items()
    )
    overall = tuple(map(tuple, history.overall.tolist()))
    content = [[f.sha256 for f in files.values()], overall, [[s.chain, s.strength] for s in strengths]]
    content += [history.at, history.until]
    state = State(
        updates=updates,
        log=json.loads(json.dumps(history.log)),
        digest=digest(content),
        keys=tuple(key.name for key in history.spec.keys),
        overall=overall,
        strengths=strengths,
        at=history.at,
        until=history.until,
        files=files,
    )
    state.write(folder / STATE)
    return state


def read_state(folder: Path) -> State:
    """Read state.json of a dataset or a run. Raises: DataError if it is missing or damaged."""
    missing = "there is none, although the layout has a history"
    return State.read(folder / STATE, DataError, what="a history", must=_MUST, missing=missing, do=_DO)


def open_history(folder: Path, spec: HistorySpec, without: Collection[str] = ()) -> History:
    """Read the history of a dataset or a run.

    Args:
        without: keys whose ids and counts are not read.

    Raises: DataError if its files are missing or damaged.
    """
    state = read_state(folder)
    if not _fits(state, spec):
        must = "a history must be of the layout that it stands beside"
        came = f"it counts by {', '.join(state.keys)} in {len(state.overall)} groups, or makes other rates"
        raise DataError(must, came, where=str(folder / STATE), do=_DO)
    ids: dict[str, pl.Series] = {}
    counts: dict[str, np.ndarray] = {}
    *of_keys, of_impressions = state.files
    _sized(folder, of_impressions, state)  # its content is checked when it is needed
    for key, name in zip(spec.keys, of_keys, strict=True):
        if key.name in without:
            continue
        table = _read(folder, name, state)
        hashed = len(key.fields) == 1 and key.fields[0].hash is not None
        ids[key.name] = pl.Series(dtype=pl.String) if hashed else pl.Series(table["id"]).cast(pl.String)
        content = table["counts"].combine_chunks()
        shape = (len(table), len(state.overall), len(state.overall[0]))
        counts[key.name] = content.flatten().to_numpy().reshape(shape)
    strengths = {s.chain: np.array(s.strength) for s in state.strengths}
    overall = np.array(state.overall)

    def counted() -> np.ndarray:
        return _read(folder, of_impressions, state)["impression"].to_numpy()

    return History(spec, ids, counts, overall, strengths, state.at, state.until, counted, state.log)


def verify_history(folder: Path) -> None:
    """Compare the SHA-256 of every file of a history. Raises: DataError if one is missing or damaged."""
    state = read_state(folder)
    for name in state.files:
        _checked(folder, name, state)


def _sized(folder: Path, name: str, state: State) -> Path:
    """The path of a file of a history. Raises: DataError if it is missing or of another size."""
    path = folder / name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(_MUST, "the file is missing", where=str(path), do=_DO) from error
    if size != state.files[name].bytes:
        raise DataError(_MUST, f"it has {size:,} bytes, not {state.files[name].bytes:,}", where=str(path), do=_DO)
    return path


def _checked(folder: Path, name: str, state: State) -> Path:
    path = _sized(folder, name, state)
    if FileRecord.of(path) != state.files[name]:
        raise DataError(_MUST, "its SHA-256 does not match state.json", where=str(path), do=_DO)
    return path


def _read(folder: Path, name: str, state: State) -> Any:
    """A file of a history. Raises: DataError if it is missing or damaged."""
    path = _checked(folder, name, state)
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(_MUST, str(error), where=str(path), do=_DO) from error


def _fits(state: State, spec: HistorySpec) -> bool:
    """Whether a state has the counts and the strengths that a layout asks for."""
    width, rates, variants = len(spec.stages) + 1, len(spec.rates), spec.folds + 3
    return (
        state.keys == tuple(key.name for key in spec.keys)
        and len(state.files) == len(spec.keys) + 1
        and [len(some) for some in state.overall] == [width] * groups(spec)
        and {s.chain for s in state.strengths} == set(chains(spec))
        and all([len(some) for some in s.strength] == [rates] * variants for s in state.strengths)
    )


def remove_old(folder: Path, kept: Iterable[State]) -> None:
    """Remove the files of a history's folder that none of these states names, which older updates have left."""
    names = {STATE, *(name for state in kept for name in state.files)}
    for path in (folder / FOLDER).iterdir():
        if f"{FOLDER}/{path.name}" not in names and path.suffix == ".parquet":
            path.unlink()


def link_history(source: Path, out: Path) -> None:
    """Put the history of the folder `source` into the folder `out` too: as hard links if possible, else as copies.

    Raises: DataError if a file is missing.
    """
    state = read_state(source)
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    for name in (*state.files, STATE):
        (out / name).unlink(missing_ok=True)
        try:
            link_or_copy(source / name, out / name)
        except FileNotFoundError as error:
            raise DataError(_MUST, "the file is missing", where=str(source / name), do=_DO) from error
