r"""Bytes of raw Ali-CCP lines -> labels, keys, ids and weights.

Grammar (a line ends with \n or \r\n; `sample_id` and `key` are any text without a comma, `key` not empty):

    skeleton  =  sample_id "," label "," label "," key "," count "," features
    common    =  key "," count "," features
    label     =  "0" | "1"
    count     =  1 to 9 digits
    features  =  "" | feature *( \x01 feature )                   exactly `count` of them
    feature   =  name \x02 id \x03 weight
    id        =  "0" | ["-"] digit 1-9 *digit                     -2^63 < id < 2^63
    weight    =  ["+"|"-"] (digits ["." *digit] | "." digits) [("e"|"E") ["+"|"-"] digits]

Every id is written in one way only ("007" is not a valid id), so text -> int64 -> text loses nothing. A line without
enough commas is UNPARSABLE. For other lines the first fault from left to right is reported; a wrong number of features
is reported only if there is no other fault.

A weight of up to 15 significant digits, times 10 to a power from -22 to 22, is computed as digits / 10^n or
digits * 10^n from two exact doubles, so it is rounded once, as in Python's float(). Other weights (none occur in the
real files) are within 1 ulp of float32.

A key is stored in 64 bits. 16 lower-case hex digits (every key of the real files) are stored as their number, so such
keys never collide. Any other text is stored as its FNV-1a hash; among a million keys the chance of a collision is 3e-8.

Nearly every line has the usual form, which `parse` reads 8 bytes at a time: a key of 16 hex digits, ids of 1 to 15
digits, weights d.d to d.ddddddd. A line or feature of another form is read again, byte by byte, by the functions of
`bytewise`.
"""

from __future__ import annotations

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# (numba: options that it does not declare)
import numpy as np
from numba import njit

from .bytewise import NONE, OK, ORPHAN, WRONG_COUNT, ended, read_columns, read_feature
from .words import (
    BYTE,
    COMMA,
    DOT,
    EACH_01,
    EACH_02,
    EACH_80,
    NEWLINE,
    U1,
    U2,
    U3,
    U7,
    U8,
    U58,
    U64,
    U71,
    ZERO,
    called_by_kernels,
    decimal,
    digit_bits,
    hexadecimal,
    load,
    zeros,
)

PADDING = 40  # bytes that must follow the last newline, because words are read past it
MIN_FEATURE = 8  # bytes of the shortest feature of a known field, with its separator: 101 \x02 1 \x03 1 \x01
_ONE_POINT_ZERO = np.uint64(int.from_bytes(b"1.0\x01", "little"))
_LABELS, _NOT_LABELS = np.uint64(int.from_bytes(b"0,0,", "little")), np.uint64(0xFFFEFFFE)
_TENS = 10 ** np.arange(8, dtype=np.int64)

_jit = njit(cache=True, nogil=True, error_model="numpy")


def name_table(names):
    """A collision-free hash table from field names to field numbers: (multiplier, words, numbers), with 64 slots.

    A name and its \\x02 form one word of 8 bytes. The top 6 bits of word * multiplier are its slot.
    """
    wanted = [int.from_bytes(name.encode() + b"\x02", "little") for name in names]
    multiplier = 0x9E3779B97F4A7C15  # with 13 of 64 slots taken, every third or fourth multiplier has no collision
    while len({word * multiplier % 2**64 >> 58 for word in wanted}) < len(names):
        multiplier = (multiplier * 6364136223846793005 + 1442695040888963407) % 2**64
    words, numbers = np.zeros(64, np.uint64), np.full(64, NONE, np.uint64)
    for number, word in enumerate(wanted):
        slot = word * multiplier % 2**64 >> 58
        words[slot], numbers[slot] = word, number
    return np.uint64(multiplier), words, numbers


@called_by_kernels
def _quick_id(text, i):
    """Read the id at i: (whether it is 1 to 15 digits followed by \\x03, position after the \\x03, value)."""
    word = load(text, i)
    bits = digit_bits(word)
    leading_zero = (word & BYTE) == np.uint64(ZERO) and bits > np.uint64(15)
    value = np.int64(0)
    if bits == U64:
        value = np.int64(decimal(word, U71))
        i += U8
        word = load(text, i)
        bits = digit_bits(word)
        value *= _TENS[(bits >> U3) & U7]
    elif bits == U7:
        return False, i, value
    if bits > U7:
        value += np.int64(decimal(word, bits))
    good = bits < U64 and ((word >> (bits - U7)) & BYTE) == U3 and not leading_zero
    return good, i + (bits >> U3) + U1, value


@called_by_kernels
def _quick_columns(text, i, skeleton):
    """Read the columns at i: (whether they have the usual form, position of the features, labels, key, count)."""
    labels = np.int64(0)
    if skeleton:
        bits = digit_bits(load(text, i))
        while bits == U64:
            i += U8
            bits = digit_bits(load(text, i))
        i += bits >> U3
        word = load(text, i + U1)
        if text[i] != COMMA or (word & _NOT_LABELS) != _LABELS:
            return False, i, labels, np.int64(0), np.int64(0)
        labels = np.int64((word & U1) | ((word >> np.uint64(15)) & np.uint64(2)))
        i += np.uint64(5)
    high_good, high = hexadecimal(load(text, i))
    low_good, low = hexadecimal(load(text, i + U8))
    i += np.uint64(16)
    word = load(text, i + U1)
    bits = digit_bits(word)
    good = high_good and low_good and text[i] == COMMA and bits > U7 and bits < U64
    good = good and ((word >> (bits - U7)) & BYTE) == np.uint64(COMMA)
    if not good:
        return False, i, labels, np.int64(0), np.int64(0)
    key = np.int64((high << np.uint64(32)) | low)
    return True, i + np.uint64(2) + (bits >> U3), labels, key, np.int64(decimal(word, bits))


@_jit
def parse(
    text, start, stop, skeleton, drop_orphans, multiplier, words, numbers,
    room, out, values, weights, ends, faults,
):  # fmt: skip
    """Parse the lines in text[start:stop], of a skeleton file or of common features.

    text: uint8; text[start:stop] ends with a newline, and at least PADDING bytes follow.
    multiplier, words, numbers: the fields' names, from `name_table`.
    drop_orphans: report lines with a conversion without a click as ORPHAN.
    The other arguments are filled:
    out: int64 (lines, 4): key, labels (click + 2 * conversion), line number from 0, and position of each row.
    values int64, weights float32 (F * room,): ids and weights; those of field f begin at f * room, row after row.
    ends: int64 (F, lines): for each field and row, the end of its ids in `values`.
    faults: int64 (lines, 4): line number from 0, position, fault, and position of the fault of each line not kept.

    Returns: the numbers of rows, of faults, and of lines.
    """
    fields = ends.shape[0]
    filled = np.arange(fields) * room
    rows, bad, line = np.int64(0), np.int64(0), np.int64(0)
    i = np.uint64(start)
    while i < np.uint64(stop):
        begin = i
        fault, where = OK, np.int64(i)
        usual, i, labels, key, count = _quick_columns(text, i, skeleton)
        if not usual:
            fault, where, labels, key, count = read_columns(text, np.int64(begin), skeleton)
            i = np.uint64(where)
        held = np.int64(0)
        if fault == OK and not ended(text, i):
            while True:
                feature = i
                # the usual form, written inline, because the loop takes twice as long with a function call
                usual, sign, weight = False, np.uint64(0), np.float32(1)
                f, value = np.uint64(NONE), np.int64(0)
                word = load(text, i)
                bits = word ^ EACH_02  # \x02 becomes a zero byte; subtracting 1 from it sets its top bit by a borrow
                bits = zeros((bits - EACH_01) & ~bits & EACH_80)
                if bits < U64:
                    word &= (U2 << bits) - U1  # the name and its \x02
                    slot = (word * multiplier) >> U58
                    if words[slot] == word:
                        f = numbers[slot]
                    i += (bits >> U3) + U1
                    good, i, value = _quick_id(text, i)
                    if good:
                        word = load(text, i)
                        if (word & np.uint64(0xFFFFFFFF)) == _ONE_POINT_ZERO:
                            sign = U1
                            i += U3
                            usual = True
                        elif ((word >> U8) & BYTE) == np.uint64(DOT):
                            whole = (word & BYTE) - np.uint64(ZERO)  # unsigned, so a byte below "0" gives >= 10
                            word = load(text, i + np.uint64(2))
                            bits = digit_bits(word)
                            if whole < np.uint64(10) and U7 < bits < U64:
                                sign = (word >> (bits - U7)) & BYTE
                                power = _TENS[bits >> U3]
                                digits = np.int64(whole) * power + np.int64(decimal(word, bits))
                                weight = np.float32(np.float64(digits) / np.float64(power))
                                i += (bits >> U3) + np.uint64(2)
                                usual = True
                # another form, or a fault
                if not (usual and f < np.uint64(NONE) and (sign == U1 or sign == np.uint64(NEWLINE))):
                    fault, where, f, value, weight = read_feature(text, np.int64(feature), multiplier, words, numbers)
                    i = np.uint64(where)  # the words may have been read past the end of the line
                    if fault != OK:
                        break
                here = np.uint64(filled[f])
                values[here] = value
                weights[here] = weight
                filled[f] += 1
                held += 1
                if text[i] != 1:
                    break
                i += U1
        if fault == OK and held != count:
            fault = WRONG_COUNT
        if fault == OK and drop_orphans and labels == 2:
            fault = ORPHAN
        if fault == OK:
            out[rows, 0], out[rows, 1], out[rows, 2], out[rows, 3] = key, labels, line, np.int64(begin)
            for f in range(fields):
                ends[f, rows] = filled[f]
            rows += 1
        else:
            for f in range(fields):
                filled[f] = ends[f, rows - 1] if rows > 0 else f * room
            faults[bad, 0], faults[bad, 1] = line, np.int64(begin)
            faults[bad, 2], faults[bad, 3] = fault, where
            bad += 1
        while text[i] != NEWLINE:
            i += U1
        i += U1
        line += 1
    return rows, bad, line
