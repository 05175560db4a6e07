"""schema as a person uses it: to stdout, into a file, with what is doubtful and the next command on stderr."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from entirespace.logs.schema import read_schema


def test_stdout_is_the_schema_and_stderr_says_what_to_check(run, raw):
    (raw / "schema.toml").unlink()
    (raw / "log.csv").write_text((raw / "log.csv").read_text().replace(",y,z", ",clicked,bought"))
    ran = run("schema", "raw")
    assert ran.code == 0
    Path("mine.toml").write_text(ran.out)
    schema = read_schema(Path("mine.toml"))
    assert schema.impressions.labels.click == "clicked"
    assert schema.tables["u"].key == "uid"
    assert ran.out.count("# DOUBTFUL: ") == ran.err.count("DOUBTFUL: [") == 1  # the order is a number
    words = shlex.split(ran.err.splitlines()[-1].removeprefix("next: "))
    assert words == ["entirespace", "prepare", "schema.toml", "raw", "DATASET"]
    assert run("prepare", "mine.toml", "raw", "data", "-q").code == 0


def test_what_was_not_found_is_to_be_filled_in(run, raw):
    ran = run("schema", "raw")
    assert ran.code == 0
    assert "2 of them must be filled in, or `prepare` refuses the schema" in ran.err
    Path("mine.toml").write_text(ran.out)
    failed = run("prepare", "mine.toml", "raw", "data")
    assert (failed.code, "'impressions.labels.click' must be given" in failed.err) == (1, True)


def test_a_file_is_only_replaced_with_force(run, raw):
    Path("mine.toml").write_text("# mine\n")
    ran = run("schema", "raw", "--out", "mine.toml")
    assert (ran.code, ran.out) == (1, "")
    assert "mine.toml: the schema must be a new file, however: it exists" in ran.err
    assert Path("mine.toml").read_text() == "# mine\n"
    ran = run("schema", "raw", "--out", "mine.toml", "--force")
    assert (ran.code, ran.out) == (0, "")
    assert "[impressions]" in Path("mine.toml").read_text()
    assert ran.err.splitlines()[-1] == "next: entirespace prepare mine.toml raw DATASET"
    assert run("schema", "raw/log.csv", "-o", "raw/log.csv", "--force").code == 1  # it is read


def test_raw_ali_ccp(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("simulate", "raw log", "--format", "aliccp", "--impressions", 100, "--click-rate", 0.5)
    ran = run("schema", "raw log")
    assert "need no schema" in ran.out
    assert ran.err.splitlines()[-1] == "next: entirespace prepare aliccp 'raw log' DATASET"


@pytest.mark.parametrize("what", ["nothing", "empty"])
def test_no_log(what, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    ran = run("schema", what)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"error: {what}: ")


def test_python_m_entirespace(tmp_path):
    command = [sys.executable, "-m", "entirespace", "--version"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.stdout.startswith("entirespace ")
