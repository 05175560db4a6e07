"""A processor instruction that numba lacks: prefetch, which loads memory into the cache before it is needed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LINE = 64  # bytes in a cache line


def _prefetch(builder: Any, address: Any, for_writing: bool) -> None:
    """Prefetch the cache line of an address, for data that stays in the cache."""
    byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    write, keep, of_data = word(int(for_writing)), word(3), word(1)
    builder.call(function, [builder.bitcast(address, byte), write, keep, of_data])


def _of_row(for_writing: bool) -> Any:
    def prefetch(typing: Any, array: Any, row: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0])
            stride = cgutils.unpack_tuple(builder, data.strides)[0]
            start = builder.bitcast(data.data, ir.IntType(8).as_pointer())
            address = builder.gep(start, [builder.mul(args[1], stride)])
            with cgutils.for_range_slice(builder, stride.type(0), stride, stride.type(LINE)) as (offset, _):
                _prefetch(builder, builder.gep(address, [offset]), for_writing)
            return context.get_dummy_value()

        return types.void(array, row), generate

    return prefetch


def _of_entry(typing: Any, array: Any, i: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0])
        _prefetch(builder, builder.gep(data.data, [args[1]]), for_writing=False)
        return context.get_dummy_value()

    return types.void(array, i), generate


prefetch_to_read: Any = intrinsic(_of_row(False))
"""prefetch_to_read(matrix, row), for use in kernels: matrix[row] will soon be read."""
prefetch_to_write: Any = intrinsic(_of_row(True))
"""prefetch_to_write(matrix, row), for use in kernels: matrix[row] will soon be read and written."""
prefetch_entry: Any = intrinsic(_of_entry)
"""prefetch_entry(array, i), for use in kernels: entry i of a contiguous array, flattened, will soon be read. One
instruction, where a row takes a loop over its cache lines."""
