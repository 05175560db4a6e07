"""Lines and features of raw Ali-CCP that do not have the usual form, read byte by byte (see `parse`).

All of these functions stop at the newline.
"""

from __future__ import annotations

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# (numba: options that it does not declare)
import numpy as np

from .words import COMMA, CR, DOT, MINUS, NEWLINE, PLUS, U2, U58, ZERO, called_by_kernels, hexadecimal, load

# What can be wrong with a line; the number is the index in `FAULTS`, which gives the reason in the audit.
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
NONE = 64  # stands for "no such field"; real field numbers are smaller
_LOWER = 32  # the bit that makes an ASCII letter lower-case
_POWERS = 10.0 ** np.arange(23)  # exact in float64


@called_by_kernels
def ended(text, i):
    """Whether the line ends at i, with a newline or CR newline."""
    return text[i] == NEWLINE or (text[i] == CR and text[i + 1] == NEWLINE)


@called_by_kernels
def read_columns(text, i, skeleton):
    """Read the columns before the features: (fault, position, labels, key, count).

    The position is that of the fault; without a fault, that of the first feature.
    """
    begin = i
    fault, where, labels = OK, i, np.int64(0)
    key, count = np.int64(0), np.int64(0)
    columns = 5 if skeleton else 2
    for column in range(columns):
        first = i
        number, digits = np.int64(0), 0
        while text[i] != COMMA and text[i] != NEWLINE:
            number = number * 10 + (np.int64(text[i]) - ZERO)
            digits += 48 <= text[i] <= 57
            i += 1
        if text[i] == NEWLINE:
            return UNPARSABLE, begin, labels, key, count
        found = OK
        if column == columns - 2:
            key = _key(text, first, i)
            found = UNPARSABLE if i == first else OK
        elif column == columns - 1:
            count = number
            found = OK if digits == i - first and 0 < digits < 10 else UNPARSABLE
        elif column > 0:
            labels |= (number & 1) << (column - 1)
            found = OK if i - first == 1 and digits == 1 and number < 2 else BAD_LABEL
        if fault == OK and found != OK:  # report the first fault; a missing comma comes before all
            fault, where = found, first
        i += 1
    return fault, i if fault == OK else where, labels, key, count


@called_by_kernels
def _key(text, start, stop):
    """64 bits of a key: the number of 16 lower-case hex digits, or FNV-1a of any other text."""
    if stop - start == 16:
        high_good, high = hexadecimal(load(text, start))
        low_good, low = hexadecimal(load(text, start + 8))
        if high_good and low_good:
            return np.int64((high << np.uint64(32)) | low)
    number = np.int64(-3750763034362895579)
    for i in range(start, stop):
        number = (number ^ np.int64(text[i])) * np.int64(1099511628211)
    return number


@called_by_kernels
def read_feature(text, i, multiplier, words, numbers):
    """Read the feature at i: (fault, position, field, id, weight).

    The position is that of the fault; without a fault, that of the feature's end.
    """
    begin = i
    field, word = np.uint64(NONE), np.uint64(0)
    while text[i] > 3 and text[i] != NEWLINE:
        if i - begin < LONGEST_NAME:
            word |= np.uint64(text[i]) << np.uint64(8 * (i - begin))
        i += 1
    if text[i] != 2:
        return UNPARSABLE, begin, field, np.int64(0), np.float32(0)
    word |= U2 << np.uint64(8 * min(i - begin, LONGEST_NAME))
    slot = (word * multiplier) >> U58
    if i - begin <= LONGEST_NAME and words[slot] == word:
        field = numbers[slot]
    if field == np.uint64(NONE):
        return UNKNOWN_FIELD, begin, field, np.int64(0), np.float32(0)
    good, i, value = _id(text, i + 1)
    if not good or text[i] != 3:
        return UNPARSABLE, begin, field, value, np.float32(0)
    fault, i, weight = _weight(text, i + 1)
    return fault, i if fault == OK else begin, field, value, weight


@called_by_kernels
def _id(text, i):
    """Read the id at i: (whether it is valid, position after it, value)."""
    negative = text[i] == MINUS
    i += negative
    start = i
    value = np.int64(0)
    while True:
        d = np.int64(text[i]) - ZERO
        if d < 0 or d > 9:
            break
        value = value * 10 + d  # 19 digits may overflow int64 once, to a negative value; 20 digits are refused below
        i += 1
    n = i - start
    canonical = text[start] != ZERO or (n == 1 and not negative)
    return 0 < n < 20 and value >= 0 and canonical, i, -value if negative else value


@called_by_kernels
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


@called_by_kernels
def _spells(text, i, word):
    """Whether the text at i is the word, ignoring case; `word` is lower-case."""
    for k in range(len(word)):  # noqa: SIM110 (numba has no all() of a generator)
        if (text[i + k] | _LOWER) != word[k]:
            return False
    return True


_NAN, _INF, _INITY = (np.frombuffer(word, np.uint8) for word in (b"nan", b"inf", b"inity"))


@called_by_kernels
def _weight(text, i):
    """Read the weight at i: (fault, position after it, value)."""
    negative = text[i] == MINUS
    if negative or text[i] == PLUS:
        i += 1
    if _spells(text, i, _NAN) or _spells(text, i, _INF):
        i += 8 if _spells(text, i, _INF) and _spells(text, i + 3, _INITY) else 3
        return (BAD_WEIGHT if text[i] == 1 or ended(text, i) else UNPARSABLE), i, np.float32(0)
    digits, kept, seen, exponent = np.int64(0), 0, 0, 0
    while True:
        d = np.int64(text[i]) - ZERO
        if d < 0 or d > 9:
            break
        if kept < 18:
            digits = digits * 10 + d
            kept += digits > 0
        else:
            exponent += 1
        seen += 1
        i += 1
    if text[i] == DOT:
        i += 1
        while True:
            d = np.int64(text[i]) - ZERO
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
        down = text[i] == MINUS
        if down or text[i] == PLUS:
            i += 1
        power, seen = 0, 0
        while True:
            d = np.int64(text[i]) - ZERO
            if d < 0 or d > 9:
                break
            power = min(power * 10 + d, 1_000_000_000)
            seen += 1
            i += 1
        if seen == 0:
            return UNPARSABLE, i, np.float32(0)
        exponent += -power if down else power
    if text[i] != 1 and not ended(text, i):
        return UNPARSABLE, i, np.float32(0)
    value = np.float32(_scale(digits, exponent))
    if value == np.float32(np.inf) or (negative and value > 0):
        return BAD_WEIGHT, i, value
    return OK, i, value
