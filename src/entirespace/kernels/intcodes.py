"""Integers numbered 0, 1, 2, ... in the order of their first appearance, at 30 to 90 million a second.

The ids of one field usually come from one range of numbers, and many numbers of that range occur. So one range, the
*window*, is a plain array of codes, and a look-up in it reads 4 bytes. Integers outside the window are in a hash table
with open addressing and linear search; a slot is (key, code), with code -1 if it is empty, and most searches read one
cache line. The window grows up to a fixed size, or to at most `SPARSE` times the number of codes if that is larger.
(The ids of a log like Ali-CCP, 4 million distinct, common features and skeleton: 32 and 85 M/s; with the table alone
13 and 46.)

While one key is looked up, the entry of the key 16 places ahead is prefetched, so reads from memory overlap
(table of 500,000 distinct ids: 25 M/s without, 80 M/s with).
"""

from __future__ import annotations

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# (numba: options that it does not declare)
import numpy as np
from numba import njit

from .prefetch import prefetch_entry

SLOTS = 1 << 12  # of an empty table; the number of slots is always a power of two
WINDOW = 1 << 22  # entries of 4 bytes that a window may always have; pages never written take no memory
SPARSE = 16  # window entries per code, at most, beyond that
AHEAD = 16  # keys
_U32 = np.uint64(32)
_jit = njit(cache=True, nogil=True, error_model="numpy")
_part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by kernels only


class IntCodes:
    """The distinct integers seen so far, by code.

    >>> codes = IntCodes()
    >>> codes.encode(np.array([70, 80, 70]))
    array([0, 1, 0], dtype=int32)
    >>> codes.find(np.array([80, 90])), codes.keys
    (array([ 1, -1], dtype=int32), array([70, 80]))
    """

    def __init__(self) -> None:
        self._start = 0  # the first key of the window
        self._window = np.zeros(0, np.int32)  # code + 1 of each key in it; 0: not seen
        self._table = np.full((SLOTS, 2), -1, np.int64)
        self._far = 0  # occupied slots of the table
        self._keys = np.empty(SLOTS, np.int64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def keys(self) -> np.ndarray:
        """The integer of each code. Shape: int64 (len(self),)."""
        return self._keys[: self._size]

    def encode(self, keys: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The code of each integer; new ones get the next codes. Shape: int64 (n,) -> int32 (n,)."""
        if out is None:
            out = np.empty(len(keys), np.int32)
        if len(keys):
            self._reach(keys)
        done = 0
        while True:
            done, self._size, self._far = _encode(
                keys, done, self._start, self._window, self._table, self._keys, self._size, self._far, out
            )
            if done == len(keys):
                return out
            if self._size == len(self._keys):
                kept, self._keys = self.keys, np.empty(2 * self._size, np.int64)
                self._keys[: self._size] = kept
            else:
                self._grow()

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The code of each integer, or -1 if it was not seen before. Shape: int64 (n,) -> int32 (n,)."""
        out = np.empty(len(keys), np.int32)
        _find(keys, self._start, self._window, self._table, out)
        return out

    def _reach(self, keys: np.ndarray) -> None:
        """Widen the window to cover all the keys, or most of them if a few are far from the others."""
        sample = np.sort(keys[:: 1 + len(keys) // 512])
        few = len(sample) // 64
        for low, high in ((keys.min(), keys.max()), (sample[few], sample[len(sample) - 1 - few])):
            low, stop = int(low), int(high) + 1
            if len(self._window):
                low, stop = min(low, self._start), max(stop, self._start + len(self._window))
            if stop - low == len(self._window):
                return
            # widen by half more than is needed, so the window is copied only a few times
            room = max(WINDOW, SPARSE * self._size)
            if stop - low <= room:
                return self._widen(low, min(room, stop - low + (stop - low) // 2))

    def _widen(self, low: int, width: int) -> None:
        window, kept = np.zeros(min(width, np.iinfo(np.int64).max - low), np.int32), self._window
        window[self._start - low :][: len(kept)] = kept
        self._start, self._window = low, window
        if self._far:
            _move(self.keys, low, window)

    def _grow(self) -> None:
        slots = 2 * len(self._table)
        self._table = np.empty((0, 2), np.int64)  # free the memory before the new table is allocated
        self._table = np.full((slots, 2), -1, np.int64)
        self._far = _refill(self.keys, self._start, self._window, self._table)


@_part
def _slot(key, slots):
    """Where the search for a key begins: Fibonacci hashing after a fold; `slots` is a power of two."""
    mixed = np.uint64(key)
    mixed ^= mixed >> _U32
    mixed *= np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
    mixed ^= mixed >> _U32
    return np.int64(mixed & np.uint64(slots - 1))


@_part
def _search(key, table):
    """The slot that holds the key, or the empty slot where it belongs."""
    slots = table.shape[0]
    s = _slot(key, slots)
    while table[s, 1] >= 0 and table[s, 0] != key:
        s = (s + 1) & (slots - 1)
    return s


@_part
def _prefetch(key, start, window, table):
    place = np.uint64(key) - np.uint64(start)
    if place < np.uint64(window.shape[0]):
        prefetch_entry(window, np.int64(place))
    else:
        prefetch_entry(table, 2 * _slot(key, table.shape[0]))


@_jit
def _encode(keys, begin, start, window, table, by_code, size, far, out):
    """Write codes from position `begin` on, until `by_code` is full or two thirds of the slots are occupied.

    Returns (position of the first key without a code, number of codes, occupied slots).
    """
    slots, n = table.shape[0], keys.shape[0]
    for i in range(begin, n):
        if i + AHEAD < n:
            _prefetch(keys[i + AHEAD], start, window, table)
        key = keys[i]
        place = np.uint64(key) - np.uint64(start)
        if place < np.uint64(window.shape[0]):
            code = window[place] - 1
            if code < 0:
                if size == by_code.shape[0]:
                    return i, size, far
                code = size
                window[place], by_code[code] = code + 1, key
                size += 1
        else:
            s = _search(key, table)
            code = table[s, 1]
            if code < 0:
                if size == by_code.shape[0] or far == slots * 2 // 3:
                    return i, size, far
                code = size
                table[s, 0], table[s, 1], by_code[code] = key, code, key
                size += 1
                far += 1
        out[i] = code
    return n, size, far


@_jit
def _find(keys, start, window, table, out):
    for i in range(keys.shape[0]):
        place = np.uint64(keys[i]) - np.uint64(start)
        if place < np.uint64(window.shape[0]):
            out[i] = window[place] - 1
        else:
            out[i] = table[_search(keys[i], table), 1]


@_jit
def _move(by_code, start, window):
    """Copy the codes of keys that the widened window covers into it; their table entries are then never read."""
    for code in range(by_code.shape[0]):
        place = np.uint64(by_code[code]) - np.uint64(start)
        if place < np.uint64(window.shape[0]):
            window[place] = code + 1


@_jit
def _refill(by_code, start, window, table):
    """Put the keys outside the window into an empty table. Returns their number."""
    far = 0
    for code in range(by_code.shape[0]):
        if np.uint64(by_code[code]) - np.uint64(start) >= np.uint64(window.shape[0]):
            s = _search(by_code[code], table)
            table[s, 0], table[s, 1] = by_code[code], code
            far += 1
    return far
