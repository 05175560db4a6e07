"""Methods to plain values and back, families, and a method of one's own without any registration."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from entirespace.errors import ConfigError
from entirespace.methods import (
    AMAN,
    BASE,
    ESMM,
    METHODS,
    OVERSAMPLING,
    PAPER,
    UNBIAS,
    Family,
    Method,
    family,
    from_spec,
)

EVERY = [*METHODS.values(), *(method for line in PAPER for method in line.candidates), UNBIAS(floor=0.05)]

OWN = '''
from dataclasses import dataclass
from typing import ClassVar
from entirespace.methods import BASE, Method

@dataclass(frozen=True)
class Mine(Method):
    """BASE with a weight, as a user would write it."""
    must: int
    alpha: float = 0.5
    heads: ClassVar = ("cvr",)
    def samples(self, labels, rng): return labels.click.astype(int)
    def loss(self, p, batch): return BASE().loss(p, batch) * self.alpha
    def base_rates(self, counts): return BASE().base_rates(counts)
    def pcvr(self, p): return p.cvr.value

class Plain(Method):
    heads = ("cvr",)
    def samples(self, labels, rng): return labels.click.astype(int)
    def loss(self, p, batch): return BASE().loss(p, batch)
    def base_rates(self, counts): return BASE().base_rates(counts)

@dataclass(frozen=True)
class Searched(Plain):
    depth: int = 1
    searched: ClassVar = {"depth": (1, 2)}

NOT_A_METHOD = 7
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_methods.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_methods", None)


@pytest.mark.parametrize("method", EVERY, ids=lambda method: method.label)
def test_plain_values_and_back(method: Method) -> None:
    assert from_spec(json.loads(json.dumps(method.spec()))) == method


@pytest.mark.parametrize("method", EVERY, ids=lambda method: method.label)
def test_a_label_is_read_back(method: Method) -> None:
    (came,) = family(method.label).candidates if "(" in method.label else Family.of(method).candidates
    assert came == method


def test_specs_are_plain() -> None:
    assert AMAN(rate=0.5).spec() == {"name": "AMAN", "rate": 0.5}
    assert ESMM(share_embedding=False).spec() == {"name": "ESMM-NS", "share_embedding": False}
    assert BASE().spec() == {"name": "BASE"}
    assert type(AMAN(rate=1).spec()["rate"]) is float  # 1 and 1.0 are one method, and one digest


def test_labels() -> None:
    assert [method.label for method in METHODS.values()] == [
        "BASE",
        "AMAN(rate=0.1)",
        "OVERSAMPLING(copies=2)",
        "UNBIAS",
        "DIVISION",
        "ESMM-NS",
        "ESMM",
        "CTR",
    ]
    assert UNBIAS(floor=0.05).label == "UNBIAS(floor=0.05)"


def test_the_papers_lines_and_searches() -> None:
    names = ["BASE", "AMAN", "OVERSAMPLING", "UNBIAS", "DIVISION", "ESMM-NS", "ESMM"]
    assert [line.name for line in PAPER] == names
    assert [method.rate for method in AMAN.search()] == [0.1, 0.2, 0.5, 1.0]
    assert [method.copies for method in OVERSAMPLING.search()] == [2, 3, 5, 10]
    assert [len(line.candidates) for line in PAPER] == [1, 4, 4, 1, 1, 1, 1]
    assert family("AMAN").candidates == AMAN.search()
    assert family("ESMM-NS").candidates == (ESMM(share_embedding=False),)
    assert family(" OVERSAMPLING(copies = 3) ") == Family("OVERSAMPLING(copies=3)", (OVERSAMPLING(copies=3),))
    assert family("CTR").candidates == (METHODS["CTR"],)


def test_every_method_says_what_it_does() -> None:
    for method in METHODS.values():
        assert method.sampled
        assert method.equation
        assert method.reading
        assert dataclasses.is_dataclass(method)
        with pytest.raises(dataclasses.FrozenInstanceError):
            method.anything = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "here: a method must be named, however: name = None. Known: AMAN, BASE"),
        ({"name": "EMSM"}, "here: a method must be one that is known, however: 'EMSM'. Did you mean 'ESMM'?"),
        ({"name": "aman"}, "'aman'. Did you mean 'AMAN'?"),
        (
            {"name": "AMAN", "rat": 0.5},
            "AMAN's parameters must be known, however: 'rat'. Did you mean 'rate'?",
        ),
        (
            {"name": "BASE", "rate": 0.5},
            "BASE's parameters must be known, however: 'rate'. BASE has no parameters",
        ),
        ({"name": "AMAN", "rate": 3}, "here: AMAN's rate must be a share from 0 to 1, however: 3."),
        ({"name": "AMAN", "rate": "many"}, "AMAN's rate must be a share from 0 to 1, however: 'many'"),
        ({"name": "OVERSAMPLING", "copies": 2.5}, "copies must be a whole number from 1 up, however: 2.5"),
        ({"name": "ESMM-NS", "share_embedding": True}, "ESMM-NS's parameters must leave it ESMM-NS"),
        ({"name": "nowhere:Mine"}, "method 'nowhere:Mine' must be importable"),
        ({"name": ":Mine"}, "method ':Mine' must be importable"),
        ({"name": "my_methods:Missing"}, "method 'my_methods:Missing' must be importable"),
        ({"name": "my_methods:NOT_A_METHOD"}, "'my_methods:NOT_A_METHOD' must be a Method, however: 7"),
        ({"name": "my_methods:Mine"}, "'must' must be given, however: it is missing"),
        ({"name": "my_methods:Mine", "must": 1, "alhpa": 1}, "Did you mean 'alpha'?"),
        ({"name": "my_methods:Plain", "alpha": 1}, "my_methods:Plain has no parameters"),
    ],
)
@pytest.mark.usefixtures("own")
def test_what_a_spec_can_have_wrong(spec: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_spec(spec, where="here")
    assert message in str(caught.value)
    assert str(caught.value).startswith("here: ")


@pytest.mark.parametrize("text", ["AMAN(rate)", "AMAN(rate=0.5", "AMAN(rate=half)", "AMAN(rate=0.5))"])
def test_a_label_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match=r"a method must read NAME or NAME\(parameter=value\)"):
        family(text)


@pytest.mark.usefixtures("own")
def test_a_method_of_ones_own_needs_no_registration() -> None:
    import my_methods  # type: ignore[import-not-found]

    mine = my_methods.Mine(must=3, alpha=0.25)
    assert mine.spec() == {"name": "my_methods:Mine", "must": 3, "alpha": 0.25}
    assert from_spec(mine.spec()) == mine
    assert mine.label == "Mine(must=3, alpha=0.25)"
    assert Family.of(mine) == Family("Mine(must=3, alpha=0.25)", (mine,))
    assert mine.share_embedding is False
    plain = my_methods.Plain()
    assert plain.label == "Plain"
    assert isinstance(from_spec(plain.spec()), my_methods.Plain)
    assert family("my_methods:Searched") == Family("Searched", (my_methods.Searched(1), my_methods.Searched(2)))
