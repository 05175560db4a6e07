"""Rows of side tables that repeat a key: equal content, however it is stored, is no fault; any other content is."""

from __future__ import annotations

import polars as pl
import pytest

from tests.raw_logs import HEAD, Log

SIDE = """
[tables.u]
files = ["u*"]
key = "k"
on = "a"
[tables.u.fields]
age = { kind = "number" }
tags = { kind = "ids", separator = "|", weights = "how" }
city = { missing = ["NULL"] }
"""
LOG = "a,t,y,z\n1,1,0,0\n2,2,1,1\n"
FIRST = {"k": [1], "age": ["30"], "tags": ["7|9"], "how": ["1|2"], "city": [""]}


def reasons(log: Log, **changed: object) -> dict[str, int]:
    """What the audit counts of a second file whose row has the key of the first one's, and these other values."""
    log.write("log.csv", LOG)
    log.write("u_1.csv", pl.DataFrame(FIRST))
    log.write("u_2.parquet", pl.DataFrame(FIRST | changed, strict=False))
    blocks, _ = log.read(HEAD + SIDE)
    assert sum(block.rows for block in blocks["u"]) == 1
    return counted(log)


def counted(log: Log) -> dict[str, int]:
    return {name: count["rows"] for name, count in log.audit.as_dict()["tables"]["u"]["reasons"].items()}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"k": [1.0]},
        {"age": [30.0]},
        {"age": ["30.0"]},
        {"tags": [[7.0, 9.0]], "how": [[1, 2]]},
        {"tags": ["7|9.0"]},
        {"how": ["1.00|2"]},
        {"city": ["NULL"]},
        {"city": [None]},
    ],
)
def test_an_equal_row_is_counted(log: Log, changed: dict[str, object]) -> None:
    assert reasons(log, **changed) == {"repeated_key": 1}


@pytest.mark.parametrize(
    "changed",
    [{"age": ["31"]}, {"tags": ["7|8"]}, {"tags": ["9|7"]}, {"how": ["2|1"]}, {"how": ["1|3"]}, {"city": ["x"]}],
)
def test_another_row_is_bad(log: Log, changed: dict[str, object]) -> None:
    assert reasons(log, **changed) == {"duplicate_key": 1}


def test_a_bad_row_beside_them_changes_nothing(log: Log) -> None:
    log.write("log.csv", LOG)
    log.write("u_1.csv", pl.DataFrame(FIRST))
    log.write("u_2.csv", "k,age,tags,how,city\n2,5,7|9,1,\n1,30,7|9,1|2,NULL\n2,5,1,1,\n")
    blocks, _ = log.read(HEAD + SIDE)
    assert counted(log) == {"wrong_feature_count": 1, "repeated_key": 1}
    assert sum(block.rows for block in blocks["u"]) == 2


def test_a_table_of_the_impressions_reads_values_as_they_do(log: Log) -> None:
    log.write("log.csv", "a,t,y,z,income\n1,1,0,0,NULL\n1,2,1,1,\n2,3,0,0,7 000\n2,4,1,0,7000\n")
    settings = HEAD + 'missing = ["NULL"]\nthousands = " "\n'
    table = '[tables.u]\nfrom = "impressions"\nkey = "a"\nfields = { income = { kind = "number" } }\n'
    log.read(settings + table)
    assert counted(log) == {"repeated_key": 2}
