"""Hands out tests/support.py, which tests in importlib mode cannot import by name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def support() -> ModuleType:
    path = Path(__file__).parents[1] / "support.py"
    spec = importlib.util.spec_from_file_location("entirespace_test_support", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
