"""The server as real processes: no torch, workers, SIGTERM, versions that are swapped under load."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from requested import as_request, joined_rows

pytest.importorskip("uvicorn", reason="uvicorn is absent: pip install 'entirespace[serve]'")

START = "import sys\nfrom entirespace.cli import main\nmain()\n"


@contextmanager
def served(folder: Path, log: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[tuple[str, Any]]:
    """A server of a folder: (its address, its process)."""
    words = [sys.executable, "-c", START, "serve", str(folder), "--port", "0", *options]
    with log.open("w") as out:
        process = subprocess.Popen(words, stderr=out, stdout=out, env={**os.environ, **(env or {})})
    try:
        address = ""
        for _ in range(600):
            found = re.search(r"listening on (http\S+)", log.read_text())
            if found:
                address = found[1]
                try:
                    if httpx.get(f"{address}/health/ready").status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            pytest.fail(log.read_text())
        yield address, process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


class Load(threading.Thread):
    """Sends one request after the other."""

    def __init__(self, address: str, body: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.address, self.body = address, body
        self.statuses: list[int] = []
        self.versions: list[str] = []
        self.failed: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self.over.is_set():
                try:
                    answer = client.post(f"{self.address}/v1/rank", json=self.body)
                except httpx.ConnectError:
                    return  # the server does not listen any more: nothing was sent
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    return
                self.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    self.versions.append(answer.json()["model"]["version"])

    def stop(self) -> None:
        self.over.set()
        self.join(30)


def test_no_torch_and_nothing_in_flight_is_lost(exported, tmp_path):
    """Two workers; SIGTERM under load."""
    body, _ = as_request(joined_rows()[:50])
    log = tmp_path / "log"
    with served(exported[1], log, "--workers", "2", "--grace", "0.3") as (address, process):
        assert re.match(r"http://127\.0\.0\.1:", address)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if children.exists():
            pids = [process.pid, *map(int, children.read_text().split())]
            assert len(pids) >= 3
            for pid in pids:
                assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
        loads = [Load(address, body) for _ in range(3)]
        for load in loads:
            load.start()
        time.sleep(0.7)
        text = httpx.get(f"{address}/metrics").text
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        for load in loads:
            load.join(20)
            assert load.failed == []
            assert set(load.statuses) == {200}
    counted = re.search(r"^entirespace_candidates_total (\S+)$", text, re.M)
    assert counted
    assert float(counted[1]) > 0  # of both workers
    assert process.returncode == 0
    assert "Traceback" not in log.read_text()


def test_versions_are_swapped_under_load(exported, tmp_path):
    """New ones, damaged ones, and back: only answers 200."""
    models, source = tmp_path / "models", exported[1]
    models.mkdir()

    def publish(name: str, damage: bool = False) -> None:
        hidden = models / f".{name}"
        shutil.copytree(source, hidden, copy_function=os.link)
        if damage:
            place = hidden / "program.onnx.data"
            content = bytearray(place.read_bytes())
            place.unlink()
            content[len(content) // 2] ^= 1
            place.write_bytes(content)
        hidden.rename(models / name)

    publish("1")
    body, _ = as_request(joined_rows()[:20])
    log = tmp_path / "log"
    with served(models, log, "--reload-seconds", "0.05") as (address, _):
        load = Load(address, body)
        load.start()

        def becomes(version: str) -> None:
            for _ in range(200):
                if load.versions and load.versions[-1] == version:
                    return
                assert not load.failed
                time.sleep(0.05)
            pytest.fail(f"{load.versions[-1:]}, not {version}\n{log.read_text()}")

        becomes("1")
        for i in range(2, 10):
            publish(str(i), damage=i % 4 == 0)
            if i % 4 == 0:
                for _ in range(100):
                    if f"version {i} is refused" in log.read_text():
                        break
                    time.sleep(0.05)
                assert f"version {i} is refused" in log.read_text()
                assert "program.onnx.data" in log.read_text()
            else:
                becomes(str(i))
        shutil.rmtree(models / "9")  # roll back, past the damaged one
        becomes("7")
        shutil.rmtree(models / "7")
        becomes("6")
        load.stop()
        assert load.failed == []
        assert set(load.statuses) == {200}
        text = httpx.get(f"{address}/metrics").text
        assert re.search(r'entirespace_reloads_total\{result="refused"\} 2.0', text)


def test_the_command_says_what_is_wrong(exported, tmp_path):
    def said(*words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        ran = subprocess.run(
            [sys.executable, "-c", START, "serve", *words],
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
            timeout=60,
        )
        return ran.returncode, ran.stderr

    (tmp_path / "empty").mkdir()
    for options in ((), ("--workers", "2")):
        code, text = said(str(tmp_path / "empty"), "--port", "0", *options)
        assert code == 1
        assert "MODELS_DIR must hold folders of bundles" in text
    code, text = said(str(exported[1]), "--token-env", "SHORT", env={"SHORT": "abc"})
    assert code == 1
    assert "at least 16" in text
    assert "abc" not in text


def test_a_worker_that_ends_is_started_again(exported, tmp_path):
    """Also one that was stopped alone, with SIGTERM: it must not stop the socket that all share."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("the children of a process are not known here")
    log = tmp_path / "log"
    with served(exported[1], log, "--workers", "2") as (address, process):
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [int(pid) for pid in listed if b"multiprocessing.spawn" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGTERM)
        os.kill(workers[1], signal.SIGKILL)
        for _ in range(200):
            if log.read_text().count("another one is started") == 2:
                break
            time.sleep(0.1)
        answer = httpx.post(f"{address}/v1/rank", json={"candidates": ["1"]}, timeout=30)
        assert answer.status_code == 200
