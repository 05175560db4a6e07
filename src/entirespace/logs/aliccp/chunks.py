"""Reads raw Ali-CCP files in chunks of whole lines. Threads parse a chunk while the caller uses the previous one.

    read 16 MB --> cut into pieces of whole lines, one per thread --> parse each --> number the ids, field by field

The ids of each field are numbered by one thread, in the order of the file, so the codes do not depend on the number of
threads or the size of a chunk. Memory: two chunks, and the dictionaries of ids.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ...core.rows import Ragged
from ...errors import DataError
from ...kernels.hashing import mix_bags
from ...kernels.intcodes import IntCodes
from ...kernels.threads import THREADS, ahead
from ..files import local
from . import parse as parser
from .bytewise import FAULTS, ORPHAN, WRONG_COUNT

CHUNK = 16 << 20  # bytes; every line must be shorter than this
_NEWLINE = ord("\n")
T = TypeVar("T")
KEY = "common_feature_index"
SKELETON = ("sample_id", "click", "conversion", KEY, "feature_num")
"""The columns of a skeleton file before its features."""
COMMON = (KEY, "feature_num")
"""The columns of a file of common features before its features."""


@dataclass(frozen=True)
class Fault:
    """A bad line."""

    line: int  # from 1
    reason: str  # a key of `audit.REASONS`
    text: str  # the line
    why: str  # what is wrong: "click = '7'"


@dataclass(frozen=True)
class Chunk:
    """Some whole lines of one file: the good ones as rows, and the bad ones as faults."""

    file: Path
    bytes_read: int
    lines_before: int  # lines of the file before this chunk
    lines_read: int
    fields: dict[str, Ragged]
    keys: np.ndarray  # int64 (rows,)
    labels: np.ndarray  # int64 (rows,): click + 2 * conversion, as logged
    lines: np.ndarray  # int64 (rows,): the line of each row, from 0
    faults: list[Fault]
    orphans: np.ndarray  # int64: lines, from 1, left out because of a conversion without a click
    content: np.ndarray | None = None  # uint64 (rows, 2): a hash of each row's key and ids, if asked for

    @property
    def rows(self) -> int:
        return len(self.keys)


class Chunks:
    """Reads the files of one table, and keeps the dictionary of ids of each field.

    Args:
        fields: the names of the fields that may occur.
        weighted: the fields that get weights in every chunk. Other fields get weights only in chunks in which one of
            their weights is not 1.
        skeleton: True for skeleton files, which have five columns before the features. False for common features,
            which have two; there a line is bad if an earlier line of its file has the same key.
        drop_orphans: leave out lines with a conversion without a click, and list them in `Chunk.orphans`.
        content: hash each row into `Chunk.content`; for skeleton files.
        chunk: bytes per chunk.
        threads: the number of threads that parse.
    """

    def __init__(
        self,
        fields: tuple[str, ...],
        weighted: frozenset[str],
        *,
        skeleton: bool,
        drop_orphans: bool = False,
        content: bool = False,
        chunk: int = CHUNK,
        threads: int = THREADS,
    ) -> None:
        self.codes = {name: IntCodes() for name in fields}
        self.keys: list[IntCodes] = []  # common features: for each file, the keys of its rows
        self._weighted, self._skeleton, self._drop_orphans = weighted, skeleton, drop_orphans
        self._content = content
        self._names = parser.name_table(fields)
        self._chunk, self._threads = chunk, threads

    def read(self, files: Iterable[Path]) -> Iterator[tuple[int, Chunk]]:
        """(number of the file, chunk) for all chunks of all files, in order. The next chunk is read ahead.

        Raises: DataError for a line that is longer than a chunk.
        """
        return ahead(self._read(list(files)))

    def _read(self, files: list[Path]) -> Iterator[tuple[int, Chunk]]:
        with ThreadPoolExecutor(self._threads) as pool:
            pieces = [_Piece(len(self.codes)) for _ in range(self._threads)]
            for number, file in enumerate(files):
                if not self._skeleton:
                    self.keys.append(IntCodes())
                lines = 0
                for text, stop in ahead(texts(file, self._chunk)):
                    bounds = _cuts(text, stop, self._threads)
                    list(pool.map(self._parse, pieces, [text] * len(pieces), bounds, bounds[1:]))
                    chunk = self._assemble(pool, file, text, stop, lines, pieces)
                    lines += chunk.lines_read
                    yield number, chunk

    def _parse(self, piece: _Piece, text: bytearray, start: int, stop: int) -> None:
        piece.parse(text, start, stop, self._skeleton, self._drop_orphans, self._names)

    def _assemble(
        self,
        pool: ThreadPoolExecutor,
        file: Path,
        text: bytearray,
        stop: int,
        before: int,
        pieces: list[_Piece],
    ) -> Chunk:
        lines_before = before + _running(p.lines_read for p in pieces)
        lines = np.concatenate([p.of_rows(2) + n for p, n in zip(pieces, lines_before, strict=False)])
        begins = np.concatenate([p.of_rows(3) for p in pieces])
        keys, labels = (np.concatenate([p.of_rows(i) for p in pieces]) for i in (0, 1))
        # start with the fields that have most ids, so that the threads finish at about the same time
        order = sorted(range(len(self.codes)), key=lambda f: -sum(p.filled(f) for p in pieces))
        names = tuple(self.codes)
        bags = dict(pool.map(lambda f: (names[f], self._field(names[f], f, pieces)), order))
        fields = {name: bags[name] for name in names}

        faults, orphans = [], []
        for piece, n in zip(pieces, lines_before, strict=False):
            for line, begin, fault, where in piece.faults[: piece.bad].tolist():
                if fault == ORPHAN:
                    orphans.append(line + n + 1)
                else:
                    why = _why(text, begin, fault, where, self._skeleton)
                    faults.append(Fault(int(line + n + 1), FAULTS[fault], _line(text, begin), why))
        if not self._skeleton:
            fresh = self._fresh(keys)
            for i in np.flatnonzero(~fresh):
                line = _line(text, int(begins[i]))
                faults.append(Fault(int(lines[i]) + 1, "duplicate_key", line, f"{KEY} = {line.partition(',')[0]!r}"))
            if not fresh.all():
                faults.sort(key=lambda fault: fault.line)
                kept = np.flatnonzero(fresh)
                fields = {name: field.take(kept) for name, field in fields.items()}
                keys, labels, lines = keys[kept], labels[kept], lines[kept]
        return Chunk(
            file,
            stop,
            before,
            int(lines_before[-1]) - before,
            fields,
            keys,
            labels,
            lines,
            faults,
            np.array(orphans, np.int64),
            self._hashed(keys, fields) if self._content else None,
        )

    def _hashed(self, keys: np.ndarray, fields: dict[str, Ragged]) -> np.ndarray:
        """A hash of the key and the ids of each row, wherever it is in the file. Shape: int64 (n,) -> uint64 (n, 2)."""
        out = np.zeros((len(keys), 2), np.uint64)
        mix_bags(keys, np.arange(len(keys) + 1), out)
        for name, bags in fields.items():
            mix_bags(self.codes[name].keys[bags.values], bags.offsets, out)
        return out

    def _field(self, name: str, f: int, pieces: list[_Piece]) -> Ragged:
        """The bags of one field from all pieces. New ids get the next codes."""
        ends, rows = _running(p.filled(f) for p in pieces), _running(p.rows for p in pieces)
        values, weights = np.empty(ends[-1], np.int32), np.empty(ends[-1], np.float32)
        offsets = np.zeros(rows[-1] + 1, np.int64)
        for i, piece in enumerate(pieces):
            here = slice(ends[i], ends[i + 1])
            self.codes[name].encode(piece.ids(f), values[here])
            weights[here] = piece.weights(f)
            np.add(piece.ends(f), ends[i] - f * piece.room, out=offsets[rows[i] + 1 : rows[i + 1] + 1])
        some = name in self._weighted or bool((weights != 1).any())
        return Ragged(values, offsets, weights if some else None)

    def _fresh(self, keys: np.ndarray) -> np.ndarray:
        """The rows whose key did not occur earlier in the file. Shape: int64 (n,) -> bool (n,)."""
        known = len(self.keys[-1])
        codes = self.keys[-1].encode(keys)
        # a new key has a higher code than all keys before it
        return codes > np.maximum.accumulate(np.concatenate(([known - 1], codes)))[:-1]


class _Piece:
    """The part of a chunk that one thread parsed. Its arrays are reused for the next chunk."""

    def __init__(self, fields: int) -> None:
        self.fields = fields
        self.room: int = 0  # capacity: ids per field
        self.rows: int = 0
        self.bad: int = 0
        self.lines_read: int = 0
        self._values, self._weights = np.empty(0, np.int64), np.empty(0, np.float32)
        self._ends, self._out = np.empty((fields, 0), np.int64), np.empty((0, 4), np.int64)
        self.faults = np.empty((0, 4), np.int64)

    def parse(
        self,
        text: bytearray,
        start: int,
        stop: int,
        skeleton: bool,
        drop_orphans: bool,
        names: tuple[np.uint64, np.ndarray, np.ndarray],
    ) -> None:
        """Parse text[start:stop].

        The arrays have space for as many features as the text can hold; pages that are never written take no memory.
        """
        characters = np.frombuffer(text, np.uint8)
        lines, most = newlines(characters[start:stop]), (stop - start) // parser.MIN_FEATURE + 1
        if most > self.room:
            self.room = most
            self._values = np.empty(self.fields * most, np.int64)
            self._weights = np.empty(self.fields * most, np.float32)
        if lines > len(self._out):
            lines += lines // 8
            self._ends, self._out = np.empty((self.fields, lines), np.int64), np.empty((lines, 4), np.int64)
            self.faults = np.empty((lines, 4), np.int64)
        found = parser.parse(
            characters,
            start,
            stop,
            skeleton,
            drop_orphans,
            *names,
            self.room,
            self._out,
            self._values,
            self._weights,
            self._ends,
            self.faults,
        )
        self.rows, self.bad, self.lines_read = map(int, found)

    def of_rows(self, i: int) -> np.ndarray:
        """Column i of the parser's output: 0 key, 1 labels, 2 line, 3 position. Shape: int64 (rows,)."""
        return self._out[: self.rows, i]

    def filled(self, f: int) -> int:
        """The number of ids of field f in this piece."""
        return int(self._ends[f, self.rows - 1]) - f * self.room if self.rows else 0

    def ids(self, f: int) -> np.ndarray:
        """The raw ids of field f. Shape: int64 (n,)."""
        return self._values[f * self.room :][: self.filled(f)]

    def weights(self, f: int) -> np.ndarray:
        """The weights of field f. Shape: float32 (n,)."""
        return self._weights[f * self.room :][: self.filled(f)]

    def ends(self, f: int) -> np.ndarray:
        """The end of each row's ids in the array of all fields, in which field f begins at f * room.

        Shape: int64 (rows,).
        """
        return self._ends[f, : self.rows]


def texts(file: Path, size: int) -> Iterator[tuple[bytearray, int]]:
    """Read a file in chunks: (text, stop), of which text[:stop] is whole lines. The last line gets a newline if needed.

    Two buffers are used in turn, so that one is filled while the other is parsed.

    Raises: DataError for a line of `size` bytes or more, or if the file changes while it is read.
    """
    found, total = local(file), 0
    buffers = [bytearray(size + 1 + parser.PADDING) for _ in range(2)]
    carried, past = b"", 0
    with file.open("rb", buffering=0) as raw:
        for text in itertools.cycle(buffers):
            have, read = len(carried), 1
            text[:have] = carried
            with memoryview(text) as view:
                while have < size and read:
                    read = raw.readinto(view[have:size]) or 0
                    have += read
                    total += read
            if not read:
                found.check_unchanged(total)
            if have == 0:
                return
            if not read and text[have - 1] != _NEWLINE:
                text[have] = _NEWLINE
                have += 1
            stop = text.rfind(b"\n", 0, have) + 1
            if stop == 0:
                raise DataError(
                    f"a line must be shorter than {size:,} bytes",
                    "it is longer",
                    where=f"{file.name}, line {1 + newlines(np.memmap(file, np.uint8)[:past])}",
                    do="Is this the unpacked text file?",
                )
            yield text, stop
            past += stop
            carried = bytes(memoryview(text)[stop:have])


def newlines(characters: np.ndarray) -> int:
    """The number of newlines, counted in steps that fit the processor's cache. Shape: uint8 (n,)."""
    step = 1 << 18
    steps = range(0, len(characters), step)
    return sum(int(np.count_nonzero(characters[i : i + step] == _NEWLINE)) for i in steps)


def _running(counts: Iterable[int]) -> np.ndarray:
    """The sums of the first 0, 1, ..., n counts. Shape: int64 (n + 1,)."""
    return np.cumsum(np.array([0, *counts], np.int64))


def _cuts(text: bytearray, stop: int, pieces: int) -> list[int]:
    """The pieces + 1 positions that cut text[:stop] into pieces of whole lines of about equal length."""
    cuts = [0]
    for i in range(1, pieces):
        cuts.append(max(cuts[-1], text.rfind(b"\n", 0, stop * i // pieces) + 1))
    return [*cuts, stop]


def _line(text: bytearray, begin: int) -> str:
    return text[begin : text.index(b"\n", begin)].decode(errors="backslashreplace")


def _why(text: bytearray, begin: int, fault: int, where: int, skeleton: bool) -> str:
    """What is wrong with the line at `begin`; empty if that is the whole line. `where` is the position of the fault."""
    columns = SKELETON if skeleton else COMMON
    if fault == WRONG_COUNT:
        *_, count, features = _line(text, begin).split(",", len(columns))
        held = features.count("\x01") + 1 if features.strip("\r") else 0
        return f"{columns[-1]} = {count!r}, features: {held}"
    if where == begin:
        return ""
    end = min(i for i in (text.find(sign, where) for sign in (b",", b"\x01", b"\n")) if i >= 0)
    column = text.count(b",", begin, where)
    name = columns[column] if column < len(columns) else "feature"
    return f"{name} = {text[where:end].decode(errors='backslashreplace')!r}"
