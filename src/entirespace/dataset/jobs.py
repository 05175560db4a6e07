"""Several jobs at once, with one progress. After an error in one of them, and Ctrl-C, none goes on for long."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Lock
from typing import TypeVar

from ..kernels.threads import THREADS
from ..progress import Progress

T = TypeVar("T")


class Jobs:
    """Runs jobs on all cores; each reports its progress through `advance`."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock, self._ended = progress, Lock(), False

    def __call__(self, jobs: Iterable[Callable[[], T]]) -> list[T]:
        """What the jobs return, in order. Raises: the first error of any."""
        with ThreadPoolExecutor(THREADS) as pool:
            coming = [pool.submit(job) for job in jobs]
            try:
                for done in wait(coming, return_when=FIRST_EXCEPTION).done:
                    done.result()  # raises, if one failed
                return [done.result() for done in coming]
            except BaseException:
                self._ended = True
                pool.shutdown(cancel_futures=True)
                raise

    def advance(self, rows: int) -> None:
        """Report progress, from any thread. Raises: InterruptedError in a job that another's error ended."""
        if self._ended:
            raise InterruptedError
        with self._lock:
            self._progress.advance(rows)
