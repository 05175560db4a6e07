"""Run work that releases the GIL (compiled kernels, numpy) on several threads, one slice of the work per thread.

Numba's own parallel loops would start a second OpenMP runtime beside torch's; these threads sleep between calls.
(Torch's threads keep their cores busy for some milliseconds after each operation, which slows down whatever runs next,
unless OMP_WAIT_POLICY=passive was set before torch was imported.)
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
"""Threads for work that also waits for files: more would only take memory."""
_used = int(os.environ.get("OMP_NUM_THREADS") or CORES)  # torch's own default


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    del process  # a forked child has none of its parent's threads
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="entirespace-kernel")


def threads() -> int:
    """How many threads a kernel runs on: one per core, or the number that `use_threads` set."""
    return _used


def use_threads(count: int) -> None:
    """Run kernels on `count` threads from now on, in this process. Torch's own threads are set elsewhere."""
    global _used
    _used = count


def ahead(blocks: Iterator[T]) -> Iterator[T]:
    """The same blocks; another thread makes the next block while the caller works on the current one."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = worker.submit(next, blocks, None)
            yield block


def slices(kernel: Callable[..., Any], n: int, *args: Any, least: int = 1024) -> None:
    """Run kernel(start, stop, *args) on slices of 0 .. n, one slice per thread.

    The kernel must release the GIL, and write only what belongs to start .. stop. No slice is shorter than
    `least`.
    """
    count = max(1, min(threads(), n // least))
    _run(kernel, itertools.pairwise(n * i // count for i in range(count + 1)), args)


def shares(kernel: Callable[..., Any], *args: Any) -> None:
    """Run kernel(i, count, *args) for i in 0 .. count - 1; the kernel decides which share of the work i is."""
    count = threads()
    _run(kernel, ((i, count) for i in range(count)), args)


def each(function: Callable[[int], Any], n: int) -> list[Any]:
    """[function(0), ..., function(n - 1)]; the threads take the numbers in turn."""
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
