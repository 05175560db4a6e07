"""Methods as plain values and back, and families."""

from __future__ import annotations

import dataclasses
import json

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
    Method,
    family,
    from_spec,
)

EVERY = [*METHODS.values(), *(method for line in PAPER for method in line.candidates), UNBIAS(floor=0.05)]


@pytest.mark.parametrize("method", EVERY, ids=lambda method: method.label)
def test_plain_values_and_back(method: Method) -> None:
    assert from_spec(json.loads(json.dumps(method.spec()))) == method


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
        "RATES",
    ]
    assert UNBIAS(floor=0.05).label == "UNBIAS(floor=0.05)"


def test_the_lines_and_searched_values_of_the_paper() -> None:
    names = ["BASE", "AMAN", "OVERSAMPLING", "UNBIAS", "DIVISION", "ESMM-NS", "ESMM"]
    assert [line.name for line in PAPER] == names
    assert [method.rate for method in AMAN.search()] == [0.1, 0.2, 0.5, 1.0]
    assert [method.copies for method in OVERSAMPLING.search()] == [2, 3, 5, 10]
    assert [len(line.candidates) for line in PAPER] == [1, 4, 4, 1, 1, 1, 1]
    assert family("AMAN").candidates == AMAN.search()
    assert family("ESMM-NS").candidates == (ESMM(share_embedding=False),)
    assert family("CTR").candidates == (METHODS["CTR"],)


def test_every_method_has_descriptions_for_reports() -> None:
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
        (
            {"name": "EMSM"},
            "here: a method must be one of this package, or module:Class, however: 'EMSM'. Did you mean 'ESMM'?",
        ),
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
        ({"name": "OVERSAMPLING", "copies": 2.5}, "copies must be a whole number of at least 1, however: 2.5"),
        ({"name": "ESMM-NS", "share_embedding": True}, "the parameters must fit the name ESMM-NS"),
        (
            {"name": "nowhere:Mine"},
            "because reading a record imports nothing, however: 'nowhere:Mine' is another class",
        ),
    ],
)
def test_an_invalid_spec_is_refused(spec: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_spec(spec, where="here")
    assert message in str(caught.value)
    assert str(caught.value).startswith("here: ")
