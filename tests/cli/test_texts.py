"""Texts from data in what a person sees: no escape of a terminal, no HTML in Markdown, commands that can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

NASTY = "\x1b[31m<script>|"
SCHEMA = """[impressions]
files = ["log*"]
order = "t"
labels = { click = "y", conversion = "z" }
[impressions.fields]
item = {}
"uid\\u001b[2J" = { from = "uid" }
"""


@pytest.fixture
def nasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log whose ids, columns and file have escape characters, in a folder with a blank in its name."""
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "my log"
    raw.mkdir()
    (raw / "schema.toml").write_text(SCHEMA)
    rows = [f"u{t % 4},{NASTY}{t % 3},{t},{int(t % 2 == 0)},{int(t % 4 == 0)}" for t in range(400)]
    head = "uid,item,t,y,z,\x1b[32mmore"
    (raw / "log\x1b[33m.csv").write_text("\n".join([head, *(f"{row},0" for row in rows), "bad\x1b[34m"]) + "\n")
    return raw


def clean(text: str) -> bool:
    return text.replace("\n", "").isprintable()


def test_no_report_can_steer_the_terminal_or_hold_html(run, nasty):
    prepared = run("prepare", nasty / "schema.toml", nasty, "my data", "--max-bad", "0.1")
    assert prepared.code == 0
    for words in ("uid\\x1b[2J", "log\\x1b[33m.csv", "\\x1b[32mmore", "bad\\x1b[34m"):
        assert words in prepared.out
    assert clean(prepared.out)
    assert clean(prepared.err)
    assert clean(Path("my data/quarantine.csv").read_text())
    few = ("--set", "training.epochs=1", "--set", "network.hidden=[4]", "-q")
    trained = run("train", "BASE", "my data", "-o", "my run", *few)
    words = shlex.split(trained.out.splitlines()[-1].removeprefix("next: "))
    assert words == ["entirespace", "evaluate", "my run", "my data"]
    evaluated = run(*words[1:], "--by", "item", "-q")
    assert "\\x1b[31m<script>|0" in evaluated.out
    assert clean(evaluated.out)
    compared = run("compare", "my data", "-o", "report", "--methods", "BASE", "--seeds", "1", "--by", "item", *few)
    assert compared.code == 0
    assert clean(compared.out)
    for name in ("report.md", "report.html"):
        text = Path("report", name).read_text(encoding="utf-8")
        assert "\x1b" not in text
        assert "<script" not in text
    assert "&#39;my data&#39; -o REPORT" in Path("report/report.html").read_text(encoding="utf-8")


def test_the_next_command_of_simulate_can_be_typed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run("simulate", "a log", "--impressions", "500", "-q")
    words = shlex.split(ran.out.splitlines()[-1].removeprefix("next: "))
    assert words == ["entirespace", "prepare", "a log/schema.toml", "a log", "DATASET"]


def test_an_error_cannot_steer_the_terminal(run, nasty):
    ran = run("describe", "no\x1b[31mne")
    assert ran.code == 1
    assert "no\\x1b[31mne: a dataset must be a folder" in ran.err
    assert clean(ran.err)
