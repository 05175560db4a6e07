"""First schemas of text that is not UTF-8."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from guessed import BUY, CLICK, USER, N, counts, log, schema_of

from entirespace.logs.guess import guess


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.mark.parametrize(
    ("encoding", "city", "declared"),
    [
        ("latin-1", "Köln", "latin-1"),
        ("windows-1252", "Köln – Süd", "windows-1252"),
        ("utf-8", "Köln", "utf-8"),
        ("utf-8-sig", "Köln", "utf-8"),
        ("utf-16", "Köln – Süd", "utf-16"),
        ("utf-16-le", "Köln – Süd", "utf-16-le"),  # without a byte order mark
        ("utf-16-be", "Köln – Süd", "utf-16-be"),
        ("utf-32", "Köln – Süd", "utf-32"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_text_that_is_not_utf8_gets_an_encoding(raw: Path, tmp_path: Path, encoding, city, declared, early) -> None:
    many = 1 if early else 3  # the first lines say nothing: they are ASCII
    shown = pl.concat([log(city=np.where(USER % 2, city if early else "Bonn", "Bonn")) for _ in range(many)])
    last = log(city=np.where(USER % 2, city, "Bonn"))
    (raw / "log.csv").write_bytes(pl.concat([shown, last]).write_csv().encode(encoding))
    assert counts(raw, tmp_path)[0] == N * (many + 1)
    schema = schema_of(raw)
    assert schema.impressions.encoding == declared
    assert "city" in {f.source for f in schema.fields()}


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE])
@pytest.mark.parametrize("name", ["log.csv", "log.tsv.gz"])
def test_a_byte_order_mark_tells_the_encoding(raw: Path, tmp_path: Path, mark: bytes, name: str) -> None:
    encoding = f"utf-{8 * len(mark)}"
    order = "le" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE) else "be"
    text = log(größe=np.arange(N) % 7).write_csv(separator="," if name == "log.csv" else "\t")
    content = mark + text.encode(f"{encoding}-{order}")
    (raw / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    schema = schema_of(raw)
    assert schema.impressions.encoding == encoding
    assert "größe" in {f.source for f in schema.fields()}
    assert not any("encoding" in doubt for doubt in guess(raw).doubts)
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())


def test_files_of_different_encodings_are_doubtful(raw: Path) -> None:
    (raw / "log_1.csv").write_bytes(log().write_csv().encode("utf-16"))
    (raw / "log_2.csv").write_bytes(log().write_csv().encode())
    (doubt,) = [doubt for doubt in guess(raw).doubts if "encoding" in doubt]
    assert "log_1.csv is UTF-16, log_2.csv is UTF-8; convert them" in doubt


def test_a_header_that_is_not_utf8(raw: Path, tmp_path: Path) -> None:
    (raw / "log.csv").write_bytes(log(größe=np.arange(N) % 7).write_csv().encode("latin-1"))
    assert counts(raw, tmp_path)[0] == N
    assert "größe" in {f.source for f in schema_of(raw).fields()}


def test_a_column_of_which_some_rows_are_utf8_and_some_are_not_is_left_out(raw: Path, tmp_path: Path) -> None:
    text = log(city=np.where(USER % 2, "Köln", "Bonn")).write_csv().split("\n")
    halves = "\n".join(text[:150]).encode() + b"\n" + "\n".join(text[150:]).encode("latin-1")
    (raw / "log.csv").write_bytes(halves)
    assert counts(raw, tmp_path)[0] == N
    schema = schema_of(raw)
    assert schema.impressions.encoding == "utf-8"
    assert "city" not in {f.source for f in schema.fields()}
