"""The files of a history, in the folder of a dataset and of every run that was trained on it.

history/state.json       strengths, counts of all impressions, and the SHA-256 of the files below
history/00.parquet       one file per key, in the order of the layout's history: each id and its counts, which are for
                         each group the impressions, and those that reached each stage
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (pyarrow has no types)
from __future__ import annotations

from pathlib import Path
from typing import ClassVar

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

    digest: str
    """SHA-256 of all counts and strengths, by which two states are compared."""
    keys: tuple[str, ...]
    """The keys that impressions are counted by, in the order of the files."""
    overall: tuple[tuple[float, ...], ...]
    """For each group, the impressions and those that reached each stage."""
    strengths: tuple[StrengthRecord, ...]
    until: int | None
    """The time of the last impression, in steps of the log's clock; None: counts do not decay."""
    faded: float
    """The weight that all counts have at that time."""
    files: dict[str, FileRecord]


def save(history: History, folder: Path) -> State:
    """Write the files of a history into the folder of a dataset or a run, state.json last."""
    (folder / FOLDER).mkdir(exist_ok=True)
    files: dict[str, FileRecord] = {}
    for i, key in enumerate(history.spec.keys):
        name, counts = f"{FOLDER}/{i:02d}.parquet", history.counts[key.name]
        ids = history.ids[key.name]
        texts = (ids if len(ids) else pl.Series([""] * len(counts), dtype=pl.String)).to_arrow()
        of_id = pa.FixedSizeListArray.from_arrays(pa.array(counts.ravel()), counts.shape[1] * counts.shape[2])
        pq.write_table(
            pa.table({"id": texts, "counts": of_id}), folder / name, compression="zstd", write_page_checksum=True
        )
        files[name] = FileRecord.of(folder / name)
    strengths = tuple(
        StrengthRecord(chain=chain, strength=tuple(map(tuple, strength.tolist())))
        for chain, strength in history.strengths.items()
    )
    overall = tuple(map(tuple, history.overall.tolist()))
    content = [[f.sha256 for f in files.values()], overall, [[s.chain, s.strength] for s in strengths]]
    content += [history.until, history.faded]
    state = State(
        digest=digest(content),
        keys=tuple(key.name for key in history.spec.keys),
        overall=overall,
        strengths=strengths,
        until=history.until,
        faded=history.faded,
        files=files,
    )
    state.write(folder / STATE)
    return state


def read_state(folder: Path) -> State:
    """Read state.json of a dataset or a run. Raises: DataError if it is missing or damaged."""
    missing = "there is none, although the layout has a history"
    return State.read(folder / STATE, DataError, what="a history", must=_MUST, missing=missing, do=_DO)


def open_history(folder: Path, spec: HistorySpec) -> History:
    """Read the history of a dataset or a run. Raises: DataError if its files are missing or damaged."""
    state = read_state(folder)
    if not _fits(state, spec):
        must = "a history must be of the layout that it stands beside"
        came = f"it counts by {', '.join(state.keys)} in {len(state.overall)} groups, or makes other rates"
        raise DataError(must, came, where=str(folder / STATE), do=_DO)
    ids: dict[str, pl.Series] = {}
    counts: dict[str, np.ndarray] = {}
    for key, (name, about) in zip(spec.keys, state.files.items(), strict=True):
        path = folder / name
        try:
            if FileRecord.of(path) != about:
                raise DataError(_MUST, "its SHA-256 does not match state.json", where=str(path), do=_DO)
            table = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise DataError(_MUST, str(error), where=str(path), do=_DO) from error
        hashed = len(key.fields) == 1 and key.fields[0].hash is not None
        ids[key.name] = pl.Series(dtype=pl.String) if hashed else pl.Series(table["id"]).cast(pl.String)
        content = table["counts"].combine_chunks()
        shape = (len(table), len(state.overall), len(state.overall[0]))
        counts[key.name] = content.flatten().to_numpy().reshape(shape)
    strengths = {s.chain: np.array(s.strength) for s in state.strengths}
    return History(spec, ids, counts, np.array(state.overall), strengths, state.until, state.faded)


def _fits(state: State, spec: HistorySpec) -> bool:
    """Whether a state has the counts and the strengths that a layout asks for."""
    width, rates, variants = len(spec.stages) + 1, len(spec.rates), spec.folds + 3
    return (
        state.keys == tuple(key.name for key in spec.keys)
        and len(state.files) == len(spec.keys)
        and [len(some) for some in state.overall] == [width] * groups(spec)
        and {s.chain for s in state.strengths} == set(chains(spec))
        and all([len(some) for some in s.strength] == [rates] * variants for s in state.strengths)
    )


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
