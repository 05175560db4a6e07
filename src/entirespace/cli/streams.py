"""Standard output and standard error of any terminal: one that shows ASCII only, or one that is closed meanwhile."""

from __future__ import annotations

import codecs
import io
import os
import sys

PLAIN = {"─": "-", "–": "-", "±": "+-", "→": "->", "…": "...", "━": "-", "•": "*"}
"""What is printed where the stream's encoding lacks a character of a report. Other characters become escapes."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


def accept_all_text() -> None:
    """Print every text on stdout and stderr, also where their encoding lacks some of its characters."""
    codecs.register_error("entirespace.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="entirespace.plain")


def flush() -> None:
    """Write out what was printed. Raises: OSError if that is not possible; Python would only say so after `main`."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def close() -> None:
    """Discard all later output, because nobody reads it: `entirespace describe DATASET | head -1`."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            os.dup2(nowhere, stream.fileno())
