"""Sections of a report, which are text or a table; they can be printed on a terminal, as Markdown and as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..tables import markdown_table, text_table
from ..text import markdown as literal
from ..text import printable


class Table(NamedTuple):
    """Headers and rows. The first `words` columns have words, the others have numbers."""

    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    words: int = 1


class Points(NamedTuple):
    """Sentences, each a point of a list."""

    sentences: Sequence[str]


class Beside(NamedTuple):
    """Sections of the same form, such as one for each kind of impression: a wide page shows them side by side."""

    sections: Sequence[Section]


class Section(NamedTuple):
    """A title, and text or a table."""

    key: str  # what it shows, such as "curve cvr"; the HTML page chooses its caption and picture by it
    title: str
    body: Table | Points | Beside | str
    note: str = ""  # what the title alone does not say, such as units


def text(sections: Sequence[Section]) -> str:
    """Sections for a terminal."""
    return "\n\n".join(_text(section) for section in sections)


def _text(section: Section) -> str:
    heading = ": ".join(part for part in (section.title, section.note) if part)
    match section.body:
        case Table() as table:
            body = text_table(table.headers, table.rows, left=table.words)
        case Points(sentences):
            body = "\n".join(f"- {printable(sentence, keep='')}" for sentence in sentences)
        case Beside(beside):
            body = text(beside)
        case str() as body:
            pass
    return f"{heading}\n{body}" if heading else body


def markdown(sections: Sequence[Section], level: int = 2) -> str:
    """Sections as Markdown, in which titles, text and cells are shown literally."""
    return "\n\n".join(_markdown(section, level) for section in sections)


def _markdown(section: Section, level: int) -> str:
    match section.body:
        case Table() as table:
            body = markdown_table(table.headers, table.rows, left=table.words)
        case Points(sentences):
            body = "\n".join(f"- {_in_one_line(sentence)}" for sentence in sentences)
        case Beside(beside):
            body = markdown(beside, level + 1)
        case str() as words:
            body = "\n\n".join(_in_one_line(line) for line in words.splitlines())
    title = f"{'#' * level} {_in_one_line(section.title)}" if section.title else ""
    return "\n\n".join(part for part in (title, _in_one_line(section.note), body) if part)


def _in_one_line(text: str) -> str:
    """Text that is shown literally in one line of Markdown."""
    return literal(printable(text, keep=""))


def contents(sections: Sequence[Section]) -> str:
    """A table of contents in Markdown, with links to the headings."""
    titles = [section.title for section in sections if section.title]
    return "\n".join(f"- [{_in_one_line(title)}](#{_anchor(title)})" for title in titles)


def _anchor(title: str) -> str:
    """The name that Markdown readers give to a heading.

    >>> _anchor("Calibration, CVR task")
    'calibration-cvr-task'
    """
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def fenced(code: str) -> str:
    """A block of code in Markdown, between fences that are longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}\n{code}\n{fence}"
