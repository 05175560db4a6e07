"""Sections of a report, which are text or a table; they can be printed on a terminal, as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..tables import markdown_table, text_table
from ..text import markdown as literal


class Table(NamedTuple):
    """Headers and rows. The first column has words, the others have numbers."""

    headers: Sequence[str]
    rows: Sequence[Sequence[object]]


class Section(NamedTuple):
    """A title, and text or a table."""

    key: str  # what it shows, such as "curve cvr"; the HTML page chooses its caption and picture by it
    title: str
    body: Table | str


def text(sections: Sequence[Section]) -> str:
    """Sections for a terminal."""
    bodies = ((s.title, s.body if isinstance(s.body, str) else text_table(*s.body)) for s in sections)
    return "\n\n".join(f"{title}\n{body}" if title else body for title, body in bodies)


def markdown(sections: Sequence[Section]) -> str:
    """Sections as Markdown, in which titles, text and cells are shown literally."""
    bodies = (
        (literal(s.title), literal(s.body) if isinstance(s.body, str) else markdown_table(*s.body)) for s in sections
    )
    return "\n\n".join(f"## {title}\n\n{body}" if title else body for title, body in bodies)
