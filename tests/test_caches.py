"""A machine on which no usual place for caches can be written: a container without a home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from entirespace import caches

NO_HOME = {"HOME": "/dev/null"}  # nothing can be made below a file, not even by root


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_kernel_is_compiled_without_a_writable_home_or_package(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "entirespace"
    shutil.copytree(caches.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (package, *(p for p in package.rglob("*") if p.is_dir())):
        (folder / "__pycache__").touch()  # a file, so that not even root can cache anything there
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, **NO_HOME, "PYTHONPATH": str(package.parent), "TMPDIR": str(tmp_path / "tmp")}
    for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    program = (
        "from entirespace.kernels.ranks import mean_ranks; import numpy, matplotlib; mean_ranks(numpy.ones(3, 'f'))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = (tmp_path / "tmp").iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    assert list((folder / "numba").rglob("*.nbc"))


def test_places_that_can_be_written_and_choices_of_the_user_are_kept(tmp_path: Path) -> None:
    for environment, package in (({"HOME": str(tmp_path)}, Path("/dev/null/package")), (NO_HOME, tmp_path)):
        found = dict(environment)
        caches.settle(found, package)
        assert "NUMBA_CACHE_DIR" not in found
    chosen = {**NO_HOME, "NUMBA_CACHE_DIR": "here", "MPLCONFIGDIR": "there"}
    caches.settle(chosen, Path("/dev/null/package"))
    assert chosen["NUMBA_CACHE_DIR"] == "here"
    assert chosen["MPLCONFIGDIR"] == "there"


def test_a_folder_that_others_may_write_is_not_used(temporary: Path) -> None:
    def found() -> Path:
        environment = dict(NO_HOME)
        caches.settle(environment, Path("/dev/null/package"))
        return Path(environment["NUMBA_CACHE_DIR"]).parent

    usual = found()
    assert found() == usual
    usual.chmod(0o777)
    assert found() != usual
    usual.rmdir()
    usual.symlink_to(temporary)
    assert found() != usual
