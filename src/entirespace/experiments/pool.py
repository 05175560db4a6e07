"""Tasks in processes of their own, which end with their parent, on Ctrl-C and at the first error.

It works from a script without `if __name__ == "__main__":`, from stdin and from a notebook: the processes do not run
the main program again, and what is defined there (a method of one's own) reaches them by value.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import cloudpickle
from loky import BrokenProcessPool, ProcessPoolExecutor

from ..errors import RunError

State = TypeVar("State")
Task = TypeVar("Task")
Result = TypeVar("Result")
WATCH_SECONDS = 1.0


class Pool(Generic[State]):
    """`jobs` processes; each makes its state by `begin()` before its first task.

    Leaving the `with` block by an error or Ctrl-C kills the processes at once: their files must bear that.
    """

    def __init__(self, jobs: int, begin: Callable[[], State]) -> None:
        self._jobs = jobs
        self._executor = ProcessPoolExecutor(jobs, initializer=_start, initargs=(os.getpid(), cloudpickle.dumps(begin)))

    def results(self, work: Callable[[State, Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Each task with what `work(state, task)` returned, in the order in which they end.

        Raises: what `work` raises. RunError where a process was killed.
        """
        with _interrupts_ignored():  # the processes start here
            waiting: dict[Future[Result], Task] = {self._executor.submit(_run, work, task): task for task in tasks}
        for future in as_completed(waiting):
            try:
                result = future.result()
            except BrokenProcessPool as error:
                must = "the machine must bear as many jobs at a time as it was given"
                do = f"If memory was short, give fewer than {self._jobs} jobs"
                raise RunError(must, "one of their processes was killed", do=do) from error
            yield waiting[future], result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._executor.shutdown(kill_workers=kind is not None)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes that start inherit it: a Ctrl-C while they import what they need ends them in silence."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():  # it may not be set here
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# In the process of a job

_begin: Callable[[], Any]
_state: list[Any] = []  # one, after the first task has begun


def _start(parent: int, begin: bytes) -> None:
    global _begin
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the jobs
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _begin = lambda: pickle.loads(begin)()  # noqa: E731 (imports torch: an error there is the first task's)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _run(work: Callable[[Any, Task], Result], task: Task) -> Result:
    if not _state:
        _state.append(_begin())
    return work(_state[0], task)
