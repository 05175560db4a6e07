"""Rows of a comparison as users write them."""

from __future__ import annotations

import pytest

from entirespace.errors import ConfigError
from entirespace.methods import AMAN, BASE, DIVISION, ESMM, PAPER
from entirespace.rivals import BLEND, LightGBM
from entirespace.rivals.typed import Row, is_rival, leaves, rows, split


def entries(text: str, table=None):
    return [row.candidates for row in rows(split(text), table)]


def test_methods_rivals_and_blends():
    assert entries("ESMM, lightgbm, blend( esmm , LightGBM )") == [
        (ESMM(),),
        (LightGBM(),),
        (BLEND(ESMM(), LightGBM()),),
    ]
    assert entries("BLEND(LightGBM, AMAN(rate=0.5)),BASE") == [(BLEND(LightGBM(), AMAN(rate=0.5)),), (BASE(),)]
    assert entries("BLEND(BLEND(BASE,ESMM),DIVISION)") == [(BLEND(BLEND(BASE(), ESMM()), DIVISION()),)]
    assert rows([line.name for line in PAPER]) == tuple(Row.of(line) for line in PAPER)


def test_a_label_is_read_back():
    blend = BLEND(AMAN(rate=0.5), BLEND(LightGBM(), ESMM(share_embedding=False)))
    assert entries(blend.label) == [(blend,)]


def test_a_blend_of_a_family_has_a_candidate_for_each_of_its_methods():
    (row,) = rows(["BLEND(AMAN, LightGBM)"])
    assert row.name == "BLEND(AMAN, LightGBM)"
    assert row.candidates == tuple(BLEND(method, LightGBM()) for method in AMAN.search())


def test_a_method_table_reaches_the_parts_of_a_blend():
    table = {"name": "AMAN", "rate": 0.3}
    assert entries("BLEND(AMAN, LightGBM)", table) == [(BLEND(AMAN(rate=0.3), LightGBM()),)]
    with pytest.raises(ConfigError, match="is not among ESMM"):
        entries("BLEND(ESMM, LightGBM)", table)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("LightGMB", "LightGBM or BLEND(A, B), however: 'LightGMB'. Did you mean 'LightGBM'?"),
        ("BLEND(ESMM, LigtGBM)", "however: 'LigtGBM'. Did you mean 'LightGBM'?"),
        ("BLEND(EMSM, LightGBM)", "Did you mean 'ESMM'?"),
        ("XGBoostedTrees7", "Known: BASE, "),
        (
            "BLEND(ESMM)",
            "of two rows of the comparison, however: 1 in 'BLEND(ESMM)'",
        ),
        ("BLEND", "however: 0 in 'BLEND'"),
        ("BLEND(A,B,C)", "however: 3 in 'BLEND(A,B,C)'"),
        ("BLEND(A,)", "must be names separated by commas"),
        ("LightGBM(leaves=3)", "LightGBM must have no parameters, however: 'LightGBM(leaves=3)'"),
        ("BLEND(AMAN(rate=2), BASE)", "AMAN's rate must be a share"),
        ("nowhere:Mine", "must be importable"),
    ],
)
def test_what_is_refused(text: str, said: str):
    with pytest.raises(ConfigError) as caught:
        rows(split(text))
    assert said in str(caught.value)


def test_leaves_and_names_of_rivals():
    assert leaves(BLEND(ESMM(), BLEND(LightGBM(), BASE()))) == (ESMM(), LightGBM(), BASE())
    assert [is_rival(text) for text in ("lightgbm ", "BLEND(a, b)", "ESMM", "my:LightGBM")] == [
        True,
        True,
        False,
        False,
    ]
