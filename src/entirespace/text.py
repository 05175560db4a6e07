"""Text from data, made safe to print: on a terminal, in Markdown.

Values of fields, names of columns and names of files come from other people. A terminal would obey escape characters
in them, and a browser would run HTML in them.
"""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"[\\`*\[\]|]|(?<!\w)_|_(?!\w)")


def printable(text: str, keep: str = "\n") -> str:
    r"""The text with every character that a terminal does not simply show as an escape, except those in `keep`.

    Applied twice, it gives the same text as once.

    >>> print(printable("a\x1b[31mb\tc"), printable("a\nb", keep=""))
    a\x1b[31mb\tc a\nb
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def exact(text: str) -> str:
    r"""The text in one line, from which the original can be read back: backslashes are escaped, too.

    >>> print(exact("101\x0231319\x031.0"), exact("a\\b"))
    101\x0231319\x031.0 a\\b
    """
    return printable(text.replace("\\", "\\\\"), keep="")


def shortened(text: str, longest: int) -> str:
    """The text, cut at `longest` characters, with a note of how many were cut off.

    >>> shortened("abcdef", 4)
    'abcd... (2 more characters)'
    """
    more = len(text) - longest
    return text if more <= 0 else f"{text[:longest]}... ({more:,} more characters)"


def markdown(text: str) -> str:
    r"""The text as Markdown that shows it literally: no HTML, links, emphasis, or cells of a table.

    >>> print(markdown("<b>a|b</b> my_field *x*"))
    &lt;b&gt;a\|b&lt;/b&gt; my_field \*x\*
    """
    escaped = _MARKDOWN.sub(lambda found: "\\" + found[0], printable(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
