"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real logs; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("ENTIRESPACE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real logs at {folder}: set ENTIRESPACE_DATA to the folder that holds kuairand_pure/")
    return folder
