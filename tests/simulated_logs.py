"""Simulated logs that several files of tests read."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from entirespace.simulation import log as simulate_log
from entirespace.simulation.simulate import Simulated, simulate

SMALL = {"impressions": 3001, "users": 200, "items": 400, "click_rate": 0.2, "conversion_rate": 0.3}


def log(folder: Path) -> pl.DataFrame:
    """Impressions with the truth beside them."""
    return pl.concat(
        [pl.read_parquet(folder / "impressions-*.parquet"), pl.read_parquet(folder / "truth.parquet")],
        how="horizontal",
    )


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """One log that several tests read."""
    out = tmp_path_factory.mktemp("simulated") / "log"
    return simulate(out, impressions=300_000, click_rate=0.1, conversion_rate=0.1, users=5000, items=8000)


@pytest.fixture(scope="session")
def frame(made: Simulated) -> pl.DataFrame:
    return log(made.path)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same small log of several chunks in both formats; the middle of the log falls within a chunk."""
    folder = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("entirespace.simulation.simulate.CHUNK", 700)
        patch.setattr(simulate_log, "CHUNK", 700)
        for format in ("parquet", "aliccp"):
            simulate(folder / format, **SMALL, format=format, orphans=0.01)
    return folder / "parquet", folder / "aliccp"
