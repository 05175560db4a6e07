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

An id has one spelling only ("007" is no id), so text -> int64 -> text loses nothing. A line without enough commas is
UNPARSABLE. For other lines the first fault from left to right is reported, and a wrong number of features last.

A weight of up to 15 significant digits, times 10 to a power from -22 to 22, is computed as digits / 10^n or
digits * 10^n from two exact doubles, so it is rounded once, as in Python's float(). Other weights (none occur in the
real files) are within 1 ulp of float32.

A key becomes 64 bits. 16 lower-case hex digits (every key of the real files) become the number they write, so two such
keys never collide. Any other text becomes its FNV-1a hash, and among a million keys the chance of a collision is 3e-8.

Nearly every line has the usual form, which `parse` reads 8 bytes at a time: a key of 16 hex digits, ids of 1 to 15
digits, weights d.d to d.ddddddd. A line or feature of another form is read again, byte by byte, by the functions in
the second half of this file.
"""

from __future__ import annotations

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# (numba: an intrinsic takes one argument less than it is written with, and options that it does not declare)
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# What can be wrong with a line, in the order of `FAULTS`; OK is never listed as a fault.
OK, UNPARSABLE, BAD_LABEL, UNKNOWN_FIELD, BAD_WEIGHT, WRONG_COUNT, ORPHAN = range(7)
FAULTS = (
    "",
    "unparsable_line",
    "bad_label",
    "unknown_field",
    "bad_weight",
    "wrong_feature_count",
    "conversion_without_click",
)
LONGEST_NAME = 7  # bytes: a field's name and its \x02 are read as one word
PADDING = 40  # bytes that must follow the last newline: words are read past it
MIN_FEATURE = 8  # bytes of the shortest feature of a known field, with its separator: 101 \x02 1 \x03 1 \x01

_NEWLINE, _CR, _COMMA, _DOT, _PLUS, _MINUS, _ZERO = (ord(c) for c in "\n\r,.+-0")
_LOWER = 32  # the bit that makes an ASCII letter lower-case
_POWERS = 10.0 ** np.arange(23)  # exact in float64

# Words are uint64, and so must be the numbers combined with them: numba makes float64 of uint64 and int64.
_U1, _U2, _U3, _U7, _U8, _U58, _U64, _U71 = (np.uint64(n) for n in (1, 2, 3, 7, 8, 58, 64, 71))
_BYTE = np.uint64(0xFF)
_EACH_01, _EACH_02, _EACH_06, _EACH_0F, _EACH_30, _EACH_76, _EACH_80, _EACH_F0 = (
    np.uint64(byte * 0x0101010101010101) for byte in (0x01, 0x02, 0x06, 0x0F, 0x30, 0x76, 0x80, 0xF0)
)  # words with the given byte in each of their 8 bytes
_ONE_POINT_ZERO = np.uint64(int.from_bytes(b"1.0\x01", "little"))
_LABELS, _NOT_LABELS = np.uint64(int.from_bytes(b"0,0,", "little")), np.uint64(0xFFFEFFFE)
_TENS = 10 ** np.arange(8, dtype=np.int64)
NONE = 64  # no field has this number

_jit = njit(cache=True, nogil=True, error_model="numpy")
# For functions that only kernels call. LLVM inlines most of them, but not those of the second half: a call is
# expensive, since each array is passed as 7 words.
_part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def name_table(names):
    """A hash table without collisions that gives a field's number: (multiplier, words, numbers), with 64 slots.

    A name and its \\x02 are one word; the top 6 bits of word * multiplier are its slot.
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


# By words of 8 bytes


@intrinsic
def _load(typing_context, text, i):
    """The 8 bytes text[i:i + 8] as a little-endian uint64, for any i; text is uint8, contiguous."""

    def build(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = ir.IntType(64)
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), word.as_pointer())
        return builder.load(place, align=1)

    return types.uint64(text, types.int64), build


@intrinsic
def _zeros(typing_context, word):
    """Zero bits below the lowest one bit; 64 for 0."""

    def build(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), build


@_part
def _digit_bits(word):
    """8 n + 7, where the first n of the 8 bytes are digits and the next is not; 64 if all 8 are digits."""
    word ^= _EACH_30
    return _zeros(((word + _EACH_76) | word) & _EACH_80)


@_part
def _number(word, bits):
    """The number that the first n digits of the word write, n from 1 to 8; bits is 8 n + 7.

    The digits are shifted to the top, with zeros below them. Then pairs, fours and eights of digits are joined: each
    multiplication adds 10 (100, 10000) times the left half to the right half.
    """
    word = (word ^ _EACH_30) << (_U71 - bits)
    word = (word * np.uint64(2561)) >> _U8
    word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
    return ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)


@_part
def _hexadecimal(word):
    """(whether the 8 bytes are lower-case hex digits, the number that they write).

    A letter has bit 6 set. The value is the low half of the byte, plus 9 for a letter. Writing the value as hex digits
    must give the word again.
    """
    letter = (word >> np.uint64(6)) & _EACH_01
    value = (word & _EACH_0F) + letter * np.uint64(9)
    above_9 = ((value + _EACH_06) >> np.uint64(4)) & _EACH_01
    good = (
        above_9 == letter and (value & _EACH_F0) == np.uint64(0) and value + _EACH_30 + letter * np.uint64(0x27) == word
    )
    value = ((value << np.uint64(4)) | (value >> _U8)) & np.uint64(0x00FF00FF00FF00FF)
    value = ((value << _U8) | (value >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    value = ((value << np.uint64(16)) | (value >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    return good, value


@_part
def _quick_id(text, i):
    """(whether it is 1 to 15 digits followed by \\x03, position after that, value) of the id at i."""
    word = _load(text, i)
    bits = _digit_bits(word)
    leading_zero = (word & _BYTE) == np.uint64(_ZERO) and bits > np.uint64(15)
    value = np.int64(0)
    if bits == _U64:
        value = np.int64(_number(word, _U71))
        i += _U8
        word = _load(text, i)
        bits = _digit_bits(word)
        value *= _TENS[(bits >> _U3) & _U7]
    elif bits == _U7:
        return False, i, value
    if bits > _U7:
        value += np.int64(_number(word, bits))
    good = bits < _U64 and ((word >> (bits - _U7)) & _BYTE) == _U3 and not leading_zero
    return good, i + (bits >> _U3) + _U1, value


@_part
def _quick_columns(text, i, skeleton):
    """(whether they have the usual form, where the features begin, labels, key, count) of the columns at i."""
    labels = np.int64(0)
    if skeleton:
        bits = _digit_bits(_load(text, i))
        while bits == _U64:
            i += _U8
            bits = _digit_bits(_load(text, i))
        i += bits >> _U3
        word = _load(text, i + _U1)
        if text[i] != _COMMA or (word & _NOT_LABELS) != _LABELS:
            return False, i, labels, np.int64(0), np.int64(0)
        labels = np.int64((word & _U1) | ((word >> np.uint64(15)) & np.uint64(2)))
        i += np.uint64(5)
    high_good, high = _hexadecimal(_load(text, i))
    low_good, low = _hexadecimal(_load(text, i + _U8))
    i += np.uint64(16)
    word = _load(text, i + _U1)
    bits = _digit_bits(word)
    good = high_good and low_good and text[i] == _COMMA and bits > _U7 and bits < _U64
    good = good and ((word >> (bits - _U7)) & _BYTE) == np.uint64(_COMMA)
    if not good:
        return False, i, labels, np.int64(0), np.int64(0)
    key = np.int64((high << np.uint64(32)) | low)
    return True, i + np.uint64(2) + (bits >> _U3), labels, key, np.int64(_number(word, bits))


@_jit
def parse(
    text, start, stop, skeleton, drop_orphans, multiplier, words, numbers,
    room, out, values, weights, ends, faults,
):  # fmt: skip
    """Parse the whole lines in text[start:stop], of the skeleton or of the common features.

    text: uint8; text[start:stop] ends with a newline, and at least PADDING bytes follow.
    multiplier, words, numbers: the fields' names, from `name_table`.
    out: int64 (lines, 4): for each row its key, labels (click + 2 * conversion), line from 0, position.
    values int64, weights float32 (F * room,): those of field f begin at f * room, row after row.
    ends: int64 (F, lines): for each field and row, where in `values` its ids end.
    faults: int64 (lines, 4): for each line not kept its number from 0, position, fault, position of the fault.
    Returns (rows, faults, lines).
    """
    fields = ends.shape[0]
    filled = np.arange(fields) * room
    rows, bad, line = np.int64(0), np.int64(0), np.int64(0)
    i = np.uint64(start)
    while i < np.uint64(stop):
        begin = i
        fault, where = OK, np.int64(i)
        usual, i, labels, key, said = _quick_columns(text, i, skeleton)
        if not usual:
            fault, where, labels, key, said = _columns(text, np.int64(begin), skeleton)
            i = np.uint64(where)
        held = np.int64(0)
        if fault == OK and not _ended(text, i):
            while True:
                feature = i
                # the usual form, written inline, because the loop takes twice as long with a function call
                usual, sign, weight = False, np.uint64(0), np.float32(1)
                f, value = np.uint64(NONE), np.int64(0)
                word = _load(text, i)
                bits = word ^ _EACH_02  # \x02 becomes a zero byte; subtracting 1 from it sets its top bit by a borrow
                bits = _zeros((bits - _EACH_01) & ~bits & _EACH_80)
                if bits < _U64:
                    word &= (_U2 << bits) - _U1  # the name and its \x02
                    slot = (word * multiplier) >> _U58
                    if words[slot] == word:
                        f = numbers[slot]
                    i += (bits >> _U3) + _U1
                    good, i, value = _quick_id(text, i)
                    if good:
                        word = _load(text, i)
                        if (word & np.uint64(0xFFFFFFFF)) == _ONE_POINT_ZERO:
                            sign = _U1
                            i += _U3
                            usual = True
                        elif ((word >> _U8) & _BYTE) == np.uint64(_DOT):
                            whole = (word & _BYTE) - np.uint64(_ZERO)  # unsigned, so a byte below "0" gives >= 10
                            word = _load(text, i + np.uint64(2))
                            bits = _digit_bits(word)
                            if whole < np.uint64(10) and _U7 < bits < _U64:
                                sign = (word >> (bits - _U7)) & _BYTE
                                power = _TENS[bits >> _U3]
                                digits = np.int64(whole) * power + np.int64(_number(word, bits))
                                weight = np.float32(np.float64(digits) / np.float64(power))
                                i += (bits >> _U3) + np.uint64(2)
                                usual = True
                # another form, or a fault
                if not (usual and f < np.uint64(NONE) and (sign == _U1 or sign == np.uint64(_NEWLINE))):
                    fault, where, f, value, weight = _feature(text, np.int64(feature), multiplier, words, numbers)
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
                i += _U1
        if fault == OK and held != said:
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
        while text[i] != _NEWLINE:
            i += _U1
        i += _U1
        line += 1
    return rows, bad, line


# Byte by byte: lines and features that do not have the usual form. All of these stop at the newline.


@_part
def _ended(text, i):
    """Whether the line ends at i, with a newline or CR newline."""
    return text[i] == _NEWLINE or (text[i] == _CR and text[i + 1] == _NEWLINE)


@_part
def _columns(text, i, skeleton):
    """(fault, where, labels, key, count) of the columns before the features; without a fault, `where` is their end."""
    begin = i
    fault, where, labels = OK, i, np.int64(0)
    key, said = np.int64(0), np.int64(0)
    columns = 5 if skeleton else 2
    for column in range(columns):
        first = i
        number, digits = np.int64(0), 0
        while text[i] != _COMMA and text[i] != _NEWLINE:
            number = number * 10 + (np.int64(text[i]) - _ZERO)
            digits += 48 <= text[i] <= 57
            i += 1
        if text[i] == _NEWLINE:
            return UNPARSABLE, begin, labels, key, said
        found = OK
        if column == columns - 2:
            key = _key(text, first, i)
            found = UNPARSABLE if i == first else OK
        elif column == columns - 1:
            said = number
            found = OK if digits == i - first and 0 < digits < 10 else UNPARSABLE
        elif column > 0:
            labels |= (number & 1) << (column - 1)
            found = OK if i - first == 1 and digits == 1 and number < 2 else BAD_LABEL
        if fault == OK and found != OK:  # the first fault, which counts if no comma is missing
            fault, where = found, first
        i += 1
    return fault, i if fault == OK else where, labels, key, said


@_part
def _key(text, start, stop):
    """64 bits of a key: the number of 16 lower-case hex digits, or FNV-1a of any other text."""
    if stop - start == 16:
        high_good, high = _hexadecimal(_load(text, start))
        low_good, low = _hexadecimal(_load(text, start + 8))
        if high_good and low_good:
            return np.int64((high << np.uint64(32)) | low)
    number = np.int64(-3750763034362895579)
    for i in range(start, stop):
        number = (number ^ np.int64(text[i])) * np.int64(1099511628211)
    return number


@_part
def _feature(text, i, multiplier, words, numbers):
    """(fault, where, field, id, weight) of the feature at i; without a fault, `where` is its end."""
    begin = i
    field, word = np.uint64(NONE), np.uint64(0)
    while text[i] > 3 and text[i] != _NEWLINE:
        if i - begin < LONGEST_NAME:
            word |= np.uint64(text[i]) << np.uint64(8 * (i - begin))
        i += 1
    if text[i] != 2:
        return UNPARSABLE, begin, field, np.int64(0), np.float32(0)
    word |= _U2 << np.uint64(8 * min(i - begin, LONGEST_NAME))
    slot = (word * multiplier) >> _U58
    if i - begin <= LONGEST_NAME and words[slot] == word:
        field = numbers[slot]
    if field == np.uint64(NONE):
        return UNKNOWN_FIELD, begin, field, np.int64(0), np.float32(0)
    good, i, value = _id(text, i + 1)
    if not good or text[i] != 3:
        return UNPARSABLE, begin, field, value, np.float32(0)
    fault, i, weight = _weight(text, i + 1)
    return fault, i if fault == OK else begin, field, value, weight


@_part
def _id(text, i):
    """(whether it is a valid id, position after it, value) of the id at i."""
    negative = text[i] == _MINUS
    i += negative
    start = i
    value = np.int64(0)
    while True:
        d = np.int64(text[i]) - _ZERO
        if d < 0 or d > 9:
            break
        value = value * 10 + d  # 19 digits can exceed 2^63 once, which makes it negative; 20 are refused below
        i += 1
    n = i - start
    spelt = text[start] != _ZERO or (n == 1 and not negative)
    return 0 < n < 20 and value >= 0 and spelt, i, -value if negative else value


@_part
def _scale(digits, exponent):
    """digits * 10^exponent as float64."""
    value = np.float64(digits)
    if digits == 0:
        return value
    exponent = min(max(exponent, -500), 500)
    while exponent > 22:
        value *= 1e22
        exponent -= 22
    while exponent < -22:
        value /= 1e22
        exponent += 22
    return value * _POWERS[exponent] if exponent >= 0 else value / _POWERS[-exponent]


@_part
def _spells(text, i, word):
    """Whether the text at i is the word, in upper or lower case (`word` is lower-case)."""
    for k in range(len(word)):  # noqa: SIM110 (numba has no all() of a generator)
        if (text[i + k] | _LOWER) != word[k]:
            return False
    return True


_NAN, _INF, _INITY = (np.frombuffer(word, np.uint8) for word in (b"nan", b"inf", b"inity"))


@_part
def _weight(text, i):
    """(fault, position after it, value) of the weight at i."""
    negative = text[i] == _MINUS
    if negative or text[i] == _PLUS:
        i += 1
    if _spells(text, i, _NAN) or _spells(text, i, _INF):
        i += 8 if _spells(text, i, _INF) and _spells(text, i + 3, _INITY) else 3
        return (BAD_WEIGHT if text[i] == 1 or _ended(text, i) else UNPARSABLE), i, np.float32(0)
    digits, kept, seen, exponent = np.int64(0), 0, 0, 0
    while True:
        d = np.int64(text[i]) - _ZERO
        if d < 0 or d > 9:
            break
        if kept < 18:
            digits = digits * 10 + d
            kept += digits > 0
        else:
            exponent += 1
        seen += 1
        i += 1
    if text[i] == _DOT:
        i += 1
        while True:
            d = np.int64(text[i]) - _ZERO
            if d < 0 or d > 9:
                break
            if kept < 18:
                digits = digits * 10 + d
                kept += digits > 0
                exponent -= 1
            seen += 1
            i += 1
    if seen == 0:
        return UNPARSABLE, i, np.float32(0)
    if (text[i] | _LOWER) == 101:  # e
        i += 1
        down = text[i] == _MINUS
        if down or text[i] == _PLUS:
            i += 1
        power, seen = 0, 0
        while True:
            d = np.int64(text[i]) - _ZERO
            if d < 0 or d > 9:
                break
            power = min(power * 10 + d, 1_000_000_000)
            seen += 1
            i += 1
        if seen == 0:
            return UNPARSABLE, i, np.float32(0)
        exponent += -power if down else power
    if text[i] != 1 and not _ended(text, i):
        return UNPARSABLE, i, np.float32(0)
    value = np.float32(_scale(digits, exponent))
    if value == np.float32(np.inf) or (negative and value > 0):
        return BAD_WEIGHT, i, value
    return OK, i, value
