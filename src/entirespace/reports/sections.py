"""A report in sections, of text or of a table, which a terminal, Markdown and HTML print each in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..tables import markdown_table, text_table


class Table(NamedTuple):
    """Headers and rows; the first column is words, the others are figures."""

    headers: Sequence[str]
    rows: Sequence[Sequence[object]]


class Section(NamedTuple):
    key: str  # what it shows, for the page, which puts a picture beside it
    title: str
    body: Table | str


def text(sections: Sequence[Section]) -> str:
    """Sections for a terminal."""
    bodies = ((s.title, s.body if isinstance(s.body, str) else text_table(*s.body)) for s in sections)
    return "\n\n".join(f"{title}\n{body}" if title else body for title, body in bodies)


def markdown(sections: Sequence[Section]) -> str:
    """Sections as Markdown."""
    bodies = ((s.title, s.body if isinstance(s.body, str) else markdown_table(*s.body)) for s in sections)
    return "\n\n".join(f"## {title}\n\n{body}" if title else body for title, body in bodies)
