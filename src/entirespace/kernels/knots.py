"""Numbers -> their positions among knots, by binary search."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def positions(values, edges, out):
    """The position of each number; see `features.encoders.Knots`.

    Shape: values float (n,), edges float64 (E,), ascending -> out float32 (n,).
    """
    last = edges.shape[0] + 1
    for i in range(values.shape[0]):
        value = np.float64(values[i])
        if np.isnan(value):
            out[i] = 0
            continue
        low, high = 0, last - 1
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
        end = np.nextafter(np.float32(bucket + 1), np.float32(0))
        out[i] = min(np.float32(bucket + share), end)
