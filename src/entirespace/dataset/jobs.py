"""Runs jobs in threads, with one common progress. After an error in one job, or Ctrl-C, all others stop soon."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Lock
from typing import TypeVar

from ..kernels.threads import THREADS
from ..progress import Progress

T = TypeVar("T")


class Jobs:
    """Runs jobs on all cores. Each job must call `advance` regularly, which also stops it after another's error."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock, self._ended = progress, Lock(), False

    def __call__(self, jobs: Iterable[Callable[[], T]]) -> list[T]:
        """Run the jobs and return their results, in order. Raises: the first error of any job."""
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
        """Report progress, from any thread. Raises: InterruptedError if another job failed, so that this job stops."""
        if self._ended:
            raise InterruptedError
        with self._lock:
            self._progress.advance(rows)
