"""Records: JSON files that are not what they must be are named, whatever they hold."""

from __future__ import annotations

from typing import ClassVar

import pytest

from entirespace.errors import RunError
from entirespace.records import Record


class Note(Record):
    FORMAT: ClassVar = "note/1"

    text: str


def read(path):
    return Note.read(path, RunError, what="a note", must="it must be whole", missing="there is none", do="Write it")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"1" * 5000,
        b"[" * 10**5,
        b"[" * 10**5 + b"]" * 10**5,
        b'{"format": "note/1", "checksum": "", "text": ' + b"[" * 300 + b"]" * 300 + b"}",
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "note.json").write_bytes(content)
    with pytest.raises(RunError, match=r"note\.json: ") as raised:
        read(tmp_path / "note.json")
    assert len(str(raised.value)) < 400


def test_a_missing_file_a_missing_folder_and_a_file_in_its_place(tmp_path):
    Note(text="x").write(tmp_path / "note.json")
    assert read(tmp_path / "note.json").text == "x"
    with pytest.raises(RunError, match=r"a note must hold other\.json, which is written last, however: there is none"):
        read(tmp_path / "other.json")
    with pytest.raises(RunError, match="a note must be a folder, however: there is no such folder"):
        read(tmp_path / "none/note.json")
    with pytest.raises(RunError, match="a note must be a folder, however: it is a file"):
        read(tmp_path / "note.json/note.json")
