"""The gradient of an embedding layer on the CPU: for each row, the sum of the gradients of the ids that read it.

    lookup   x_j = rows[position_j]                             d rows_u = sum of d x_j over position_j = u
    pool     x_b = sum over j in bag b of w_j rows[position_j]  d rows_u = sum of w_j d x_bag(j) over the same

The forward pass uses torch's own operations, which are as fast as the memory. Torch's backward pass is slow: index_add
runs on one thread, and embedding_bag sorts the ids. Here each thread owns some rows (blocks of 64 rows, assigned in
turn), lists the ids of its rows and adds up their gradients. The gradients of a row are added in the order of the ids
for any number of threads, so training repeats bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from ..kernels.prefetch import prefetch_to_read, prefetch_to_write
from ..kernels.threads import shares
from ..network.embedding import TORCH

AHEAD = 16  # ids to prefetch ahead
BLOCK = 6  # log2 of the consecutive rows that one thread owns; neighbouring rows share cache lines


@functools.cache
def spread_kernel(width: int, dtype: str) -> Callable[..., None]:
    """The compiled kernel out[position[j]] += weights[j] * grad[bag of j], for rows of `width` numbers.

    Args:
        dtype: "float32" or "float64".
    """
    real: Any = np.float32 if dtype == "float32" else np.float64

    @numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
    def spread(share, count, grad, position, offsets, weights, out):
        mine, bags = np.empty(len(position), np.int32), np.empty(len(position), np.int32)
        block, owners, owner = np.uint64(BLOCK), np.uint64(count), np.uint64(share)
        listed = 0
        for bag in range(len(grad)):
            start, stop = (offsets[bag], offsets[bag + 1]) if len(offsets) else (bag, bag + 1)
            for j in range(start, stop):  # no branch: an id that another thread owns is overwritten by the next one
                mine[listed], bags[listed] = j, bag
                listed += (np.uint64(position[j]) >> block) % owners == owner
        for i in range(listed):
            if i + AHEAD < listed:
                prefetch_to_write(out, np.uint64(position[mine[i + AHEAD]]))
                prefetch_to_read(grad, np.uint64(bags[i + AHEAD]))
            j = mine[i]
            sums, g = out[np.uint64(position[j])], grad[np.uint64(bags[i])]
            weight = weights[j] if len(weights) else real(1)
            for d in range(width):
                sums[d] += weight * g[d]

    return spread


def spread(
    grad: Tensor, position: Tensor, out: Tensor, offsets: Tensor | None = None, weights: Tensor | None = None
) -> None:
    """Add the gradient of `pool` to `out`, or the gradient of `lookup` if `offsets` is None.

    Shape: grad (bags, D), position int64 (n,), offsets int64 (bags + 1,), weights (n,), out (U, D); float32 or float64.
    """
    kernel = spread_kernel(grad.shape[1], str(grad.dtype).removeprefix("torch."))
    bounds = position.new_empty(0) if offsets is None else offsets
    weighed = grad.new_empty(0) if weights is None else weights
    shares(kernel, grad.numpy(), position.numpy(), bounds.numpy(), weighed.numpy(), out.numpy())


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, position: Tensor) -> Tensor:
        ctx.save_for_backward(position)
        ctx.rows = rows.shape[0]
        return TORCH.lookup(rows, position)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (position,), grad = ctx.saved_tensors, grads[0].contiguous()
        out = grad.new_zeros(ctx.rows, grad.shape[1])
        spread(grad, position, out)
        return out, None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, position: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
        ctx.save_for_backward(position, offsets, weights)
        ctx.rows = rows.shape[0]
        return TORCH.pool(rows, position, offsets, weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (position, offsets, weights), grad = ctx.saved_tensors, grads[0].contiguous()
        out = grad.new_zeros(ctx.rows, grad.shape[1])
        spread(grad, position, out, offsets, weights)
        return out, None, None, None


class KernelLookups:
    """`network.embedding.Lookups` on the CPU: torch's operations, with the kernel above for their gradient.

    >>> rows = torch.eye(2, requires_grad=True)
    >>> KernelLookups().lookup(rows, torch.tensor([1, 0, 1])).sum().backward()
    >>> rows.grad.tolist()
    [[1.0, 1.0], [2.0, 2.0]]
    """

    def lookup(self, rows: Tensor, position: Tensor) -> Tensor:
        """rows[position]. Shape: rows (U, D), position int64 (n,) -> (n, D)."""
        return _Lookup.apply(rows, position)  # pyright: ignore[reportReturnType]

    def pool(self, rows: Tensor, position: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
        """The weighted sum of the rows of each bag.

        Shape: rows (U, D), position int64 (n,), offsets int64 (bags + 1,), weights (n,) -> (bags, D).
        """
        return _Pool.apply(rows, position, offsets, weights)  # pyright: ignore[reportReturnType]
