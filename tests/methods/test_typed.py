"""Methods as users write them: labels read back, [method] tables, and a user's class without registration."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entirespace.errors import ConfigError
from entirespace.methods import (
    AMAN,
    BASE,
    DIVISION,
    ESMM,
    METHODS,
    OVERSAMPLING,
    PAPER,
    RATES,
    UNBIAS,
    Family,
    Method,
    families,
    family,
    from_spec,
)
from entirespace.rivals.typed import split

ANY = {
    "BASE": st.just(BASE()),
    "AMAN": st.builds(AMAN, rate=st.floats(0, 1)),
    "OVERSAMPLING": st.builds(OVERSAMPLING, copies=st.integers(1, 10**30)),
    "UNBIAS": st.builds(UNBIAS, floor=st.floats(0, 1, exclude_min=True)),
    "DIVISION": st.just(DIVISION()),
    "ESMM": st.builds(ESMM, share_embedding=st.booleans()),
    "CTR": st.just(METHODS["CTR"]),
    "RATES": st.builds(RATES, c=st.floats(0, 1e9, exclude_min=True) | st.just("cv")),
}

OWN = '''
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from entirespace.methods import BASE, Method

Path(__file__).with_suffix(".imported").touch()

@dataclass(frozen=True)
class Mine(Method):
    """BASE with a weight, as a user would write it."""
    must: int
    alpha: float = 0.5
    heads: ClassVar = ("cvr",)
    def samples(self, labels, rng): return labels.click.astype(int)
    def loss(self, p, batch): return BASE().loss(p, batch) * self.alpha
    def base_rates(self, counts): return BASE().base_rates(counts)
    def predict(self, p): return {"pcvr": p.cvr}

class Plain(Method):
    heads = ("cvr",)
    def samples(self, labels, rng): return labels.click.astype(int)
    def loss(self, p, batch): return BASE().loss(p, batch)
    def base_rates(self, counts): return BASE().base_rates(counts)
    def predict(self, p): return {"pcvr": p.cvr}

@dataclass(frozen=True)
class Searched(Plain):
    depth: int = 1
    searched: ClassVar = {"depth": (1, 2)}

NOT_A_METHOD = 7
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module of the user's own; returns the file that it writes when it is imported."""
    (tmp_path / "my_methods.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "my_methods.imported"
    sys.modules.pop("my_methods", None)


# Printed labels are read back


def test_every_method_is_drawn():
    assert {type(METHODS[name]) for name in ANY} == {type(method) for method in METHODS.values()}


def meant(text: str) -> Method:
    """The method that a label names. The label of a method of a search always has parameters."""
    (method,) = family(text).candidates
    return method


@given(st.one_of(*ANY.values()))
def test_a_label_is_read_back(method: Method):
    python = repr(method)  # "ESMM(share_embedding=False)"
    assert meant(method.label) == method
    assert meant(method.label.lower()) == method
    if "()" not in python:
        assert meant(python) == method
        assert meant(python.replace("False", "false").replace("True", "true")) == method


@given(st.lists(st.one_of(*ANY.values()), min_size=1, max_size=5))
def test_labels_in_a_list_are_read_back(methods: list[Method]):
    assert [meant(text) for text in split(",".join(m.label for m in methods))] == methods


def test_names_are_families():
    assert [family(line.name) for line in PAPER] == list(PAPER)
    assert family("oversampling") == PAPER[2]
    assert family(" OVERSAMPLING(copies = 3) ") == Family("OVERSAMPLING(copies=3)", (OVERSAMPLING(copies=3),))
    assert family("ESMM(share_embedding=False)") == family("esmm-ns") == Family("ESMM-NS", (METHODS["ESMM-NS"],))


@pytest.mark.parametrize(
    "text",
    [
        "AMAN(rate)",
        "AMAN(rate=0.5",
        "AMAN(rate=half)",
        "AMAN(rate=0.5))",
        "AMAN(rate=0.5)(rate=0.5)",
        "AMAN(rate=0.5, rate=0.5)",
        "AMAN(**{'rate': 0.5})",
        "AMAN(rate=print())",
        "AMAN(0.5)",
    ],
)
def test_a_label_that_cannot_be_read(text: str):
    with pytest.raises(ConfigError, match=r"a method must be written NAME or NAME\(parameter=value\)"):
        family(text)


# A [method] table


def test_a_table_replaces_typed_parameters():
    assert family("AMAN", {"name": "AMAN", "rate": 0.3}).candidates == (AMAN(rate=0.3),)
    assert family("AMAN(rate=0.5)", {"rate": 0.3}).candidates == (AMAN(rate=0.3),)
    assert family("AMAN", {"name": "AMAN"}) == PAPER[1]
    assert family("ESMM(share_embedding=False)", ESMM(share_embedding=False).spec()) == PAPER[5]
    with pytest.raises(ConfigError, match=r"table must be of the method that was typed, however: AMAN, not BASE"):
        family("BASE", {"name": "AMAN", "rate": 0.3})
    with pytest.raises(ConfigError, match="ESMM-NS, not ESMM"):
        family("ESMM", ESMM(share_embedding=False).spec())


@pytest.mark.parametrize("method", [m for line in PAPER for m in line.candidates], ids=lambda m: m.label)
def test_a_table_gives_the_parameters_of_the_family_of_its_name(method: Method):
    found = families([line.name for line in PAPER], method.spec())
    for line, one in zip(PAPER, found, strict=True):
        assert one == (Family(line.name, (method,)) if line.name == method.name else line)


def test_a_table_of_a_method_that_is_not_compared():
    message = r"one of the methods that are compared, however: AMAN\(rate=0.3\) is not among BASE, ESMM\. Name AMAN"
    with pytest.raises(ConfigError, match=message):
        families(["BASE", "ESMM"], {"name": "AMAN", "rate": 0.3})
    with pytest.raises(ConfigError, match="is not among"):
        families(["AMAN(rate=0.5)"], {"name": "AMAN", "rate": 0.3})
    assert families(["AMAN(rate=0.3)"], {"name": "aman", "rate": 0.3}) == (family("AMAN(rate=0.3)"),)
    with pytest.raises(ConfigError, match="a method must be named"):
        families(["AMAN"], {"rate": 0.3})


# A class of the user


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere:Mine", "method 'nowhere:Mine' must be importable"),
        (":Mine", "method ':Mine' must be importable"),
        ("my_methods:Missing", "method 'my_methods:Missing' must be importable"),
        ("my_methods:NOT_A_METHOD", "'my_methods:NOT_A_METHOD' must be a Method, however: 7"),
        ("my_methods:Mine", "'must' must be given, however: it is missing"),
        ("my_methods:Mine(must=1, alhpa=1)", "Did you mean 'alpha'?"),
        ("my_methods:Plain(alpha=1)", "my_methods:Plain has no parameters"),
        ("EMSM", "here: a method must be one of this package, or module:Class, however: 'EMSM'. Did you mean 'ESMM'?"),
        ("ESMM-NS(share_embedding=true)", "the parameters must fit the name ESMM-NS"),
    ],
)
@pytest.mark.usefixtures("own")
def test_invalid_text_is_refused(text: str, message: str):
    with pytest.raises(ConfigError) as caught:
        family(text, where="here")
    assert message in str(caught.value)
    assert str(caught.value).startswith("here: ")


@pytest.mark.usefixtures("own")
def test_a_users_method_needs_no_registration():
    mine = family("my_methods:Mine(alpha=0.25)", {"must": 3}).candidates[0]
    import my_methods  # type: ignore[import-not-found]

    assert mine == my_methods.Mine(must=3, alpha=0.25)
    assert mine.spec() == {"name": "my_methods:Mine", "must": 3, "alpha": 0.25}
    assert family("my_methods:Mine", mine.spec()) == Family.of(mine)
    assert families(["BASE", "my_methods:Mine"], mine.spec()) == (family("BASE"), Family.of(mine))
    assert mine.label == "Mine(must=3, alpha=0.25)"
    assert Family.of(mine) == Family("Mine(must=3, alpha=0.25)", (mine,))
    assert mine.share_embedding is False
    plain = my_methods.Plain()
    assert plain.label == "Plain"
    assert family(plain.spec()["name"]).candidates[0].spec() == plain.spec()
    assert family("my_methods:Searched") == Family("Searched", (my_methods.Searched(1), my_methods.Searched(2)))


def test_a_record_imports_nothing(own):
    with pytest.raises(ConfigError, match=r"es\.load\(RUN, method=...\), or --method module:Class"):
        from_spec(json.loads('{"name": "my_methods:Mine", "must": 3}'))
    assert not own.exists()
    assert "my_methods" not in sys.modules
    family("my_methods:Plain")
    assert own.exists()
