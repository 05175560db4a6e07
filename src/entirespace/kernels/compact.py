"""The distinct rows of the embedding table that a batch uses, found in one pass over its ids.

    for each id, in order:   if slot[id] was not set in this call:  slot[id] = U; rows[U] = id; U += 1
                             position = slot[id]

`stamp[id]` is the number of the last call that had the id, so nothing needs clearing between batches.
Rows come in the order of first appearance, so the results of a batch do not depend on how ids are numbered.
"""

from __future__ import annotations

import numba
import numpy as np


class Compactor:
    """Finds distinct rows; needs 8 bytes of working memory for each of the table's `rows` rows."""

    def __init__(self, rows: int) -> None:
        self._stamp = np.zeros(rows, np.int32)
        self._slot = np.empty(rows, np.int32)
        self._call = 0

    def __call__(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distinct ids, and where each id is among them: distinct[position] == ids.

        Shape: ids int32 or int64 (n,) in 0 .. rows - 1 -> distinct int64 (U,), position int64 (n,).
        """
        self._call += 1
        distinct, position = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
        found = _compact(ids, self._stamp, self._slot, self._call, distinct, position)
        return distinct[:found].copy(), position


_SIGNATURES = [
    f"int64({ids}[::1], int32[::1], int32[::1], int64, int64[::1], int64[::1])" for ids in ("int32", "int64")
]


@numba.njit(_SIGNATURES, cache=True, nogil=True)
def _compact(ids, stamp, slot, call, distinct, position):
    found = 0
    for i in range(len(ids)):
        row = ids[i]
        if stamp[row] != call:
            stamp[row] = call
            slot[row] = found
            distinct[found] = row
            found += 1
        position[i] = slot[row]
    return found
