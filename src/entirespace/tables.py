"""Tables as text for reports: plain characters, aligned, the same on a terminal and in a file."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from .text import markdown, printable


def text_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", left: int = 1) -> str:
    """A table; the first `left` columns are text, aligned left, and the others numbers, aligned right.

    >>> print(text_table(["part", "clicks"], [["train", 12], ["test", 3]]))
     part    clicks
    ────────────────
     train       12
     test         3
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, title=title or None, title_justify="left")
    for i, header in enumerate(headers):
        table.add_column(printable(header, keep=""), justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(printable(str(cell), keep="") for cell in row))
    sink = io.StringIO()
    Console(file=sink, width=400, color_system=None, markup=False, highlight=False, emoji=False).print(table)
    return "\n".join(line.rstrip() for line in sink.getvalue().rstrip().splitlines())


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """The same table in Markdown, in which every cell is shown literally.

    >>> print(markdown_table(["part", "clicks"], [["train", 12]]))
    | part | clicks |
    | --- | ---: |
    | train | 12 |
    """
    rule = ["---" if i < left else "---:" for i in range(len(headers))]
    cells = [[markdown(printable(str(cell), keep="")) for cell in row] for row in (headers, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:]))
