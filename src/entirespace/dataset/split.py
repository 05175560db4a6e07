"""Who trains, who validates, who tests: the first half in time trains (paper, section 3.1), its last tenth validates.

The log is never sorted: a share of the rows in time is a threshold on time, found by a radix select over the
times on disk, so memory does not grow with the log and each part keeps the log's own order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

BINS = 1 << 16


def kth(chunks: Callable[[], Iterable[np.ndarray]], k: int) -> int:
    """The k-th smallest of all values, k from 0, by at most five passes over the chunks.

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
            # the difference of two int64 can need 64 bits without a sign
            bins = (inside.view(np.uint64) - np.int64(low).view(np.uint64)) // np.uint64(width)
            counts += np.bincount(bins.astype(np.int64), minlength=BINS)
        bin_ = int(np.searchsorted(np.cumsum(counts), k, side="right"))
        k -= int(counts[:bin_].sum())
        low, high = low + bin_ * width, min(high, low + (bin_ + 1) * width - 1)
    return low


def threshold(chunks: Callable[[], Iterable[np.ndarray]], rows: int, share: float) -> int:
    """The time before which about `share` of the rows lie; rows of one time stay on one side of it.

    All values < the threshold are the first part. Shape: chunks of int64, `rows` values in all -> int.
    """
    return kth(chunks, min(rows - 1, round(share * rows)))
