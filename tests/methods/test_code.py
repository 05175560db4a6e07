"""The digests of a user's code: every change of what is trained is noticed, and nothing else."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entirespace.config import NetworkConfig
from entirespace.methods import BASE, ESMM
from entirespace.methods.code import changed_code, code_of, own_code

METHOD = """
import functools
import torch
import outside_helpers
import outside_helpers as h
from outside_helpers import twice
from outside_bases import Parent

SCALE = 1.0
WEIGHTS = {"click": [1.0, 2.0]}
TABLE = torch.tensor([1.0, 2.0])
SEEN = []

def factory(power):
    def raised(x):
        return x ** power
    return raised

square = factory(2)

@functools.cache
def cached():
    return 3.0

class Constants:
    shift = 0.5
    @staticmethod
    def half(x):
        return x / 2

CONSTANTS = Constants()

class Mine(Parent):
    rate = 0.1

    def loss(self, p, batch, extra=0.0):
        from outside_lazy import late
        SEEN.append(object())
        terms = [x * SCALE for x in (1.0, 2.0)]
        more = WEIGHTS["click"][0] + TABLE.sum() + square(2) + cached() + CONSTANTS.shift + Constants.half(3)
        return twice(p.cvr.log).mean() + h.thrice(1) + outside_helpers.CONSTANT + late() + more + terms[0] + extra

    @property
    def doubled(self):
        return 2 * self.rate
"""
FILES = {
    "outside_method.py": METHOD,
    "outside_helpers.py": """
CONSTANT = 1.0
def inner(x):
    return x + 1
def twice(x):
    return 2 * inner(x)
def thrice(x):
    return 3 * x
def unused(x):
    return x
""",
    "outside_bases.py": """
from entirespace.methods import BASE
class Parent(BASE):
    def samples(self, labels, rng):
        return labels.click.astype(int)
""",
    "outside_lazy.py": "def late():\n    return 1.0\n",
}


def loaded(folder: Path, edits: dict[str, tuple[str, str]] | None = None) -> dict[str, str]:
    """The code of Mine, imported from these files with each file's text replaced as `edits` says."""
    folder.mkdir(exist_ok=True)
    for name, content in FILES.items():
        old, new = (edits or {}).get(name, ("", ""))
        assert old in content
        (folder / name).write_text(content.replace(old, new, 1) if old else content)
    names = [name.removesuffix(".py") for name in FILES]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module("outside_method")
        importlib.import_module("outside_lazy")
        return code_of(module.Mine(), NetworkConfig())
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("outside_method.py", "extra\n\n    @", "extra * 2\n\n    @", "Mine.loss"),
        ("outside_method.py", "extra=0.0", "extra=1.0", "Mine.loss"),
        ("outside_method.py", "x * SCALE", "x + SCALE", "Mine.loss"),
        ("outside_method.py", "SCALE = 1.0", "SCALE = 2.0", "Mine.loss"),
        ("outside_method.py", "[1.0, 2.0]}", "[1.0, 3.0]}", "Mine.loss"),
        ("outside_method.py", "tensor([1.0", "tensor([5.0", "Mine.loss"),
        ("outside_method.py", "factory(2)", "factory(3)", "factory"),
        ("outside_method.py", "return 3.0", "return 4.0", "cached"),
        ("outside_method.py", "shift = 0.5", "shift = 0.6", "Constants.shift"),
        ("outside_method.py", "x / 2", "x / 3", "Constants.half"),
        ("outside_method.py", "rate = 0.1", "rate = 0.2", "Mine.rate"),
        ("outside_method.py", "2 * self", "3 * self", "Mine.doubled"),
        ("outside_helpers.py", "2 * inner", "3 * inner", "twice"),
        ("outside_helpers.py", "x + 1", "x + 2", "inner"),
        ("outside_helpers.py", "3 * x", "4 * x", "thrice"),
        ("outside_helpers.py", "CONSTANT = 1.0", "CONSTANT = 2.0", "Mine.loss"),
        ("outside_bases.py", "labels.click", "labels.conversion", "Parent.samples"),
        ("outside_bases.py", "BASE)", "UNBIAS)", "Parent"),
        ("outside_lazy.py", "return 1.0", "return 2.0", "late"),
    ],
)
def test_an_edit_is_noticed_and_named(tmp_path, file, old, new, named):
    if new == "UNBIAS)":
        edits = {file: ("BASE\nclass Parent(BASE)", "BASE, UNBIAS\nclass Parent(UNBIAS)")}
    else:
        edits = {file: (old, new)}
    changed = changed_code(loaded(tmp_path / "a"), loaded(tmp_path / "b", edits))
    assert any(name.partition(":")[2].startswith(named) for name in changed), changed


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("outside_method.py", "    rate = 0.1\n", "    # a comment\n\n\n    rate = 0.1\n"),
        ("outside_method.py", "SEEN = []", "SEEN = [object()]"),
        ("outside_helpers.py", "def unused(x):\n    return x", "def unused(x):\n    return 2 * x"),
    ],
)
def test_what_trains_nothing_is_no_change(tmp_path, file, old, new):
    assert loaded(tmp_path / "a") == loaded(tmp_path / "b", {file: (old, new)})


SCRIPT = """
import json, sys
from entirespace.config import NetworkConfig
from entirespace.methods import ESMM
from entirespace.methods.code import code_of
LEVELS = {"a", "b", "c"}
class Mine(ESMM):
    def loss(self, p, batch):
        return super().loss(p, batch) * len(LEVELS) * (1 if "x" in {"x", "y", "z"} else FACTOR)
print(json.dumps(code_of(Mine(), NetworkConfig()), sort_keys=True))
"""


def test_a_class_of_a_script_without_a_file_has_the_same_digests_in_each_process():
    def printed(script: str, seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-"],
            input=script,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    first = printed(SCRIPT, "1")
    assert "__main__:Mine.loss" in first
    assert printed(SCRIPT, "2") == first
    assert printed(SCRIPT.replace('"c"}', '"d"}'), "1") != first


def test_methods_of_this_package_have_code_but_no_own_code():
    assert "entirespace.methods.esmm:ESMM.loss" in code_of(ESMM(), NetworkConfig())
    assert not any(":bce" in name for name in code_of(ESMM(), NetworkConfig()))
    assert own_code(BASE(), NetworkConfig()) is None


def test_versions_of_python_are_not_compared():
    assert changed_code({"python": "3.11", "m:f": "1"}, {"python": "3.12", "m:f": "2"}) == []
    assert changed_code({}, {}) == []


def test_a_loaded_module_with_the_name_of_an_attribute_changes_nothing(monkeypatch) -> None:
    """`batch.click` reads no library, although one has that name."""
    monkeypatch.delitem(sys.modules, "click", raising=False)
    before = code_of(ESMM(), NetworkConfig())
    monkeypatch.setitem(sys.modules, "click", type(sys)("click"))
    assert code_of(ESMM(), NetworkConfig()) == before
