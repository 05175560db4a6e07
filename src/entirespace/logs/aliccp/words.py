"""Reads text in words of 8 bytes, so that kernels parse 8 digits or hexadecimal digits at a time."""

from __future__ import annotations

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# (numba: an intrinsic takes one argument less than it is written with, and options that it does not declare)
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

NEWLINE, CR, COMMA, DOT, PLUS, MINUS, ZERO = (ord(c) for c in "\n\r,.+-0")

# Words are uint64. Numbers combined with them must be uint64 too, because numba turns uint64 with int64 into float64.
U1, U2, U3, U7, U8, U58, U64, U71 = (np.uint64(n) for n in (1, 2, 3, 7, 8, 58, 64, 71))
BYTE = np.uint64(0xFF)
EACH_01, EACH_02, EACH_06, EACH_0F, EACH_30, EACH_76, EACH_80, EACH_F0 = (
    np.uint64(byte * 0x0101010101010101) for byte in (0x01, 0x02, 0x06, 0x0F, 0x30, 0x76, 0x80, 0xF0)
)  # words with the given byte in each of their 8 bytes

# For functions that only kernels call. LLVM inlines most of them, but not those of `bytewise`: a call is
# expensive, since each array is passed as 7 words.
called_by_kernels = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@intrinsic
def load(typing_context, text, i):
    """The 8 bytes text[i:i + 8] as a little-endian uint64, for any i; text is uint8, contiguous."""

    def build(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        word = ir.IntType(64)
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), word.as_pointer())
        return builder.load(place, align=1)

    return types.uint64(text, types.int64), build


@intrinsic
def zeros(typing_context, word):
    """The number of 0 bits below the lowest 1 bit; 64 for the word 0."""

    def build(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), build


@called_by_kernels
def digit_bits(word):
    """8 n + 7 if the first n of the 8 bytes are digits and the next is not; 64 if all 8 are digits."""
    word ^= EACH_30
    return zeros(((word + EACH_76) | word) & EACH_80)


@called_by_kernels
def decimal(word, bits):
    """The number written by the first n digits of the word, n from 1 to 8; bits is 8 n + 7.

    The digits are shifted to the top, with zeros below them. Then pairs, fours and eights of digits are joined: each
    multiplication adds 10 (100, 10000) times the left half to the right half.
    """
    word = (word ^ EACH_30) << (U71 - bits)
    word = (word * np.uint64(2561)) >> U8
    word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
    return ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)


@called_by_kernels
def hexadecimal(word):
    """(whether the 8 bytes are lower-case hex digits, their number).

    A letter has bit 6 set. The value of a digit is the low half of its byte, plus 9 for a letter. The word is valid if
    writing these values as hex digits gives the same word again.
    """
    letter = (word >> np.uint64(6)) & EACH_01
    value = (word & EACH_0F) + letter * np.uint64(9)
    above_9 = ((value + EACH_06) >> np.uint64(4)) & EACH_01
    good = (
        above_9 == letter and (value & EACH_F0) == np.uint64(0) and value + EACH_30 + letter * np.uint64(0x27) == word
    )
    value = ((value << np.uint64(4)) | (value >> U8)) & np.uint64(0x00FF00FF00FF00FF)
    value = ((value << U8) | (value >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    value = ((value << np.uint64(16)) | (value >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    return good, value
