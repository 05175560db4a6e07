"""Typed JSON files with a format name and a checksum.

A file is written under a temporary name and then renamed, so a crash leaves either the old file or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from .config import Model, digest
from .dotted import is_shallow
from .errors import EntirespaceError, no_folder


class FileRecord(Model):
    """The size of a file in bytes and the SHA-256 of its content, to notice damage."""

    sha256: str
    bytes: int

    @staticmethod
    def of(path: Path) -> FileRecord:
        """The record of a file as it is now."""
        return FileRecord(sha256=sha256(path), bytes=path.stat().st_size)


class Record(Model):
    """The content of a JSON file. In the file, `format` is added, and `checksum`, which covers everything else."""

    FORMAT: ClassVar[str]
    """The name and version of the format."""

    @classmethod
    def read(cls, path: Path, error: type[EntirespaceError], *, what: str, must: str, missing: str, do: str) -> Self:
        """Read and check the record at `path`.

        Args:
            error: the class of the error to raise.
            what: the kind of folder that holds the file ("a dataset"), for the error.
            must: what must hold of the files in that folder, for the error.
            missing: the explanation to give if the file does not exist.
            do: the advice to give.

        Raises: `error` if the file is missing, damaged, or of another format.
        """
        if not path.parent.is_dir():
            raise error(f"{what} must be a folder", no_folder(path.parent), where=str(path.parent), do=do)
        try:
            content = read_json(path, error, must=must, do=do)
        except FileNotFoundError as cause:
            raise error(
                f"{what} must hold {path.name}, which is written last", missing, where=str(path.parent), do=do
            ) from cause
        form = content.get("format") if isinstance(content, dict) else "the file holds no JSON object"
        if form != cls.FORMAT:
            raise error(f"{what}'s format must be {cls.FORMAT}", str(form), where=str(path), do=do)
        if content.pop("checksum", None) != digest(content):
            raise error(must, "its checksum does not match its content", where=str(path), do=do)
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
        """Write the file. After a crash, `path` is either the complete new file or as before."""
        save_json(path, self.as_dict())


def read_json(path: Path, error: type[EntirespaceError], *, must: str, do: str) -> Any:
    """The content of a JSON file.

    Args:
        error, must, do: as for `Record.read`.

    Raises: `error` if it cannot be read or is not JSON. FileNotFoundError if there is no file.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise error(must, str(cause.strerror), where=str(path)) from cause
    except ValueError as cause:
        raise error(must, str(cause), where=str(path), do=do) from cause
    except RecursionError as cause:
        raise error(must, "its values are nested too deep", where=str(path), do=do) from cause
    if not is_shallow(content):
        raise error(must, "its values are nested too deep", where=str(path), do=do)
    return content


def whole(path: Path, name: str) -> dict[str, Any] | None:
    """The content of a record of this format, in any version, with its checksum. None if the file is something else."""
    try:
        content = json.loads(path.read_bytes())
        bare = {key: value for key, value in content.items() if key != "checksum"}
        return content if content["format"].startswith(f"{name}/") and content["checksum"] == digest(bare) else None
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None


def save_json(path: Path, content: Any) -> None:
    """Write JSON. After a crash, `path` is either the complete new file or as before."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    settle(temporary, path)


def settle(temporary: Path, path: Path) -> None:
    """Flush a complete file to disk, then rename it to `path`, replacing what is there."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.rename(path)


def link_or_copy(source: Path, path: Path) -> None:
    """Give a file a second name: a hard link, or a copy on another disk or a file system without hard links.

    Raises: OSError if `source` is missing, or `path` is there or cannot be written.
    """
    try:
        os.link(source, path)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        shutil.copyfile(source, path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
