"""The configuration as a report prints it."""

from __future__ import annotations

from entirespace.config import Config, load
from entirespace.reports.comparison import Comparison
from entirespace.reports.report import configuration


def test_each_line_is_what_set_takes() -> None:
    config = Config.model_validate({"network": {"hidden": [8], "trunk": {"kind": "mlp"}}, "training": {"threads": 1}})
    lines = configuration(Comparison.model_construct(config=config.model_dump(mode="json"))).splitlines()
    assert "network.tower.hidden = [8]" in lines
    assert "network.trunk.kind = mlp" in lines
    assert load(settings=lines) == (config, {})
