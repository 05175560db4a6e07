"""A pool of processes, and `compare` in it: from a script without a main guard, from stdin, and with Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest

import entirespace
from entirespace.errors import ConfigError, RunError
from entirespace.experiments.pool import Pool

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(entirespace.__file__).parents[1])}


def started(place: Path, *, stdin: bool, script: str, **options) -> subprocess.Popen[str]:
    """A process that runs a script, from a file or from stdin."""
    text = textwrap.dedent(script)
    file = place / "script.py"
    file.write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-" if stdin else str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        cwd=place,
        **options,
    )
    if stdin:
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None
    return process


def alive(process: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(processes: list[int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while any(map(alive, processes)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, processes))


COMPARE = """
    import os
    from dataclasses import dataclass
    from typing import ClassVar
    import entirespace as es
    from entirespace.config import Config

    print("main program", flush=True)

    @dataclass(frozen=True)
    class Mine(es.Method):
        weight: float = 2.0
        heads: ClassVar = ("cvr",)
        def samples(self, labels, rng): return labels.click.astype(int)
        def loss(self, p, batch): return es.BASE().loss(p, batch) * self.weight
        def base_rates(self, counts): return es.BASE().base_rates(counts)
        def predict(self, p): return {{"pcvr": p.cvr}}

    quick = Config.model_validate({{
        "network": {{"embedding_size": 2, "hidden": [4]}},
        "training": {{"batch_size": 512, "epochs": 1, "threads": 1}},
    }})
    table = es.compare([es.BASE(), Mine(weight=3.0)], es.open({path!r}), seeds=1, config=quick, out="report", jobs=2)
    print([line["label"] for line in table.as_dict()["methods"]])
"""


@pytest.mark.parametrize("stdin", [False, True], ids=["file", "stdin"])
def test_compare_runs_in_a_plain_script_with_a_method_of_its_own(dataset, tmp_path, stdin):
    process = started(tmp_path, stdin=stdin, script=COMPARE.format(path=str(dataset.path)))
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    assert out.splitlines() == ["main program", "['BASE', 'Mine(weight=3.0)']"]
    assert "Traceback" not in err


SLEEPERS = """
    import os, time
    from entirespace.experiments.pool import Pool

    def sleep(state, task):
        os.write(1, f"{os.getpid()}\\n".encode())  # both write at a time
        time.sleep(100)

    with Pool(2, lambda: None) as pool:
        list(pool.results(sleep, [1, 2]))
"""


@pytest.mark.parametrize("how", ["Ctrl-C on a terminal", "SIGINT", "SIGKILL"])
def test_the_processes_end_with_their_parent(tmp_path, how):
    process = started(tmp_path, stdin=False, script=SLEEPERS, start_new_session=True)
    assert process.stdout is not None
    jobs = [int(process.stdout.readline()) for _ in range(2)]
    assert all(map(alive, jobs))
    if how == "SIGKILL":
        process.kill()
    elif how == "SIGINT":
        process.send_signal(signal.SIGINT)
    else:  # the whole group gets it
        os.killpg(process.pid, signal.SIGINT)
    assert ended(jobs, 10)
    _, err = process.communicate(timeout=10)
    assert how == "SIGKILL" or "KeyboardInterrupt" in err


@pytest.mark.parametrize("seconds", [0.1, 0.3])
def test_control_c_while_the_processes_start_says_so_once(tmp_path, seconds):
    script = SLEEPERS.replace("with Pool", "print('begin', flush=True)\n    with Pool")
    process = started(tmp_path, stdin=False, script=script, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    err = None
    while err is None:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # it came in the moment in which it is ignored
            _, err = process.communicate(timeout=10)
    assert process.returncode != 0
    assert err.count("KeyboardInterrupt") == 1, err


def test_each_process_begins_once_and_results_come_as_they_end():
    with Pool(2, lambda: (os.getpid(), time.time_ns())) as pool:
        found = dict(pool.results(lambda state, task: (state, time.sleep(task)), [0.4, 0.0, 0.01, 0.02]))
        assert list(found) != [0.4, 0.0, 0.01, 0.02]
        again = dict(pool.results(lambda state, task: state, [1, 2]))
    assert len({state for state, _ in found.values()} | {*again.values()}) <= 2


def test_the_first_error_ends_all(tmp_path):
    def work(state, task):
        if task == "error":
            raise ConfigError("this must reach the parent", "it did not")
        Path(task).write_text(str(os.getpid()))
        time.sleep(100)

    begun, sleeper = time.monotonic(), tmp_path / "sleeper"
    with pytest.raises(ConfigError, match="this must reach the parent"), Pool(2, lambda: None) as pool:
        list(pool.results(work, [str(sleeper), "error"]))
    assert time.monotonic() - begun < 60
    if sleeper.exists():
        assert ended([int(sleeper.read_text())], 5)


def test_an_error_at_the_beginning_reaches_the_parent():
    def begin():
        raise ConfigError("this must reach the parent", "it did not")

    with pytest.raises(ConfigError, match="this must reach the parent"), Pool(1, begin) as pool:
        list(pool.results(lambda state, task: task, [1]))


def test_a_killed_process_is_a_clear_error():
    with pytest.raises(RunError, match=r"killed.*fewer than 1 jobs"), Pool(1, lambda: None) as pool:
        list(pool.results(lambda state, task: os.kill(os.getpid(), signal.SIGKILL), [1]))
