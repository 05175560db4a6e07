"""Which files a table has: patterns, relative to the folder of the log or addresses -> files in order.

Files are known by their path relative to the folder, and come in natural order: log_2 before log_10.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from ..errors import ConfigError, DataError, no_folder
from .files import File, local

REMOTE = ("s3", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "viewfs")
"""The kinds of addresses that a schema may name: none of them is on this machine."""


def find(
    patterns: Sequence[str],
    folder: Path,
    *,
    allow_outside: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> list[File]:
    """The files that match any pattern, in the order of the patterns, and for each pattern in natural order.

    A file that several patterns or links name is listed once. As in Spark, names that begin with _ or . are skipped
    (_SUCCESS, .part-0.crc), unless the pattern has this character, too, or they are of the form _column=value.

    Args:
        folder: the folder of the log, to which the patterns are relative.
        allow_outside: also find files of this machine that are not in the folder: absolute paths, paths through "..",
            and links to such files.
        note: called with a remark on files that were skipped.

    Raises: ConfigError for a file outside the folder. DataError if no file matches, a pattern is invalid or an address
    cannot be reached.
    """
    found: dict[str, File] = {}  # where a file really is -> the file
    skipped: list[str] = []
    for pattern in patterns:
        if pattern.startswith("file://"):
            pattern = _path_of(pattern)
        files = _remote(pattern, allow_outside) if "://" in pattern else _local(pattern, folder, allow_outside)
        skipped += [file.name for file in files if _is_hidden(file.name, pattern)]
        places = {_place(file): file for file in sorted(files, key=_is_link, reverse=True)}  # files before their links
        for file in files:
            place = _place(file)
            if place in found or places[place] is not file:
                same = found.get(place, places[place]).name
                if same != file.name:
                    note(f"{file.name} is the same file as {same}: it is read once")
            elif not _is_hidden(file.name, pattern):
                found[place] = file
    if skipped:
        names = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        note(f"files whose names begin with _ or . are not read: {names} ({len(skipped):,} in all)")
    if not found:
        raise _nothing(patterns, folder, skipped)
    return list(found.values())


def local_paths(patterns: Sequence[str], folder: Path) -> list[Path]:
    """The files of this machine that match any pattern, also those that may not be read. A pattern may match none."""
    found: list[Path] = []
    for pattern in patterns:
        with suppress(DataError):  # reading the log raises it
            path = _path_of(pattern) if pattern.startswith("file://") else pattern
            found += [Path(file.path) for file in ([] if "://" in path else _local(path, folder, allow_outside=True))]
    return found


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches the name of a file.

    A pattern with a slash must match the whole path, folder by folder, and ** any number of folders. A pattern without
    one must match the name of the file, whatever its folder.

    >>> matches("a/*.csv", "a/0.csv"), matches("*.csv", "a/0.csv"), matches("a/**", "a/b/0.csv")
    (True, True, True)
    >>> matches("a/*", "a/b/0.csv"), matches("a/*", "b/a/0.csv")
    (False, False)
    """
    parts = name.split("/")
    if "/" not in pattern:
        return fnmatchcase(parts[-1], pattern)
    return _match([p for p in pattern.split("/") if p != "."], parts)


def natural(name: str) -> tuple[list[list[str | int]], str]:
    """A key to sort paths by, folder by folder: numbers in them count as numbers.

    >>> sorted(["log_10", "log_2", "a/9", "a/10", "log_02"], key=natural)
    ['a/9', 'a/10', 'log_02', 'log_2', 'log_10']
    """
    parts = (re.split("([0-9]+)", part) for part in name.split("/"))
    return [[int(word) if i % 2 else word for i, word in enumerate(part)] for part in parts], name


def _is_link(file: File) -> bool:
    return "://" not in file.name and Path(file.path).is_symlink()


def _place(file: File) -> str:
    """Where a file really is."""
    return file.name if "://" in file.name else os.path.realpath(file.path)


def _match(pattern: list[str], parts: list[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(p == "**" for p in pattern)
    if pattern[0] == "**":
        return _match(pattern[1:], parts) or _match(pattern, parts[1:])
    return fnmatchcase(parts[0], pattern[0]) and _match(pattern[1:], parts[1:])


def _local(pattern: str, folder: Path, allow_outside: bool) -> list[File]:
    anchor = Path(pattern).anchor  # "/" of an absolute pattern
    if not folder.is_dir() and not (anchor and allow_outside):
        raise DataError("the raw log must be a folder", no_folder(folder), where=str(folder))
    try:
        if not allow_outside:
            _check_inside(folder / _fixed(pattern), folder, pattern)
        there = folder / pattern
        paths = [there] if there.is_file() else [*Path(anchor or folder).glob(pattern[len(anchor) :])]
        paths = paths or [there] * there.is_symlink()  # a link that leads nowhere
    except (ValueError, NotImplementedError, OSError) as error:
        raise DataError("files must be paths or patterns such as 'log_*.csv'", str(error)) from error
    files = []
    for path in paths:
        name = Path(os.path.relpath(path, folder)).as_posix()
        if path.is_symlink() and not path.exists() and not _is_hidden(name, pattern):
            came = f"it is a link to {path.readlink()}, where nothing is"
            raise DataError("a file of the log must exist", came, where=name)
        if path.is_file():
            if not allow_outside:
                _check_inside(path, folder, pattern)
            files.append(local(path, str(path) if anchor and name.startswith("..") else name))
    return sorted(files, key=lambda file: natural(file.name))


def _check_inside(path: Path, folder: Path, pattern: str) -> None:
    """Raises: ConfigError if the path, with all links followed, is outside the folder."""
    place, root = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if root != place and root not in place.parents:
        raise ConfigError(
            "the files that a schema names must be inside the folder of the raw log",
            f"'{pattern}' names {place}",
            where=str(folder),
            do="Move the file there, or allow files outside: --allow-outside",
        )


def _fixed(pattern: str) -> str:
    """The folders of a pattern before its first wildcard; the whole pattern if it has none.

    >>> _fixed("a/b/*.csv"), _fixed("/a/b.csv"), _fixed("*/b")
    ('a/b', '/a/b.csv', '')
    """
    parts = pattern.split("/")
    wild = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    return "/".join(parts[:wild]) or ("/" if pattern.startswith("/") else "")


def _path_of(pattern: str) -> str:
    """The path of a file:// address."""
    rest = pattern.removeprefix("file://")
    if not rest.startswith("/"):
        raise DataError("the address must be reachable", "file:// needs an absolute path: file:///a/b", where=pattern)
    return unquote(rest)


def _remote(pattern: str, allow_outside: bool) -> list[File]:
    scheme, _, path = pattern.partition("://")
    if scheme not in REMOTE and not allow_outside:
        came = f"it begins with {scheme}://, which is none of {', '.join(REMOTE)}"
        raise DataError("the address must be reachable", came, where=pattern)
    fixed = _fixed(path)
    folder = fixed if fixed != path else str(PurePosixPath(path).parent)
    try:
        filesystem, root = pafs.FileSystem.from_uri(f"{'abfs' if scheme == 'az' else scheme}://{folder}")
        infos = filesystem.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    except (OSError, pa.ArrowException) as error:
        raise DataError("the address must be reachable", str(error), where=pattern) from error
    begin = f"{scheme}://"
    files = [
        File(filesystem, info.path, begin + info.path, info.size, info.mtime_ns)
        for info in infos
        if info.is_file and _match(path.split("/"), info.path.split("/"))
    ]
    return sorted(files, key=lambda file: natural(file.name))


def _is_hidden(name: str, pattern: str) -> bool:
    """Whether a part of the name begins with _ or ., and the pattern does not ask for it.

    >>> _is_hidden("a/_SUCCESS", "a/*"), _is_hidden("_day=1/0.csv", "*/*"), _is_hidden("_a/0.csv", "_*/*.csv")
    (True, False, False)
    """
    asked = pattern.split("/")
    return any(
        part.startswith(("_", "."))
        and part != ".."
        and not (part.startswith("_") and "=" in part)
        and not any(p[:1] == part[0] and fnmatchcase(part, p) for p in asked)
        for part in name.split("/")
    )


def _nothing(patterns: Sequence[str], folder: Path, skipped: list[str]) -> DataError:
    """The error for patterns that no file matches."""
    must = f"a file must match {' or '.join(repr(p) for p in patterns)}"
    for pattern in patterns:
        matched = [] if "://" in pattern or Path(pattern).is_absolute() else [folder / pattern, *folder.glob(pattern)]
        for path in filter(Path.is_dir, matched):
            name = os.path.relpath(path, folder)
            return DataError(must, f"'{name}' is a folder", where=str(folder), do=f"Name its files: '{name}/*'")
    here = sorted((p.name for p in folder.iterdir()), key=natural)[:12] if folder.is_dir() else []
    came = f"none does; the folder holds {', '.join(here) or 'nothing'}"
    if skipped:
        came += f" (names that begin with _ or . are skipped: {', '.join(skipped[:5])})"
    return DataError(must, came, where=str(folder))
