"""Which files a table has: their order, their names, and that they are inside the folder of the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from entirespace.errors import ConfigError, DataError, EntirespaceError
from entirespace.logs import files
from entirespace.logs.find import find, matches


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a\n")


def names(folder: Path, *patterns: str, **how) -> list[str]:
    return [file.name for file in find(patterns, folder, **how)]


def test_files_come_in_name_order_pattern_by_pattern_and_once(tmp_path):
    for name in ("log_2.csv", "log_1.csv", "log_10.csv", "more.csv", "notes.txt"):
        (tmp_path / name).write_text("a\n")
    (tmp_path / "log_3.csv").mkdir()
    found = find(("more.csv", "log_*.csv", "*.csv", "none_*"), tmp_path)
    assert [f.name for f in found] == ["more.csv", "log_1.csv", "log_2.csv", "log_10.csv"]
    assert {f.size for f in found} == {2}


def test_an_absolute_pattern_and_one_with_parent_folders(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "log_1.csv").write_text("a\n")
    there = str(tmp_path / "log_1.csv")
    for pattern, name in ((str(tmp_path / "log_*.csv"), there), (there, there), ("../log_*.csv", "../log_1.csv")):
        found = find((pattern,), tmp_path / "raw", allow_outside=True)
        assert [f.name for f in found] == [name], pattern


def test_a_remote_address(tmp_path):
    (tmp_path / "log_1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "other.csv").write_text("a,b\n")
    (file,) = find((f"file://{tmp_path}/log_*.csv",), Path("/nowhere"), allow_outside=True)
    assert (file.name, file.size) == (f"{tmp_path}/log_1.csv", 8)
    frames = files.frames(file, ["b"], files.CsvForm(), lambda *_: None)
    assert [f.rows.rows() for f in frames] == [[("2",)]]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("log_*.csv",), r"'log_\*\.csv', however: none does; the folder holds users.csv"),
        (("log.csv", "log.parquet"), r"must match 'log.csv' or 'log.parquet'"),
        (("",), "files must be paths or patterns"),
        (("a**/b",), "files must be paths or patterns"),
        (("gopher://x/log.csv",), "the address must be reachable"),
    ],
)
def test_a_pattern_without_files_is_refused(tmp_path, patterns, message):
    (tmp_path / "users.csv").write_text("a\n")
    with pytest.raises(DataError, match=message):
        find(patterns, tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        find(("log.csv",), tmp_path / "raw")


def test_files_are_known_by_their_path_in_the_folder_and_come_folder_by_folder(tmp_path):
    put(tmp_path, "b/0.csv", "a/10.csv", "a/9.csv", "day=10/x.csv", "day=9/x.csv", "z.csv")
    assert names(tmp_path, "*/*.csv") == ["a/9.csv", "a/10.csv", "b/0.csv", "day=9/x.csv", "day=10/x.csv"]
    assert names(tmp_path, "b/*.csv", "./a/9.csv") == ["b/0.csv", "a/9.csv"]
    assert names(tmp_path, str(tmp_path / "b/*.csv"), f"file://{tmp_path}/z.csv") == ["b/0.csv", "z.csv"]
    assert names(tmp_path, "**/9.csv") == ["a/9.csv"]


def test_a_name_with_brackets_is_found_as_it_is(tmp_path):
    put(tmp_path, "log[1].csv", "log1.csv")
    assert names(tmp_path, "log[1].csv") == ["log[1].csv"]
    assert names(tmp_path, "log[0-9].csv") == ["log1.csv"]


def test_a_file_and_links_to_it_are_read_once_at_the_place_of_the_file(tmp_path):
    put(tmp_path, "log_1.csv", "log_2.csv", "x/log_3.csv")
    (tmp_path / "latest.csv").symlink_to("log_2.csv")
    (tmp_path / "alias").symlink_to("x")
    notes: list[str] = []
    assert names(tmp_path, "*.csv", "./log_1.csv", note=notes.append) == ["log_1.csv", "log_2.csv"]
    assert notes == ["latest.csv is the same file as log_2.csv: it is read once"]
    assert names(tmp_path, "latest.csv") == ["latest.csv"]
    assert names(tmp_path, "x/*", "alias/*") == ["x/log_3.csv"]


def test_names_that_begin_with_a_dot_or_underscore_are_skipped_as_in_spark(tmp_path):
    put(tmp_path, "d/part-0", "d/_SUCCESS", "d/.part-0.crc", "d/_temporary/0/part-1", "d/_day=1/part-2", "_x/y.csv")
    notes: list[str] = []
    assert names(tmp_path, "d/**/*", note=notes.append) == ["d/_day=1/part-2", "d/part-0"]
    assert len(notes) == 1
    assert "d/_SUCCESS" in notes[0]
    assert "(3 in all)" in notes[0]
    assert names(tmp_path, "d/_SUCCESS", "d/.p*", "_*/*") == ["d/_SUCCESS", "d/.part-0.crc", "_x/y.csv"]
    with pytest.raises(DataError, match=r"none does.*names that begin with _ or \. are skipped: _x/y.csv"):
        find(("*/y.csv",), tmp_path)


def test_the_folder_of_the_log_may_have_any_name(tmp_path):
    put(tmp_path, ".raw/_in/log.csv")
    assert names(tmp_path / ".raw/_in", "*.csv") == ["log.csv"]


OUTSIDE = {
    "a parent folder": "../secret/log.csv",
    "many parent folders": "../" * 30 + "etc/passwd",
    "a way out and in again": "../raw/../secret/*.csv",
    "a way out after a wildcard": "*/../../secret/log.csv",
    "an absolute path": "{tmp}/secret/log.csv",
    "an absolute pattern": "{tmp}/secret/*.csv",
    "a pattern for every file": "/**",
    "an address of a file": "file://{tmp}/secret/log.csv",
    "a folder whose name only begins alike": "../raw-old/log.csv",
    "a file that is not there": "/none/log.csv",
    "a link to a file": "link.csv",
    "a pattern for a link": "l*.csv",
    "a file through a link to a folder": "linked/log.csv",
    "a pattern through a link to a folder": "*/log.csv",
}


@pytest.mark.parametrize("pattern", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_files_outside_the_folder_are_refused(tmp_path, pattern):
    put(tmp_path, "raw/d/x.csv", "secret/log.csv", "raw-old/log.csv")
    (tmp_path / "raw/link.csv").symlink_to("../secret/log.csv")
    (tmp_path / "raw/linked").symlink_to(tmp_path / "secret")
    pattern = pattern.replace("{tmp}", str(tmp_path))
    with pytest.raises(ConfigError, match="must be inside the folder of the raw log") as raised:
        find((pattern,), tmp_path / "raw")
    shown = pattern.removeprefix("file://")
    assert f"'{shown}' names /" in str(raised.value)
    assert "--allow-outside" in str(raised.value)
    if "log.csv" in pattern and "none" not in pattern:
        assert names(tmp_path / "raw", pattern, allow_outside=True)


def test_a_link_inside_the_folder_and_a_folder_that_is_a_link_are_allowed(tmp_path):
    put(tmp_path, "real/a/log.csv")
    (tmp_path / "real/b").symlink_to("a")
    (tmp_path / "raw").symlink_to("real")
    assert names(tmp_path / "raw", "b/log.csv", "b/../a/log.csv") == ["b/log.csv"]


@pytest.mark.parametrize(
    "pattern", ["fsspec+file:///etc/passwd", "mock://x", "FILE:///etc/passwd", "file://etc/passwd"]
)
def test_other_kinds_of_addresses_are_refused(tmp_path, pattern):
    with pytest.raises(EntirespaceError, match="the address must be reachable"):
        find((pattern,), tmp_path)


def test_a_folder_and_a_file_in_its_place_are_named(tmp_path):
    put(tmp_path, "log/part-0")
    with pytest.raises(DataError, match=r"'log' is a folder\. Name its files: 'log/\*'"):
        find(("log/",), tmp_path)
    with pytest.raises(DataError, match="part-0: the raw log must be a folder, however: it is a file"):
        find(("log.csv",), tmp_path / "log/part-0")


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*_train.csv", "a/x_train.csv", True),
        ("a/*", "a/0.csv", True),
        ("a/*", "ba/0.csv", False),
        ("*/0.csv", "a/b/0.csv", False),
        ("**/0.csv", "a/b/0.csv", True),
        ("**/0.csv", "0.csv", True),
        ("./a/*", "a/0.csv", True),
        ("day=1/*", "day=10/0.csv", False),
        ("0.CSV", "0.csv", False),
    ],
)
def test_a_pattern_with_a_slash_matches_the_path_and_one_without_the_name(pattern, name, expected):
    assert matches(pattern, name) == expected


@pytest.mark.parametrize("pattern", ["log_2.csv", "log_*.csv", "*/*.csv", "**/*.csv"])
def test_a_link_that_leads_nowhere_is_an_error_and_no_missing_file(tmp_path, pattern):
    """A log whose second file is gone would be read as if it had one."""
    put(tmp_path, "log_1.csv", "a/log_1.csv")
    for name in ("log_2.csv", "a/log_2.csv"):
        (tmp_path / name).symlink_to("gone.csv")
    (tmp_path / "_tmp").mkdir()
    for name in (".hidden.csv", "_tmp/log.csv"):  # as editors and Spark make them: they are skipped
        (tmp_path / name).symlink_to("gone.csv")
    with pytest.raises(
        DataError, match=r"log_2\.csv: a file of the log must exist, however: it is a link to gone\.csv"
    ):
        find((pattern,), tmp_path)
    for name in ("log_2.csv", "a/log_2.csv"):
        (tmp_path / name).unlink()
    assert names(tmp_path, "**/*.csv") == ["a/log_1.csv", "log_1.csv"]


def test_a_folder_that_a_pattern_matches_is_named(tmp_path):
    put(tmp_path, "day/log.parquet/part-0")
    with pytest.raises(DataError, match=r"'day/log\.parquet' is a folder\. Name its files: 'day/log\.parquet/\*'"):
        find(("*/log.p*",), tmp_path)


def test_a_name_that_no_system_allows_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"files must be paths or patterns such as .* File name too long"):
        find(("a" * 300,), tmp_path)
