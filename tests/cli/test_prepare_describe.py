"""prepare and describe as a person uses them: the report, the same as JSON, and what stands on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from entirespace.simulation.simulate import simulate

PREPARE = ("prepare", "raw/schema.toml", "raw", "dataset")

REPORT = """\
dataset (digest DIGEST)

 part         users   items   impressions   clicks   conversions   CTR %   CVR %   CTCVR %
────────────────────────────────────────────────────────────────────────────────────────────
 all              4       3            20       10             5      50      50        25
 train            4       3             9        5             3    55.6      60      33.3
 validation       1       1             1        0             0       0       -         0
 test             4       3            10        5             2      50      40        20

4 fields, 16 rows of the embedding (one per field is for unseen ids)
 field   table         kind            rows   ids per impression   unseen in test %
────────────────────────────────────────────────────────────────────────────────────
 item    impressions   id                 4                 1.00               0.00
 uid     user          id                 5                 1.00               0.00
 age     user          number             4                 1.00               0.00
 likes   user          ids, weighted      3                 2.00               0.00

Audit of the raw log
user: 4 rows read, 4 kept
impressions: 20 rows read, 20 kept
"""


def test_the_report_of_prepare_and_of_describe(run, raw):
    ran = run(*PREPARE)
    assert ran.code == 0
    digest = json.loads(Path("dataset/manifest.json").read_text())["digest"]
    expected = REPORT.replace("DIGEST", digest[:12])
    assert _columns(ran.out) == _columns(expected)
    for work in ("reading user", "reading impressions", "fitting vocabularies", "writing impressions"):
        assert work in ran.err
    again = run("describe", "dataset", "--verify")
    assert (again.code, again.out, again.err) == (0, ran.out, "")


def _columns(report: str) -> list[list[str]]:
    return [line.split() for line in report.splitlines() if not line.startswith("─")]


def test_json_says_the_same(run, raw):
    made = json.loads(run(*PREPARE, "--json", "--quiet").out)
    assert json.loads(run("describe", "dataset", "--json").out) == made
    assert made["table1"] == {"users": 4, "items": 3, "impressions": 20, "clicks": 10, "conversions": 5}
    assert made["rates"] == {"ctr": 0.5, "cvr": 0.5, "ctcvr": 0.25}
    assert made["parts"]["validation"]["cvr"] is None  # no click, no rate
    assert made["audit"]["tables"]["impressions"]["read"] == 20
    likes = made["fields"][3]
    assert (likes["field"], likes["weighted"], likes["ids_per_impression"]) == ("likes", True, 2.0)


def test_a_later_log_without_outcomes_shows_none(run, raw):
    """Prepared with the layout of the first: its clicks are unknown, not zero."""
    run(*PREPARE)
    text = (raw / "log.csv").read_text().splitlines()
    (raw / "log.csv").write_text("\n".join(line.rsplit(",", 2)[0] for line in text) + "\n")
    command = ("prepare", "raw/schema.toml", "raw", "later", "--encoders", "dataset", "--part", "test", "--unlabelled")
    ran = run(*command, "-q")
    assert ran.code == 0, ran.err
    assert "outcomes are not known" in ran.out
    assert ["test", "4", "3", "20", "-", "-", "-", "-", "-"] in _columns(ran.out)
    assert run("prepare", "raw/schema.toml", "raw", "other", "--grow").code == 2
    ran = run(*command[:3], "other", *command[4:6], "--part", "test", "--unlabelled", "--grow")
    assert ran.code == 1
    assert "grow needs training impressions" in ran.err


def test_quiet_is_quiet(run, raw):
    assert run(*PREPARE, "-q").err == ""


def test_what_was_met_is_in_the_report(run, raw):
    path = raw / "log.csv"
    path.write_text(path.read_text() + "u9,i1,30,0,1\nu1,i1,5,1,2\nu1,i1,6,1,1\n")
    ran = run(*PREPARE, "--max-bad", "0.1", "--on-orphan", "drop")
    assert ran.code == 0
    audit = ran.out.partition("Audit of the raw log\n")[2]
    assert audit.splitlines()[1:] == [
        "impressions: 23 rows read, 21 kept, 1 left out, 1 quarantined",
        "  1 quarantined: bad_label, a label is neither 0 nor 1",
        "    log.csv, line 23: z = '2' in: y=1 z=2 t=5 uid=u1 item=i1",
        "  1 left out: conversion_without_click, conversion = 1 but click = 0; a kept row gets conversion = 0",
        "    log.csv, line 22",
        "  1 kept: out_of_time_order, an earlier row has a later time",
        "    log.csv, line 24",
    ]
    quarantine = Path("dataset/quarantine.csv").read_text().splitlines()
    assert quarantine == [
        "file,line,table,reason,text",
        "log.csv,23,impressions,bad_label,z = '2' in: y=1 z=2 t=5 uid=u1 item=i1",
    ]


def test_without_roles_there_are_no_users(run, raw):
    path = raw / "schema.toml"
    path.write_text(path.read_text().replace('[roles]\nuser = "uid"\nitem = "item"\n', ""))
    assert json.loads(run(*PREPARE, "--json").out)["table1"]["users"] is None
    assert _columns(run("describe", "dataset").out)[3][:3] == ["all", "-", "-"]


def test_force_replaces(run, raw):
    run(*PREPARE)
    path = raw / "log.csv"
    path.write_text(path.read_text() + "u1,i1,30,0,0\n")
    assert run(*PREPARE).code == 1
    assert "impressions: 21 rows read" in run(*PREPARE, "--force").out


def test_a_recipe_by_name_even_where_a_folder_has_that_name(run, raw):
    Path("kuairand").mkdir()
    ran = run("prepare", "kuairand", "raw", "dataset")
    assert (ran.code, "a file must match 'user_features_pure.csv*'" in ran.err) == (1, True)


def test_raw_ali_ccp(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulate(tmp_path / "raw", impressions=400, click_rate=0.3, conversion_rate=0.3, format="aliccp")
    made = json.loads(run("prepare", "aliccp", "raw", "dataset", "--validation", "0.25", "--json").out)
    assert [made["parts"][p]["impressions"] for p in ("train", "validation", "test")] == [150, 50, 200]
    assert made["truth"] is True
    assert len(made["fields"]) == 23
    assert "the true probabilities of every impression are known" in run("describe", "dataset").out
    rare = json.loads(run("prepare", "aliccp", "raw", "rare", "--min-count", "3", "--json").out)
    assert sum(f["rows"] for f in rare["fields"]) < sum(f["rows"] for f in made["fields"])


def test_the_training_pair_of_ali_ccp_alone_splits_in_time(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulate(tmp_path / "raw", impressions=400, click_rate=0.3, conversion_rate=0.3, format="aliccp")
    for path in (tmp_path / "raw").glob("*_test.csv"):
        path.unlink()
    (tmp_path / "raw" / "truth.parquet").unlink()
    made = json.loads(run("prepare", "aliccp", "raw", "dataset", "--json").out)
    assert [made["parts"][p]["impressions"] for p in ("train", "validation", "test")] == [90, 10, 100]


@pytest.mark.parametrize(
    "verb", ["prepare", "describe", "simulate", "train", "evaluate", "compare", "config", "methods"]
)
def test_help(run, verb):
    for ask in ("-h", "--help"):
        ran = run(verb, ask)
        assert ran.code == 0
        assert ran.out.startswith(f"Usage: entirespace {verb}")


def test_version_and_no_arguments(run):
    from entirespace import __version__

    assert run("--version").out == f"entirespace {__version__}\n"
    ran = run()
    assert (ran.code, "prepare" in ran.out + ran.err) == (2, True)


def test_as_a_process_of_its_own(raw):
    """stdout holds the report alone; a reader that goes away early is no error to tell of."""
    command = [sys.executable, "-c", "from entirespace.cli import main; main()", *PREPARE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.startswith("dataset (digest ")) == (0, True)
    assert "reading impressions: " in done.stderr
    command[3:] = ["describe", "dataset", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
