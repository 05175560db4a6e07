"""Errors and the audit name a line of a text file, and a row of a Parquet file."""

from __future__ import annotations

from datetime import datetime

import pytest
from raw_logs import PLAIN

from entirespace.errors import DataError

GOOD = {"a": ["x", "x"], "t": [1, 2], "y": [0, 1], "z": [0, 0]}
TRUTH = PLAIN + '[truth]\nfiles = ["truth*"]\n'
SIDE = PLAIN + '[tables.user]\nfiles = ["users*"]\nkey = "a"\n[tables.user.fields]\nage = { kind = "number" }\n'
KINDS = pytest.mark.parametrize(("kind", "place"), [("csv", "line 3"), ("parquet", "row 2")])


@KINDS
@pytest.mark.parametrize("bad", [{"y": [0, 7]}, {"t": [1, None]}, {"z": [0, 1], "y": [0, 0]}])
def test_the_audit(log, kind, place, bad):
    log.write(f"log.{kind}", {**GOOD, **bad})
    log.read(PLAIN)
    assert f"log.{kind}, {place}" in log.audit.report()


@KINDS
def test_the_audit_of_a_side_table(log, kind, place):
    log.write("log.csv", GOOD)
    log.write(f"users.{kind}", {"a": ["x", "w"], "age": ["30", "old"]})
    log.read(SIDE)
    assert f"users.{kind}, {place}: age = 'old'" in log.audit.report()


@KINDS
@pytest.mark.parametrize("times", [["1", "2024-05-01"], [1_700_000_000, 1_700_000_000_000]])
def test_the_errors_of_times(log, kind, place, times):
    """Another sort, another unit."""
    log.write(f"log.{kind}", {**GOOD, "t": times})
    with pytest.raises(DataError) as raised:
        log.read(PLAIN)
    assert raised.value.where == f"log.{kind}, {place}"
    assert f"(log.{kind}, {'line 2' if kind == 'csv' else 'row 1'})" in raised.value.came


@KINDS
def test_the_error_of_a_time_that_cannot_be_read(log, kind, place):
    log.write(f"log.{kind}", {**GOOD, "t": [None, "01/02/2024"]})
    with pytest.raises(DataError) as raised:
        log.read(PLAIN)
    assert raised.value.where == f"log.{kind}, {place}"


def test_the_first_time_is_named_in_the_file_that_it_is_in(log):
    log.write("log_1.parquet", {**GOOD, "t": [datetime(2024, 5, 1), datetime(2024, 5, 2)]})
    log.write("log_2.csv", GOOD)
    with pytest.raises(DataError, match=r"log_2\.csv, line 2: .*\(log_1\.parquet, row 1\)"):
        log.read(PLAIN)


@KINDS
def test_the_error_of_a_conversion_without_a_click(log, kind, place):
    log.write(f"log.{kind}", {**GOOD, "y": [0, 0], "z": [0, 1]})
    with pytest.raises(DataError) as raised:
        log.read(PLAIN, on_orphan="error")
    assert raised.value.where == f"log.{kind}, {place}"


@KINDS
def test_the_error_of_a_truth(log, kind, place):
    log.write("log.csv", GOOD)
    log.write(f"truth.{kind}", {"pctr": [0.5, 1.7], "pcvr": [0.5, 0.5]})
    with pytest.raises(DataError) as raised:
        log.read(TRUTH)
    assert raised.value.where == f"truth.{kind}, {place}"
