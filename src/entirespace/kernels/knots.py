"""Numbers -> their positions among knots."""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# (numba: options that it does not declare)
from __future__ import annotations

import numpy as np
from numba import njit

FEW = 64  # so many knots are compared with a number all at once, which takes less time than a binary search
BLOCK = 512  # rows of a matrix whose columns are read one after the other while they are in the cache


@njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _position(value, edges):
    last = edges.shape[0] + 1
    if np.isnan(value):
        return np.float32(0)
    low = 0
    if last <= FEW:
        for j in range(last - 1):
            low += edges[j] < value
    else:
        high = last - 1
        while low < high:
            middle = (low + high) >> 1
            if edges[middle] < value:
                low = middle + 1
            else:
                high = middle
    bucket = low + 1
    share = 1.0
    if bucket == last:
        share = 0.0
    elif bucket > 1:
        start, stop = edges[bucket - 2], edges[bucket - 1]
        share = (value / 2 - start / 2) / (stop / 2 - start / 2)  # halves: the difference may overflow
        if np.isnan(share):
            share = 0.0
    position = np.float32(bucket + share)
    return position if position < bucket + 1 else np.nextafter(np.float32(bucket + 1), np.float32(0))


@njit(cache=True, nogil=True, error_model="numpy")
def positions(values, edges, out):
    """The position of each number; see `features.encoders.Knots`.

    Shape: values float (n,), edges float64 (E,), ascending -> out float32 (n,).
    """
    for i in range(values.shape[0]):
        out[i] = _position(np.float64(values[i]), edges)


@njit(cache=True, nogil=True, error_model="numpy")
def positions_of_columns(begin, end, values, edges, starts, out):
    """The positions of the numbers of some rows, each column among knots of its own.

    Args:
        begin, end: the rows.

    Shape: values float32 (n, R), edges float64 (E,): of all columns, starts int64 (R + 1,): where those of each begin
    -> out float32 (R, n).
    """
    for first in range(begin, end, BLOCK):
        for r in range(starts.shape[0] - 1):
            mine = edges[starts[r] : starts[r + 1]]
            for i in range(first, min(first + BLOCK, end)):
                out[r, i] = _position(np.float64(values[i, r]), mine)
