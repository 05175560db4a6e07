"""How a CSV file is written, and its bytes in UTF-8, whatever its encoding is."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any

from ..errors import DataError

BOM = "\ufeff".encode()
UTF8 = ("utf-8", "utf-8-sig", "ascii")
"""Encodings whose bytes are UTF-8 already."""
MARKED = ("utf-16", "utf-32")
"""Encodings that a byte order mark tells."""
DECLARE = (
    "Convert it to UTF-8, or declare its encoding, such as latin-1, windows-1252 or utf-16: "
    'encoding = "latin-1" in the schema, --encoding with `score`'
)


@dataclass(frozen=True)
class CsvForm:
    """How CSV files are written."""

    delimiter: str = ","
    columns: tuple[str, ...] | None = None  # the names of all columns; None: the first line is the header
    skip: int = 0  # lines before the header or, with `columns`, before the first row
    encoding: str = "utf-8"
    multiline: bool = False  # a value in quotes may contain line ends

    @property
    def before(self) -> int:
        """How many lines stand before the first row."""
        return self.skip + (self.columns is None)


def is_encoding(name: str) -> bool:
    """Whether Python has an encoding of text of this name."""
    try:
        "a".encode(name)
    except (LookupError, UnicodeError, ValueError):
        return False
    return True


def wide_encoding(begin: bytes) -> str | None:
    """The encoding of text of two or four bytes a character, by its first four bytes; None: it is another text.

    It is the byte order mark that tells, or where a first letter of ASCII has its zeros.

    >>> [wide_encoding("a,b".encode(name)) for name in ("utf-16", "utf-16-be", "utf-32", "utf-8")]
    ['utf-16', 'utf-16-be', 'utf-32', None]
    """
    for name, marks in _MARKS.items():
        if begin.startswith(marks):
            return name
    return _ZEROS.get(tuple(i for i, byte in enumerate(begin[:4]) if not byte))


_MARKS = {
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),  # one of them begins with one of UTF-16
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
_ZEROS = {(1, 3): "utf-16-le", (0, 2): "utf-16-be", (1, 2, 3): "utf-32-le", (0, 1, 2): "utf-32-be"}


class Utf8:
    """A stream of text in any encoding, read as UTF-8 without a byte order mark. UTF-8 itself is passed on unchecked.

    Args:
        stream: has `read(size)`.
        encoding: of the stream.
        file: the name of the file, for errors.

    Attributes:
        taken: how many bytes of the stream were read.
    """

    def __init__(self, stream: Any, encoding: str, file: str) -> None:
        self._stream, self._encoding, self._file = stream, encoding, file
        known = codecs.lookup(encoding).name
        self._decoder = None if known in UTF8 else codecs.getincrementaldecoder(encoding)()
        self._line = 1
        self._begun = False
        self.taken = 0

    def read(self, size: int) -> bytes:
        """The next bytes, about `size` of them; none at the end.

        Raises: DataError, with file and line, for bytes that are no text of the encoding.
        """
        piece = self._read(size)
        if not self._begun:
            while 0 < len(piece) < len(BOM) and (more := self._read(size)):
                piece += more
            piece, self._begun = piece.removeprefix(BOM), True
            return piece or self._read(size)
        return piece

    def _read(self, size: int) -> bytes:
        while True:
            piece = self._stream.read(size)
            self.taken += len(piece)
            if self._decoder is None:
                return piece
            try:
                text = self._decoder.decode(piece, final=not piece)
            except UnicodeError as error:
                raise self._undecodable(error) from error
            if text or not piece:
                self._line += text.count("\n")
                return text.encode(errors="backslashreplace")

    def _undecodable(self, error: UnicodeError) -> DataError:
        line, came = self._line, str(error)
        if isinstance(error, UnicodeDecodeError):
            before = error.object[: error.start].decode(self._encoding, "replace")
            line += before.count("\n")
            came = f"byte 0x{error.object[error.start]:02x} ({error.reason})"
        must, do = f"the file must be text in {self._encoding}", "Correct the encoding; latin-1 reads any byte"
        return DataError(must, came, where=f"{self._file}, line {line}", do=do)
