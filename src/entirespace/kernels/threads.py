"""Work that releases the GIL (compiled kernels, numpy) on slices of it, one thread a slice.

Numba's own parallel loops would start a second OpenMP beside torch's; these threads sleep between calls.
(Torch's spin for some milliseconds after each operation, and take the cores from whoever comes next, unless
OMP_WAIT_POLICY=passive was set before torch was imported.)
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = min(8, CORES)
"""For work that waits for files, too: more threads would only take memory."""
_used = int(os.environ.get("OMP_NUM_THREADS") or CORES)  # as torch begins


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    del process  # a forked child has none of its parent's threads
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="entirespace-kernel")


def threads() -> int:
    """How many threads a kernel runs on: one a core, or what `use_threads` said."""
    return _used


def use_threads(count: int) -> None:
    """Run kernels on that many threads from now on, in this process. Torch is told apart."""
    global _used
    _used = count


def ahead(blocks: Iterator[T]) -> Iterator[T]:
    """The same, with the next one being made, in a thread of its own, while one is made use of."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = worker.submit(next, blocks, None)
            yield block


def slices(kernel: Callable[..., Any], n: int, *args: Any, least: int = 1024) -> None:
    """Run kernel(start, stop, *args) over 0 .. n, cut into as many slices as there are `threads()`.

    The kernel must release the GIL, and write only what belongs to start .. stop. No slice is shorter than
    `least`.
    """
    count = max(1, min(threads(), n // least))
    _run(kernel, itertools.pairwise(n * i // count for i in range(count + 1)), args)


def shares(kernel: Callable[..., Any], *args: Any) -> None:
    """Run kernel(i, count, *args) for i in 0 .. count, the kernel knowing what share i is."""
    count = threads()
    _run(kernel, ((i, count) for i in range(count)), args)


def each(function: Callable[[int], Any], n: int) -> list[Any]:
    """[function(0), ..., function(n - 1)], dealt out among the threads in turn."""
    found: list[Any] = [None] * n

    def some(share: int, count: int) -> None:
        for i in range(share, n, count):
            found[i] = function(i)

    shares(some)
    return found


def _run(kernel: Callable[..., Any], parts: Iterable[tuple[int, int]], args: tuple[Any, ...]) -> None:
    mine, *others = parts
    waiting = [_pool(os.getpid()).submit(kernel, *part, *args) for part in others]
    kernel(*mine, *args)
    for other in waiting:
        other.result()
