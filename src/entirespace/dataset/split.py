"""The split in time. By default the first half is for training (paper, section 3.1), and its last tenth validation.

The log is not sorted. A radix select over the times on disk finds the time before which the wanted share of rows is. So
memory does not grow with the log, and each part keeps the order of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

BINS = 1 << 16


def kth(chunks: Callable[[], Iterable[np.ndarray]], k: int) -> int:
    """The k-th smallest of all values, with k from 0, in at most five passes over the chunks.

    Args:
        chunks: opens the values from the start, in chunks of int64 (n,).
        k: from 0 to the number of values - 1.

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
            # the difference of two int64 may need all 64 bits, so it is computed as uint64
            bins = (inside.view(np.uint64) - np.int64(low).view(np.uint64)) // np.uint64(width)
            counts += np.bincount(bins.astype(np.int64), minlength=BINS)
        bin_ = int(np.searchsorted(np.cumsum(counts), k, side="right"))
        k -= int(counts[:bin_].sum())
        low, high = low + bin_ * width, min(high, low + (bin_ + 1) * width - 1)
    return low


def threshold(chunks: Callable[[], Iterable[np.ndarray]], rows: int, share: float) -> int:
    """The time t so that about `share` of the rows have a time < t. Rows with equal times are never separated.

    Args:
        chunks: opens the times from the start, in chunks of int64 (n,).
        rows: the number of times in all chunks.
        share: from 0 to 1.
    """
    return kth(chunks, min(rows - 1, round(share * rows)))
