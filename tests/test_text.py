"""Text from data, where it is printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entirespace.errors import DataError
from entirespace.tables import markdown_table, text_table
from entirespace.text import exact, markdown, printable

NASTY = "\x1b[31m<script>alert(1)</script>|\x9b2J\u202e\r\n# x"


@given(st.text())
def test_printable_text_has_no_control_characters_and_stays_as_it_is(text):
    once = printable(text)
    assert once.replace("\n", "").isprintable()
    assert printable(once) == once
    assert exact(text).isprintable()


@given(st.text(), st.text())
def test_different_texts_stay_different(one, other):
    assert (exact(one) == exact(other)) == (one == other)


def test_what_people_write_is_left_alone():
    assert printable("prix (€), 键, naïve, 25 %") == "prix (€), 键, naïve, 25 %"
    assert markdown("ESMM(share_embedding=False) -0.5") == "ESMM(share_embedding=False) -0.5"


@pytest.mark.parametrize("text", ["<b>", "&lt;", "![x](http://y)", "`x`", "*x*", "_x_", "a|b", "\\|", "[x]"])
def test_markdown_shows_the_text_literally(text):
    shown = markdown(text)
    assert shown != text
    assert not set("<>") & set(shown)


def test_a_cell_cannot_leave_its_table_or_add_html():
    lines = markdown_table([NASTY, "n"], [[NASTY, 1], ["x", 2]]).splitlines()
    assert len(lines) == 4
    assert all(line.replace("\\|", "").count("|") == 3 for line in lines)
    assert "<" not in "".join(lines)
    shown = text_table([NASTY, "n"], [[NASTY, 1]]).splitlines()
    assert len(shown) == 3
    assert all(line.isprintable() for line in shown)


def test_an_error_cannot_steer_the_terminal():
    error = DataError("a value must be a number", f"'{NASTY}'", where=f"log{NASTY}.csv, line 2", do=NASTY)
    assert str(error).replace("\n", "").isprintable()
    assert str(error).splitlines()[0].startswith("log\\x1b[31m<script>alert(1)</script>|")
    assert ".csv, line 2: a value" in str(error).splitlines()[0]
