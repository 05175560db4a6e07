"""The split in time: the first half trains (paper, section 3.1), with its last tenth for validation; the second tests.

The log is never sorted. The first share of the rows in time are the rows before a threshold, which a radix select finds
over the times on disk. So memory does not grow with the log, and each part keeps the log's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

BINS = 1 << 16


def kth(chunks: Callable[[], Iterable[np.ndarray]], k: int) -> int:
    """The k-th smallest of all values, with k from 0, in at most five passes over the chunks.

    Shape: chunks of int64 (n,) -> int.

    >>> kth(lambda: [np.array([5, 1]), np.array([9, 5])], 2)
    5
    """
    low, high = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for chunk in chunks():
        if len(chunk):
            low, high = min(low, int(chunk.min())), max(high, int(chunk.max()))
    while low < high:
        width = (high - low) // BINS + 1
        counts = np.zeros(BINS, np.int64)
        for chunk in chunks():
            inside = chunk[(chunk >= low) & (chunk <= high)]
            # the difference of two int64 may need all 64 bits of a uint64
            bins = (inside.view(np.uint64) - np.int64(low).view(np.uint64)) // np.uint64(width)
            counts += np.bincount(bins.astype(np.int64), minlength=BINS)
        bin_ = int(np.searchsorted(np.cumsum(counts), k, side="right"))
        k -= int(counts[:bin_].sum())
        low, high = low + bin_ * width, min(high, low + (bin_ + 1) * width - 1)
    return low


def threshold(chunks: Callable[[], Iterable[np.ndarray]], rows: int, share: float) -> int:
    """The time before which about `share` of the rows are; rows of the same time are all on one side of it.

    The first part is all values < the threshold. Shape: chunks of int64, `rows` values in all -> int.
    """
    return kth(chunks, min(rows - 1, round(share * rows)))
