"""The audit: every row is counted, and a log with too many bad rows is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from entirespace.errors import DataError
from entirespace.logs.audit import LONGEST, REASONS, Audit, Quarantine, report


def test_rows_read_are_kept_left_out_or_quarantined():
    audit = Audit()
    audit.read("impressions", 10)
    audit.read("impressions", 5)
    audit.count("impressions", "conversion_without_click", 2, outcome="left out")
    audit.count("impressions", "missing_side_row", 3)
    audit.count("impressions", "bad_label")
    audit.count("impressions", "bad_value", 0)
    assert audit.rows_read("impressions") == 15
    assert audit.kept("impressions") == 12
    assert audit.rows_with("impressions", "missing_side_row") == 3
    table = audit.as_dict()["tables"]["impressions"]
    assert table["read"] == table["kept"] + table["left_out"] + table["quarantined"]
    assert table["reasons"]["conversion_without_click"]["outcome"] == "left out"
    assert "bad_value" not in table["reasons"]


def test_an_orphan_conversion_counts_as_changed_unless_another_outcome_is_given():
    audit = Audit()
    audit.read("impressions", 1)
    audit.count("impressions", "conversion_without_click")
    assert audit.rows("impressions", "changed") == 1
    assert audit.kept("impressions") == 1


def test_an_unknown_reason_is_an_error():
    with pytest.raises(KeyError):
        Audit().count("impressions", "no_such_reason")


def test_the_report_survives_json():
    audit = Audit()
    audit.read("common", 2)
    audit.count("common", "duplicate_key", file="c.csv", line=2, text="k,1,101\x025\x031.0")
    audit.note("column z is not used")
    audit.note("column z is not used")
    assert report(json.loads(json.dumps(audit.as_dict()))) == audit.report()
    assert audit.report().splitlines() == [
        "common: 2 rows read, 1 kept, 1 quarantined",
        f"  1 quarantined: duplicate_key, {REASONS['duplicate_key'].sentence}",
        "    c.csv, line 2: k,1,101\\x025\\x031.0",
        "note: column z is not used",
    ]


def test_at_most_three_examples_per_reason():
    audit = Audit()
    audit.read("t", 9)
    for line in range(9):
        audit.count("t", "bad_label", file="f", line=line, text="x" * 10_000)
    examples = audit.as_dict()["tables"]["t"]["reasons"]["bad_label"]["examples"]
    assert [e.split(":")[0] for e in examples] == ["f, line 0", "f, line 1", "f, line 2"]
    assert all(len(e) < 300 for e in examples)


@pytest.mark.parametrize(("bad", "refused"), [(0, False), (10, False), (11, True), (1000, True)])
def test_the_log_is_refused_above_max_bad(bad, refused):
    audit = Audit(max_bad=0.01)
    audit.read("impressions", 1000)
    audit.count("impressions", "bad_label", bad, file="log.csv", line=7, text="1,2")
    if refused:
        with pytest.raises(DataError) as error:
            audit.check("impressions")
        for said in ("table 'impressions'", f"{bad:,} of 1,000", "bad_label", "log.csv, line 7: 1,2"):
            assert said in str(error.value)
        assert ("--max-bad" if bad < 500 else "the right file") in str(error.value)
    else:
        audit.check("impressions")


def test_the_error_puts_the_commonest_reason_first_and_gives_a_max_bad_that_would_do():
    audit = Audit(max_bad=0)
    audit.read("t", 1000)
    audit.count("t", "bad_label", 1)
    audit.count("t", "unparsable_line", 30)
    with pytest.raises(DataError, match=r"30 unparsable_line.*1 bad_label") as error:
        audit.check("t")
    enough = float(str(error.value).split("--max-bad ")[1].rstrip("."))
    assert 0.031 <= enough <= 0.05
    allowing = Audit(max_bad=enough)
    allowing.read("t", 1000)
    allowing.count("t", "bad_label", 31)
    allowing.check("t")


@pytest.mark.parametrize("bad", [1, 3, 10, 99, 100, 101, 499, 500])
def test_the_advised_max_bad_is_always_enough(bad):
    audit = Audit(max_bad=0)
    audit.read("t", 1000)
    audit.count("t", "bad_label", bad)
    with pytest.raises(DataError) as error:
        audit.check("t")
    assert bad / 1000 <= float(str(error.value).split("--max-bad ")[1].rstrip(".")) <= 1


def test_early_check_refuses_only_logs_that_must_exceed_max_bad():
    audit = Audit(max_bad=0.01)
    audit.read("t", 1000)
    audit.count("t", "bad_label", 50)  # 5 % so far
    audit.check("t", share=0.1)  # of some 10,000 rows 100 may be bad
    audit.count("t", "bad_label", 51)
    with pytest.raises(DataError, match="read so far"):
        audit.check("t", share=0.1)


def test_rows_left_out_as_asked_are_not_bad():
    audit = Audit(max_bad=0)
    audit.read("impressions", 10)
    audit.count("impressions", "conversion_without_click", 10, outcome="left out")
    audit.check("impressions")


def test_no_bad_row_no_quarantine_file(tmp_path):
    with Quarantine(tmp_path, Audit()) as quarantine:
        pass
    assert not quarantine.path.exists()


def test_the_quarantine_file_reads_back_as_csv(tmp_path):
    audit = Audit()
    audit.read("impressions", 3)
    texts = ['a "quoted", text\x01\x00', "long " * 1000, "键\\值\r"]
    with Quarantine(tmp_path, audit) as quarantine:
        for line, text in enumerate(texts, start=1):
            quarantine.add("raw.csv", line, "impressions", "unparsable_line", text)
    rows = list(csv.reader(quarantine.path.open(encoding="utf-8", newline="")))
    assert rows[0] == ["file", "line", "table", "reason", "text"]
    assert [r[:4] for r in rows[1:]] == [["raw.csv", str(n), "impressions", "unparsable_line"] for n in (1, 2, 3)]
    assert rows[1][4] == 'a "quoted", text\\x01\\x00'
    assert rows[2][4] == texts[1][:LONGEST] + "... (4,000 more characters)"
    assert rows[3][4] == "键\\\\值\\r"
    assert audit.rows("impressions", "quarantined") == 3


def test_an_example_says_what_is_wrong_before_the_row():
    audit = Audit(max_bad=0)
    audit.read("t", 1)
    audit.count("t", "bad_label", file="log.csv", line=2, text="a=1 " * 100 + "y=7", why="y = '7'")
    assert "    log.csv, line 2: y = '7' in: a=1 a=1 " in audit.report()
    with pytest.raises(DataError, match=r"First: log\.csv, line 2: y = '7' in: a=1"):
        audit.check("t")


def test_the_quarantine_file_says_what_is_wrong_before_the_row(tmp_path):
    audit = Audit()
    audit.read("t", 1)
    with Quarantine(tmp_path, audit) as quarantine:
        quarantine.add("a/log.csv", 2, "t", "bad_label", "x " * 1000, why="y = '\x1b7'")
        quarantine.add("a/l\x1bo\udcffg.csv", 3, "t", "bad_label", "row")
    first, second = list(csv.reader(quarantine.path.open(encoding="utf-8", newline="")))[1:]
    assert first[4].startswith("y = '\\x1b7' in: x x x")
    assert second[0] == "a/l\\x1bo\\udcffg.csv"


def test_the_examples_are_the_first_rows_of_the_log_in_whatever_order_they_are_counted():
    audit = Audit(max_bad=0)
    audit.read("t", 100)
    for line in (50, 51, 7, 90, 3, 8):
        audit.count("t", "bad_value", file="log_2.csv", line=line, why=f"v = '{line}'")
    audit.count("t", "bad_value", file="log_3.csv", line=1)
    audit.count("t", "bad_label", file="log_2.csv", line=2)
    examples = audit.as_dict()["tables"]["t"]["reasons"]["bad_value"]["examples"]
    assert examples == ["log_2.csv, line 3: v = '3'", "log_2.csv, line 7: v = '7'", "log_2.csv, line 8: v = '8'"]
    with pytest.raises(DataError, match=r"First: log_2\.csv, line 2; log_2\.csv, line 3: v = '3'"):
        audit.check("t")


def test_lines_are_counted_with_what_is_wrong():
    audit = Audit()
    audit.read("t", 9)
    audit.count_lines("t", "other_part", "log.csv", np.array([2, 4, 6, 8]), why=["p = 'a'", "p = 'b'"])
    about = audit.as_dict()["tables"]["t"]["reasons"]["other_part"]
    assert about["rows"] == 4
    assert about["examples"] == ["log.csv, line 2: p = 'a'", "log.csv, line 4: p = 'b'", "log.csv, line 6"]


def test_the_values_found_are_counted():
    audit = Audit()
    audit.read("t", 40)
    audit.found("t", "other_part", {})
    audit.count("t", "other_part", 20)
    audit.found("t", "other_part", {"part = 'dev'": 3})
    audit.found("t", "other_part", {"part = 'dev'": 2, **{f"part = {i}": 1 for i in range(20)}})
    about = json.loads(json.dumps(audit.as_dict()))
    assert len(about["tables"]["t"]["reasons"]["other_part"]["values"]) == 10
    line = report(about).splitlines()[2]
    assert line.startswith("    found: part = 'dev' (5 rows), part = 0 (1 row), ")
    assert line.endswith("part = 8 (1 row), and other values (6 rows)")


def test_nothing_in_the_report_can_steer_a_terminal():
    audit = Audit()
    audit.read("t\x1b[2J", 1)
    audit.count("t\x1b[2J", "bad_label", file="f\x1b]0;x\x07", line=1, text="\x9b1m\r", why="\x1b[31m = '\u202e'")
    audit.note("column \x1b[31m is not used\nerror: forged")
    assert all(line.isprintable() for line in audit.report().splitlines())
    assert len(audit.report().splitlines()) == 4


def test_a_missing_key_and_an_unreadable_time_have_reasons_of_their_own():
    assert "key" in REASONS["bad_key"].sentence
    assert "time" not in REASONS["bad_key"].sentence
    assert "cannot be read" in REASONS["bad_order"].sentence
