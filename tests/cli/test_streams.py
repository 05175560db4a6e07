"""The command line where its output cannot be printed as it is: an ASCII terminal, a reader that has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = [sys.executable, "-c", "from entirespace.cli import main; main()"]
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*MAIN, *map(str, words)], capture_output=True, env={**os.environ, **environment})


def test_a_report_is_printed_in_ascii(dataset) -> None:
    done = run("describe", dataset.path, **ASCII)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\n----" in done.stdout
    assert done.stdout.isascii()


def test_a_report_is_written_whatever_the_encoding_of_the_terminal(dataset, tmp_path: Path) -> None:
    program = "import sys; sys.argv[1:1] = ['compare']; from entirespace.cli import main; main()"
    words = ["--methods", "BASE", "--seeds", "1", "--set", "training.epochs=1", "--set", "network.embedding_size=2"]
    command = [sys.executable, "-c", program, str(dataset.path), "-o", str(tmp_path / "report"), *words]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **ASCII})
    assert done.returncode == 0, done.stderr
    assert b"mean +- standard deviation" in done.stdout
    assert "mean ± standard deviation" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "±" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_a_reader_that_has_gone_is_no_error_to_print(dataset) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*MAIN, "describe", str(dataset.path)], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_report_that_cannot_be_written_out_is_an_error(dataset) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*MAIN, "describe", str(dataset.path)], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert b"Traceback" not in done.stderr
