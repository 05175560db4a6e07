"""One simulated log, written as Parquet and as raw Ali-CCP, and prepared by two readers, gives the same dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from entirespace.dataset.dataset import Dataset
from entirespace.dataset.prepare import prepare_source
from entirespace.logs.aliccp.source import AliCCPSource
from entirespace.logs.schema import SplitSchema, read_schema
from entirespace.logs.star import LogSource
from entirespace.simulation.log import COMMON_FIELDS
from entirespace.simulation.simulate import ALICCP_FIELDS, simulate

PARTS = ("train", "validation", "test")
# The Parquet log is cut at half of its rows in time, the raw files are its two halves: of 3,000, 1,500 each.
# (Orphans are kept: if their rows were dropped, half of the remaining rows would be at another time.)
LOG: dict[str, Any] = {
    "impressions": 3000,
    "users": 150,
    "items": 300,
    "click_rate": 0.2,
    "conversion_rate": 0.3,
    "orphans": 0.02,
    "seed": 7,
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Dataset, Dataset]:
    folder: Path = tmp_path_factory.mktemp("pair")
    for format in ("parquet", "aliccp"):
        simulate(folder / format, **LOG, format=format)
    schema = read_schema(folder / "parquet" / "schema.toml")
    split = SplitSchema(by="file", train=("*_train.csv",), test=("*_test.csv",), validation=0.1)
    star = prepare_source(
        lambda audit, quarantine: LogSource(schema, folder / "parquet", audit, quarantine),
        folder / "star",
        split=schema.split,
        schema={},
        max_bad=0,
    )
    raw = prepare_source(
        lambda audit, quarantine: AliCCPSource(folder / "aliccp", audit, quarantine),
        folder / "raw",
        split=split,
        schema={},
        max_bad=0,
    )
    return star, raw


def test_fields_sizes_and_vocabularies(pair):
    star, raw = pair
    of_raw = {f.name: f for f in raw.fields}
    assert {ALICCP_FIELDS[f.name] for f in star.fields} == set(of_raw)
    for f in star.fields:
        other = of_raw[ALICCP_FIELDS[f.name]]
        assert (f.kind, f.size, f.weighted) == (other.kind, other.size, other.weighted), f.name
        assert (f.table == "common") == (other.table == "common") == (f.name in COMMON_FIELDS)
        assert star.vocabulary(f.name).equals(raw.vocabulary(other.name)), f.name
        assert f.size > 2
    assert sum(f.weighted for f in star.fields) == 8


def test_impressions_of_each_part_id_for_id_and_weight_for_weight(pair, plain):
    star, raw = (plain(dataset.path) for dataset in pair)
    for part in PARTS:
        left, right = star.part(part), raw.part(part)
        assert len(left) == len(right) > 100
        for ours, theirs in zip(left, right, strict=True):
            del ours["order"]  # raw Ali-CCP has no time
            assert {ALICCP_FIELDS.get(k, k): v for k, v in ours.items()} == theirs
        assert any(len(row["item_id"]) == 1 and len(row["category_history"]) > 3 for row in left)
        assert any(row["click"] for row in left)
    assert any(not row["user_id"] for row in star.part("train"))  # some sessions have no user


def test_counts_audit_and_user_grouping(pair, plain):
    star, raw = (plain(dataset.path).manifest for dataset in pair)
    for part in PARTS:
        left, right = ({k: v for k, v in m["parts"][part].items() if k != "files"} for m in (star, raw))
        assert left == right
        assert left["reached"]["conversion"] > 0 or part == "validation"
    assert (star["users"], star["items"]) == (raw["users"], raw["items"])
    tables = [m["audit"]["tables"] for m in (star, raw)]
    for counted in ("read", "kept", "left_out", "quarantined"):
        assert tables[0]["impressions"][counted] == tables[1]["impressions"][counted]
        assert tables[0]["common"][counted] == tables[1]["common"][counted]
    orphans = [t["impressions"]["reasons"]["conversion_without_click"] for t in tables]
    assert (orphans[0]["rows"], orphans[0]["outcome"]) == (orphans[1]["rows"], orphans[1]["outcome"])
    assert orphans[0]["rows"] > 10
    for f in star["fields"]:
        (other,) = (g for g in raw["fields"] if g["name"] == ALICCP_FIELDS[f["name"]])
        assert (f["ids"], f["unseen"]) == (other["ids"], other["unseen"])
    # each reader numbers users in its own way, but the groups of rows with one user are the same
    for part in PARTS:
        one, two = (getattr(dataset, part).column("user").tolist() for dataset in pair)
        assert len(set(zip(one, two, strict=True))) == len(set(one)) == len(set(two)) > 2
        assert [u == -1 for u in one] == [u == -1 for u in two]
