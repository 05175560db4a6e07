"""A log whose conversions, side table, repeats and split need the whole schema, with results by hand."""

from __future__ import annotations

from entirespace.dataset.prepare import prepare

SCHEMA = """
[impressions]
files = ["log.csv"]
order = "t"
unique = ["id"]
on_repeat = "any"
labels = { click = "y" }
[impressions.fields]
item = {}
[tables.u]
from = "impressions"
key = "uid"
[tables.u.fields]
uid = {}
[conversions]
files = ["conversions.csv"]
key = "id"
time = "when"
window = 50
[roles]
user = "uid"
segments = ["t"]
[split]
by = "random"
seed = 3
"""


def test_conversions_join_clicked_impressions_in_the_window_and_repeats_are_merged(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [f"{i},u{i % 7},{i},{i % 2},{'abc'[i % 3]}" for i in range(200)]
    rows.append("0,u0,0,1,a")  # impression 0 again, now with the click
    (raw / "log.csv").write_text("\n".join(["id,uid,t,y,item", *rows]) + "\n")
    conversions = ["1,2", "3,53", "5,56", "4,5", "777,1", "7,6"]  # 5 too late, 4 not clicked, 777 unknown, 7 too early
    (raw / "conversions.csv").write_text("\n".join(["id,when", *conversions]) + "\n")
    (tmp_path / "schema.toml").write_text(SCHEMA)
    data = prepare(tmp_path / "schema.toml", raw, tmp_path / "out", max_bad=0)
    counts = data.train.counts + data.validation.counts + data.test.counts
    assert (counts.impressions, counts["click"], counts["conversion"]) == (200, 101, 2)
    reasons = data.manifest.audit["tables"]["conversions"]["reasons"]
    assert {slug: about["rows"] for slug, about in reasons.items()} == {"no_click": 3, "no_impression": 1}
    assert data.manifest.audit["tables"]["u"]["reasons"]["repeated_key"]["rows"] == 194
    assert data.manifest.users == 7
    assert min(len(part) for part in data.parts) > 0
