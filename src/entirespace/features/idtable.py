"""Raw ids -> their numbers, by a hash table in arrays that may stay in a file: many processes share one copy of it.

A vocabulary of millions of ids opens at once, because nothing is read or sorted before the first id is looked up.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# (numba has no types)
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ..kernels.idtable import fill, find
from .codes import text_bytes

FILES = ("slots.npy", "ends.npy", "text.npy")


@dataclass(frozen=True, eq=False)
class IdTable:
    """Texts, and their numbers 0, 1, 2, ...

    >>> IdTable.of(pl.Series(["b", "a"])).find(pl.Series(["a", "x", "b"]))
    array([ 1, -1,  0], dtype=int32)
    """

    slots: np.ndarray  # uint32 (2^k,): see kernels/idtable.py
    ends: np.ndarray  # int64 (n + 1,): where each text begins, and the last one ends
    text: np.ndarray  # uint8: the texts one after the other, in UTF-8

    def __len__(self) -> int:
        return len(self.ends) - 1

    @staticmethod
    def of(texts: pl.Series) -> IdTable:
        """The table of texts without nulls, in memory."""
        characters, ends = text_bytes(texts)
        ends, characters = ends - ends[0], np.ascontiguousarray(characters[ends[0] : ends[-1]])
        slots = np.zeros(1 << max(1, (3 * len(texts) // 2).bit_length()), np.uint32)
        fill(characters, ends, slots)
        return IdTable(slots, ends, characters)

    def save(self, folder: Path) -> None:
        """Write the arrays into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in zip(FILES, (self.slots, self.ends, self.text), strict=True):
            np.save(folder / name, array)

    @staticmethod
    def open(folder: Path) -> IdTable:
        """The table in a folder, mapped into memory. Raises: OSError or ValueError if a file is missing or damaged."""
        return IdTable(*(np.load(folder / name, mmap_mode="r") for name in FILES))

    def find(self, texts: pl.Series) -> np.ndarray:
        """The number of each text; -1 if it is not there. Shape: text without nulls (n,) -> int32 (n,)."""
        out = np.empty(len(texts), np.int32)
        if len(out):
            find(self.text, self.ends, self.slots, *text_bytes(texts), out)
        return out
