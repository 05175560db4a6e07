"""A processor instruction that numba lacks: prefetch, which loads memory into the cache before it is needed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LINE = 64  # bytes in a cache line


def _asks(for_writing: bool) -> Any:
    def prefetch(typing: Any, array: Any, row: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0])
            stride = cgutils.unpack_tuple(builder, data.strides)[0]
            byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
            address = builder.gep(builder.bitcast(data.data, byte), [builder.mul(args[1], stride)])
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]), "llvm.prefetch.p0"
            )
            write, keep, of_data = word(int(for_writing)), word(3), word(1)
            with cgutils.for_range_slice(builder, stride.type(0), stride, stride.type(LINE)) as (offset, _):
                builder.call(function, [builder.gep(address, [offset]), write, keep, of_data])
            return context.get_dummy_value()

        return types.void(array, row), generate

    return prefetch


prefetch_to_read: Any = intrinsic(_asks(False))
"""prefetch_to_read(matrix, row), for use in kernels: load matrix[row], which will soon be read."""
prefetch_to_write: Any = intrinsic(_asks(True))
"""prefetch_to_write(matrix, row), for use in kernels: load matrix[row], which will soon be read and written."""
