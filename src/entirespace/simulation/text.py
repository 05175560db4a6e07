"""Writes raw Ali-CCP text: lines of features joined by \\x01, each feature `field \\x02 id \\x03 weight`."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np


class Features(NamedTuple):
    """The features of consecutive rows: field f of row r is `ids[offsets[f, r]:offsets[f, r + 1]]`."""

    ids: np.ndarray  # int32 (L,)
    counts: np.ndarray  # int32 (L,): which of the weight texts belongs to the id
    offsets: np.ndarray  # int64 (fields, rows + 1)
    tags: np.ndarray  # uint8: the fields' Ali-CCP names, joined
    tag_ends: np.ndarray  # int64 (fields + 1,)


_COMMA, _NEWLINE, _ZERO = np.uint8(44), np.uint8(10), np.uint8(48)


@numba.njit(cache=True, nogil=True)
def _number(out, at, value):
    """Write a number in decimal at position `at`. Returns the position after it."""
    value = np.uint32(value)  # dividing unsigned integers by a constant is fast
    digits, bound = 1, np.uint64(10)
    while value >= bound:
        digits += 1
        bound *= np.uint64(10)
    for i in range(at + digits - 1, at - 1, -1):
        out[i] = _ZERO + value % np.uint32(10)
        value = value // np.uint32(10)
    return at + digits


@numba.njit(cache=True, nogil=True)
def _copy(out, at, text, start, stop):
    for i in range(stop - start):
        out[at + i] = text[start + i]
    return at + stop - start


@numba.njit(cache=True, nogil=True)
def write_lines(
    out, ids, counts, offsets, tags, tag_ends, keys, session, click, conversion, first, start, stop,
    weights, weight_ends,
):  # fmt: skip
    """Write the lines of rows start .. stop. Returns the number of bytes.

    With labels these are skeleton lines (number `first` + row, labels, key, features), else common-feature lines.
    As in the real files, the order of fields differs from line to line, and a bag may be split in two pieces.
    """
    fields = len(offsets)
    at = 0
    for row in range(start, stop):
        if len(click) > 0:
            at = _number(out, at, first + row)
            out[at] = _COMMA
            out[at + 1] = _ZERO + click[row]
            out[at + 2] = _COMMA
            out[at + 3] = _ZERO + conversion[row]
            out[at + 4] = _COMMA
            at += 5
        for i in range(16):
            out[at + i] = keys[session[row], i]
        at += 16
        out[at] = _COMMA
        number = 0
        for f in range(fields):
            number += offsets[f, row + 1] - offsets[f, row]
        at = _number(out, at + 1, number)
        out[at] = _COMMA
        at += 1
        # start at any field, go forwards or backwards; the second half of the first field's ids comes last
        turn = 7 * np.int64(keys[session[row], 1]) + row
        step = 1 if turn % 2 == 0 else fields - 1
        head = turn % fields
        for piece in range(fields + 1):
            f = (head + piece * step) % fields
            low, high = offsets[f, row], offsets[f, row + 1]
            if piece == 0:
                high = (low + high + 1) // 2
            elif piece == fields:
                low = (low + high + 1) // 2
            for i in range(low, high):
                at = _copy(out, at, tags, tag_ends[f], tag_ends[f + 1])
                out[at] = 2
                at = _number(out, at + 1, ids[i])
                out[at] = 3
                at = _copy(out, at + 1, weights, weight_ends[counts[i]], weight_ends[counts[i] + 1])
                out[at] = 1
                at += 1
        if number > 0:
            at -= 1  # the last \x01
        out[at] = _NEWLINE
        at += 1
    return at
