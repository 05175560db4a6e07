"""A pool of processes that end together with their parent, on Ctrl-C and at the first error.

It works in a script without `if __name__ == "__main__":`, from stdin and in a notebook: the processes do not run the
main program again. Classes that are defined there, such as a user's own method, are sent to them by value.
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
ENVIRONMENT = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}  # as the command line sets it, and why


class Pool(Generic[State]):
    """`jobs` processes; each of them calls `begin()` before its first task, and keeps the result as its state.

    If an error or Ctrl-C ends the `with` block, the processes are killed at once. Their files must stay valid then.
    """

    def __init__(self, jobs: int, begin: Callable[[], State]) -> None:
        self._jobs = jobs
        self._executor = ProcessPoolExecutor(
            jobs, initializer=_start, initargs=(os.getpid(), cloudpickle.dumps(begin)), env=ENVIRONMENT
        )

    def results(self, work: Callable[[State, Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Each task with the result of `work(state, task)`, in the order in which they finish.

        Raises: the errors of `work` and `begin`. RunError if a process was killed.
        """
        with _interrupts_ignored():  # the processes start here
            waiting: dict[Future[Result], Task] = {self._executor.submit(_run, work, task): task for task in tasks}
        for future in as_completed(waiting):
            try:
                result = future.result()
            except BrokenProcessPool as error:
                must = "the processes of all jobs must run to their end"
                do = f"If the memory was full, use fewer than {self._jobs} jobs"
                raise RunError(must, "one of them was killed", do=do) from error
            yield waiting[future], result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._executor.shutdown(kill_workers=kind is not None)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C here and in the processes that start meanwhile, so that none of them prints a traceback."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():  # a handler cannot be set here
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# In the process of a job

_begin: Callable[[], Any]
_state: list[Any] = []  # the state, once the first task has begun


def _start(parent: int, begin: bytes) -> None:
    global _begin
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the jobs
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _begin = lambda: pickle.loads(begin)()  # noqa: E731 (imports torch; an error there is raised by the first task)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _run(work: Callable[[Any, Task], Result], task: Task) -> Result:
    if not _state:
        _state.append(_begin())
    return work(_state[0], task)
