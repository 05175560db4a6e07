"""`train` holds the lock of RUN from its beginning: also while it trains the reference CTR network inside RUN."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from entirespace.errors import RunError
from entirespace.training.folder import alone

QUICK = ["--set", "training.epochs=1", "--set", "network.embedding_size=2", "--set", "network.tower.hidden=[4]", "-q"]
HOLDS = """
import signal
from entirespace.training.learner import Learner
def step(self, batch):
    print("training", flush=True)
    signal.pause()
Learner.step = step
from entirespace.cli import main
main()
"""


@pytest.mark.parametrize("method", ["CTR", "ESMM"])
def test_nobody_else_trains_in_a_run_while_its_reference_is_trained(method, run, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = ["train", "ESMM", str(dataset.path), "-o", "out", *QUICK]
    with subprocess.Popen([sys.executable, "-c", HOLDS, *first], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert Path("out/reference/run.json").exists()  # it is the reference that is being trained
        ran = run("train", method, dataset.path, "-o", "out", *QUICK)
        process.kill()
    assert (ran.code, ran.err.startswith("error: out: one process at a time may write to a place")) == (1, True)
    assert not Path("out/run.json").exists()
    assert run(*first).code == 0


def test_who_holds_a_lock_may_ask_for_it_again(tmp_path):
    other = []

    def ask() -> None:
        with pytest.raises(RunError, match="another one does"), alone(tmp_path / "out"):
            pass
        other.append(True)

    with alone(tmp_path / "out"):
        with alone(tmp_path / "out"):
            pass
        thread = threading.Thread(target=ask)  # another thread is another one
        thread.start()
        thread.join()
    assert other
    with alone(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()  # it is empty
