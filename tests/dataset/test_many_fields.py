"""Thousands of fields take time in proportion: a table is opened a few times, not once for each field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.dataset.fit import HELD, JOBS, SAMPLE, _together
from entirespace.dataset.stage import Stage
from entirespace.errors import ConfigError
from entirespace.logs.schema import read_schema


def test_fields_are_fitted_together_and_to_the_same_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    batches = Stage.batches

    def counted(self: Stage):
        opened.append("once")
        return batches(self)

    monkeypatch.setattr(Stage, "batches", counted)
    rng, n, fields = np.random.default_rng(0), 60, 5 * JOBS
    frame = pl.DataFrame(
        {"y": np.arange(n) % 2, "z": np.arange(n) % 4 == 1}
        | {f"f{i}": rng.integers(0, 5, n) if i % 2 else rng.random(n) for i in range(fields)}
    )
    many = es.from_frame(frame, click="y", conversion="z")
    assert len(opened) < fields / 4
    opened.clear()
    for i in (0, 1, fields - 1):
        few = es.from_frame(frame.select("y", "z", f"f{i}"), click="y", conversion="z")
        assert few.vocabulary(f"f{i}") == many.vocabulary(f"f{i}")


def test_fields_fitted_together_fit_into_memory() -> None:
    assert _together(23, 10**6) == 1, "few fields are fitted one by one, on all cores"
    assert _together(10_000, 500) == -(-10_000 // JOBS)
    assert _together(10_000, 10**9) * SAMPLE <= HELD


@pytest.mark.parametrize(
    ("setting", "most"), [("hash = 2000000000", 2**27), ('kind = "number", buckets = 65537', 2**16)]
)
def test_a_field_beyond_all_memory_is_refused(tmp_path: Path, setting: str, most: int) -> None:
    schema = tmp_path / "schema.toml"
    labels = 'files = ["x"]\nlabels = { click = "y", conversion = "z" }'
    schema.write_text(f"[impressions]\n{labels}\n[impressions.fields]\nsession = {{ {setting} }}\n")
    with pytest.raises(ConfigError, match=rf"impressions\.fields\.session\..*{most}"):
        read_schema(schema)
