"""Slow trials, run by `make trial`: the installed commands on a real log, from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.trial


def entirespace(*args: object) -> str:
    command = [str(Path(sys.executable).parent / "entirespace"), *map(str, args)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.timeout(1200)
def test_kuairand_from_raw_log_to_table_2(shared_data, tmp_path):
    """prepare, describe and compare with 3 seeds: under 10 minutes on 2 cores, and no edit but the recipe."""
    began = time.monotonic()
    data, report = tmp_path / "kuairand", tmp_path / "report"
    entirespace("prepare", "kuairand", shared_data / "kuairand_pure", data)
    about = json.loads(entirespace("describe", data, "--json"))
    assert about["table1"]["impressions"] == 228_329 - 5_885
    print(entirespace("compare", data, "-o", report, "--seeds", 3))
    minutes = (time.monotonic() - began) / 60
    print(f"{minutes:.1f} minutes")
    lines = json.loads((report / "report.json").read_text())["methods"]
    assert [line["name"] for line in lines] == [
        "BASE", "AMAN", "OVERSAMPLING", "UNBIAS", "DIVISION", "ESMM-NS", "ESMM", "RATES",
    ]  # fmt: skip
    for line in lines:
        assert line["tasks"]["cvr"]["auc"]["mean"] > 0.65
        assert line["tasks"]["ctcvr"]["auc"]["mean"] > 0.65
