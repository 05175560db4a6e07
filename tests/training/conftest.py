"""Fixtures of the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from entirespace.dataset.dataset import Dataset
from entirespace.dataset.prepare import prepare_source
from entirespace.logs.schema import HistorySchema, read_schema
from entirespace.logs.star import LogSource


@pytest.fixture(scope="session")
def prepared(simulated_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset, with a history."""
    schema = read_schema(simulated_log / "schema.toml").model_copy(
        update={"history": HistorySchema(keys=("item_id", "user_id"), folds=3)}
    )
    out = tmp_path_factory.mktemp("history") / "dataset"
    prepare_source(
        lambda audit, quarantine: LogSource(schema, simulated_log, audit, quarantine),
        out,
        split=schema.split,
        schema={},
    )
    return out


@pytest.fixture
def history(prepared: Path) -> Dataset:
    """The small dataset with a history, whose baseline is not solved yet."""
    return Dataset(prepared)
