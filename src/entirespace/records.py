"""Typed JSON files: a format, pydantic content and a checksum, written aside and renamed, so whole or as before."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from .config import Model, digest
from .errors import EntirespaceError


class FileRecord(Model):
    """What a file must be: its size and the SHA-256 of its bytes."""

    sha256: str
    bytes: int

    @staticmethod
    def of(path: Path) -> FileRecord:
        """The record of a file as it is now."""
        return FileRecord(sha256=sha256(path), bytes=path.stat().st_size)


class Record(Model):
    """A JSON file of a format. `checksum` covers everything else in it."""

    FORMAT: ClassVar[str]

    @classmethod
    def read(cls, path: Path, error: type[EntirespaceError], *, what: str, must: str, missing: str, do: str) -> Self:
        """The record at `path`.

        Args:
            error: what is raised where the file is not whole or of another format.
            what: the kind of folder that holds it ("a dataset").
            must: what must hold of its files.
            missing: what it means that there is no file.
            do: what the user can do then.
        """
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError as cause:
            raise error(f"{what} holds {path.name}, written last", missing, where=str(path.parent), do=do) from cause
        except OSError as cause:
            raise error(must, str(cause.strerror), where=str(path)) from cause
        except (ValueError, RecursionError) as cause:
            raise error(must, str(cause), where=str(path), do=do) from cause
        form = content.get("format") if isinstance(content, dict) else "it is no table"
        if form != cls.FORMAT:
            raise error(f"{what}'s format must be {cls.FORMAT}", str(form), where=str(path), do=do)
        if content.pop("checksum", None) != digest(content):
            raise error(must, "its checksum is another", where=str(path), do=do)
        del content["format"]
        try:
            return cls.model_validate(content)
        except ValidationError as cause:
            first = cause.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise error(must, f"{place}: {first['msg']}", where=str(path), do=do) from cause

    def plain(self) -> dict[str, Any]:
        """The content as plain values for JSON, without format and checksum."""
        return self.model_dump(mode="json", by_alias=True)

    def as_dict(self) -> dict[str, Any]:
        """The content of the file: plain values, with the format and the checksum."""
        content = {"format": self.FORMAT, **self.plain()}
        return {**content, "checksum": digest(content)}

    def write(self, path: Path) -> None:
        """Write it so that `path` is whole or as before."""
        save_json(path, self.as_dict())


def save_json(path: Path, content: Any) -> None:
    """Write JSON so that `path` is whole or as before."""
    aside = path.with_name(path.name + ".partial")
    aside.write_text(json.dumps(content, indent=1))
    settle(aside, path)


def settle(aside: Path, path: Path) -> None:
    """Give a file that was written aside its name, once its bytes are on the disk."""
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.rename(path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
