"""Writes a simulated log: Parquet files of impressions and a side table, or raw Ali-CCP files.

Both hold the same log: the same rows in the same order, the same ids, and weights of five decimals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from entirespace.simulation.history import MAX_COUNT
from entirespace.simulation.log import ALICCP_FIELDS, COMMON_FIELDS, SKELETON_FIELDS, WEIGHTED_FIELDS, Chunk, Column
from entirespace.simulation.text import Features, write_lines

CHUNKS_A_FILE = 4  # 1,048,576 impressions per Parquet file; each chunk is a row group
TEXT_ROOM = 64 << 20  # bytes of text in memory at a time

WEIGHTS = np.round(np.log1p(np.arange(MAX_COUNT + 1)), 5)
"""float64: the weight of each count, log(1 + count) to five decimals (1 -> 0.69315); count 0 has weight 1.0."""
WEIGHTS[0] = 1.0


class Truth:
    """`truth.parquet`: each impression's number, true pCTR and true pCVR (float32), in the log's order."""

    def __init__(self, folder: Path) -> None:
        fields = [("impression", pa.int64()), ("pctr", pa.float32()), ("pcvr", pa.float32())]
        self._file = pq.ParquetWriter(
            folder / "truth.parquet", pa.schema(fields), compression="zstd", use_dictionary=False
        )

    def write(self, chunk: Chunk) -> None:
        rows = np.arange(chunk.first, chunk.first + len(chunk))
        columns = [rows, chunk.pctr.astype(np.float32), chunk.pcvr.astype(np.float32)]
        self._file.write_table(pa.table(columns, schema=self._file.schema), row_group_size=len(chunk))

    def close(self) -> None:
        self._file.close()


class ParquetLog:
    """`impressions-*.parquet`, `common.parquet` (one row per session), and the `schema.toml` for them."""

    def __init__(self, folder: Path, about: str, rates: bool = False) -> None:
        (folder / "schema.toml").write_text(schema_toml(about, rates), encoding="utf-8")
        self._folder = folder
        self._files: list[pq.ParquetWriter] = []  # common, impressions
        self._chunks = 0

    def write(self, chunk: Chunk) -> None:
        keys = _key_array(chunk.keys)
        common = pa.table({"common": keys} | _arrow(chunk.common))
        impressions = pa.table(
            {
                "time_ms": chunk.time_ms,
                "click": chunk.click.astype(np.int8),
                "conversion": chunk.conversion.astype(np.int8),
                "common": keys.take(pa.array(chunk.session)),
            }
            | _arrow(chunk.skeleton)
        )
        if self._chunks == 0:
            self._files.append(_open(self._folder / "common.parquet", common.schema, dense="common"))
        if self._chunks % CHUNKS_A_FILE == 0:
            if self._chunks > 0:
                self._files.pop().close()
            name = f"impressions-{self._chunks // CHUNKS_A_FILE:05d}.parquet"
            self._files.append(_open(self._folder / name, impressions.schema, dense="time_ms"))
        for file, table in zip(self._files, (common, impressions), strict=True):
            file.write_table(table, row_group_size=len(table))
        self._chunks += 1

    def close(self) -> None:
        for file in self._files:
            file.close()


class AliccpLog:
    """`sample_skeleton_*.csv` and `common_features_*.csv`: the first `train` rows train, the rest test."""

    def __init__(self, folder: Path, train: int) -> None:
        names = ("sample_skeleton", "common_features")
        self._files: list[tuple[BinaryIO, BinaryIO]] = [
            ((folder / f"{names[0]}_{part}.csv").open("wb"), (folder / f"{names[1]}_{part}.csv").open("wb"))
            for part in ("train", "test")
        ]
        self._train = train

    def write(self, chunk: Chunk) -> None:
        # no session crosses the middle, so rows and sessions are cut at the same place
        cut = min(max(self._train - chunk.first, 0), len(chunk))
        sessions = len(chunk.keys)
        cut_session = int(chunk.session[cut]) if cut < len(chunk) else sessions
        keys = _hex(chunk.keys)
        skeleton = _features(chunk.skeleton, SKELETON_FIELDS)
        common = _features(chunk.common, COMMON_FIELDS)
        of_session = np.arange(sessions)
        for part, rows, lines in (
            (0, (0, cut), (0, cut_session)),
            (1, (cut, len(chunk)), (cut_session, sessions)),
        ):
            # sample ids start from 1 in each file
            first = 1 + chunk.first - (self._train if part else 0)
            labels = (chunk.click, chunk.conversion)
            _write_text(self._files[part][1], common, keys, of_session, None, 0, lines)
            _write_text(self._files[part][0], skeleton, keys, chunk.session, labels, first, rows)

    def close(self) -> None:
        for pair in self._files:
            for file in pair:
                file.close()


def schema_toml(about: str, rates: bool = False) -> str:
    """The schema file of the Parquet log, for `entirespace prepare`.

    Args:
        about: the comment in its first line.
        rates: with click and conversion rates of every id.
    """

    def fields(names: tuple[str, ...]) -> str:
        return "\n".join(
            f'{name} = {{ kind = "ids", weights = "{name}_weights" }}'
            if name in WEIGHTED_FIELDS
            else f'{name} = {{ kind = "ids" }}'
            for name in names
        )

    return f"""\
# {about}
# Every field is a bag of ids, as in raw Ali-CCP; a missing id is an empty bag.
[impressions]
files = ["impressions-*.parquet"]
order = "time_ms"
labels = {{ click = "click", conversion = "conversion" }}

[impressions.fields]
{fields(SKELETON_FIELDS)}

[tables.common]
files = ["common.parquet"]
key = "common"

[tables.common.fields]
{fields(COMMON_FIELDS)}

[split]
by = "order"
train = 0.5
validation = 0.1

[roles]
user = "user_id"
item = "item_id"

[truth]
files = ["truth.parquet"]
pctr = "pctr"
pcvr = "pcvr"
{HISTORY if rates else ""}"""


HISTORY = """
[history]
keys = "all"
parents = { item_id = ["shop", "category"], user_id = ["profile"] }
"""


def _open(path: Path, schema: pa.Schema, dense: str) -> pq.ParquetWriter:
    """A Parquet file with dictionaries for every column except `dense`, whose values are all different."""
    leaves = [".".join((f.name, "list", "element")) if pa.types.is_list(f.type) else f.name for f in schema]
    dictionaries: Any = [leaf for leaf in leaves if leaf != dense]  # pyarrow's stubs allow only a bool
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=dictionaries)


def _arrow(columns: dict[str, Column]) -> dict[str, pa.Array]:
    """Columns as Arrow arrays: int32 with nulls, or lists of int32 and, where weighted, lists of float64."""
    arrays: dict[str, pa.Array] = {}
    for name, column in columns.items():
        if column.offsets is None:
            arrays[name] = pa.array(column.ids, mask=column.ids < 0)
            continue
        offsets = pa.array(column.offsets.astype(np.int32))
        arrays[name] = pa.ListArray.from_arrays(offsets, pa.array(column.ids))
        if column.counts is not None:
            weights = pa.array(WEIGHTS[column.counts])
            arrays[f"{name}_weights"] = pa.ListArray.from_arrays(offsets, weights)
    return arrays


def _hex(keys: np.ndarray) -> np.ndarray:
    """Keys as 16 hexadecimal digits. Shape: uint64 (n,) -> uint8 (n, 16)."""
    octets = keys.astype(">u8").view(np.uint8).reshape(-1, 8)
    digits = np.stack([octets >> 4, octets & 15], axis=2).reshape(-1, 16)
    return np.frombuffer(b"0123456789abcdef", np.uint8)[digits]


def _key_array(keys: np.ndarray) -> pa.Array:
    offsets = np.arange(len(keys) + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(_hex(keys)))


def _features(columns: dict[str, Column], names: tuple[str, ...]) -> Features:
    """The columns one after another, for the text writer."""
    bags = [columns[name].bags() for name in names]
    shift = np.cumsum([0] + [len(bag.ids) for bag in bags])
    counts = [np.zeros(len(bag.ids), np.int32) if bag.counts is None else bag.counts for bag in bags]
    offsets = [bag.offsets + at for bag, at in zip(bags, shift, strict=False) if bag.offsets is not None]
    tags, tag_ends = _texts([ALICCP_FIELDS[name] for name in names])
    return Features(
        np.concatenate([bag.ids for bag in bags]), np.concatenate(counts), np.stack(offsets), tags, tag_ends
    )


def _texts(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The texts joined as bytes, and the end of each. Shape: uint8 (bytes,), int64 (texts + 1,)."""
    raw = [text.encode() for text in texts]
    return np.frombuffer(b"".join(raw), np.uint8), np.cumsum([0] + [len(t) for t in raw])


_WEIGHT_TEXTS = _texts([repr(w) for w in WEIGHTS.tolist()])


def _write_text(
    file: BinaryIO, features: Features, keys: np.ndarray, session: np.ndarray,
    labels: tuple[np.ndarray, np.ndarray] | None, first: int, rows: tuple[int, int],
) -> None:  # fmt: skip
    """Write the lines of rows[0] .. rows[1], at most TEXT_ROOM bytes at a time."""
    click, conversion = labels if labels is not None else (np.zeros(0, bool), np.zeros(0, bool))
    # a line has at most 60 bytes plus 32 per feature: \x01 109_14 \x02 2147483647 \x03 8.31777
    ends = np.cumsum(60 + 32 * np.diff(features.offsets, axis=1).sum(axis=0))
    ends -= ends[rows[0] - 1] if rows[0] else 0
    start = rows[0]
    while start < rows[1]:
        done = ends[start - 1] if start > rows[0] else 0
        stop = min(max(int(np.searchsorted(ends, done + TEXT_ROOM, side="right")), start + 1), rows[1])
        text = np.empty(ends[stop - 1] - done, np.uint8)
        length = write_lines(text, *features, keys, session, click, conversion, first, start, stop, *_WEIGHT_TEXTS)
        file.write(text[:length].data)
        start = stop
